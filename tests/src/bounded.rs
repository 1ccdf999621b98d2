//! A program that must end soon and in little memory, whatever it is given.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How a program ended.
#[derive(Debug)]
pub struct BoundedEnd {
    /// `None` where a signal ended it, also the one that comes at the time limit.
    pub code: Option<i32>,
    /// What it wrote, on both streams.
    pub said: String,
    pub took: Duration,
    /// Largest resident set of it or of a process that it waited for.
    pub peak_bytes: u64,
}

/// More than any program of the tests maps, with libtorch; what asks for more is to fail before the host is out of memory.
const MOST_MAPPED_BYTES: libc::rlim_t = 16 << 30;

/// Runs `command` to its end, but no longer than `longest`.
///
/// # Panics
/// When it cannot be started or waited for.
#[must_use]
pub fn run_bounded(mut command: Command, longest: Duration) -> BoundedEnd {
    let output = tempfile::tempfile().unwrap();
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output.try_clone().unwrap())
        .process_group(0);
    let limit = libc::rlimit {
        rlim_cur: MOST_MAPPED_BYTES,
        rlim_max: MOST_MAPPED_BYTES,
    };
    let lower = move || {
        // SAFETY: the argument lives for the call.
        match unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: it makes one system call, which is allowed between fork and exec.
    unsafe { command.pre_exec(lower) };
    let began = Instant::now();
    #[allow(
        clippy::zombie_processes,
        reason = "`ended` waits for it, and learns its peak memory"
    )]
    let child = command.spawn().unwrap();
    let process_id = libc::pid_t::try_from(child.id()).unwrap();
    let (status, peak_bytes) = loop {
        if let Some(ended) = ended(process_id) {
            break ended;
        }
        if began.elapsed() > longest {
            // SAFETY: kill takes plain integers; the group is the child's own and not waited for yet.
            unsafe { libc::kill(-process_id, libc::SIGKILL) };
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let took = began.elapsed();
    BoundedEnd {
        code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        said: whole(output),
        took,
        peak_bytes,
    }
}

/// Status and peak memory in bytes of a child that has ended.
fn ended(process_id: libc::pid_t) -> Option<(i32, u64)> {
    let mut status = 0;
    // SAFETY: plain numbers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers live for the call.
    let waited = unsafe { libc::wait4(process_id, &raw mut status, libc::WNOHANG, &raw mut usage) };
    assert!(waited >= 0, "{}", std::io::Error::last_os_error());
    (waited == process_id).then(|| (status, u64::try_from(usage.ru_maxrss).unwrap() << 10))
}

fn whole(mut output: std::fs::File) -> String {
    use std::io::{Read, Seek};
    let mut bytes = Vec::new();
    output.rewind().unwrap();
    output.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
