//! A program that runs, what it says, and how it ends.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::Json;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(240);

/// A running program. Dropping it ends it, and with it the workers it announced.
pub struct Program {
    shown: String,
    child: Child,
    heard: Receiver<Heard>,
    open: u32,
    out: String,
    err: String,
    workers: Vec<u32>,
    status: Option<ExitStatus>,
}

enum Heard {
    Out(String),
    Err(String),
    Closed,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Everything it said.
    #[must_use]
    pub fn said(&self) -> String {
        format!("{}{}", self.out, self.err)
    }

    /// # Panics
    /// When the exit code is another.
    #[must_use]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "it said:\n{}", self.said());
        self
    }
}

impl Program {
    /// Starts it with no input and all output caught.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let shown = format!("{command:?}");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
        let (sender, heard) = channel();
        listen(child.stdout.take(), sender.clone(), Heard::Out);
        listen(child.stderr.take(), sender, Heard::Err);
        Self {
            shown,
            child,
            heard,
            open: 2,
            out: String::new(),
            err: String::new(),
            workers: Vec::new(),
            status: None,
        }
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first event on stderr from now on that `wanted` takes.
    ///
    /// # Panics
    /// When the program ends or the deadline passes before.
    pub fn wait_for<T>(&mut self, what: &str, mut wanted: impl FnMut(&Json) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        while let Some(line) = self.next_line(deadline, what) {
            if let Some(found) = line
                .as_deref()
                .and_then(Json::parse)
                .as_ref()
                .and_then(&mut wanted)
            {
                return found;
            }
        }
        panic!(
            "{} ended before {what}; it said:\n{}{}",
            self.shown, self.out, self.err
        )
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the program is not there.
    pub fn signal(&self, signal: libc::c_int) {
        send(self.id(), signal).expect("the program is still there");
    }

    /// Kills the program and all workers it announced, at once.
    pub fn kill_all(mut self) -> Vec<u32> {
        let workers = std::mem::take(&mut self.workers);
        self.end(&workers);
        workers
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    pub fn finish(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        while self.next_line(deadline, "its end").is_some() {}
        let status = self.child.wait().expect("a child can be waited for");
        self.status = Some(status);
        Ended {
            code: status.code(),
            out: std::mem::take(&mut self.out),
            err: std::mem::take(&mut self.err),
        }
    }

    /// `None` when all output is closed; a line of stderr, or nothing after one of stdout.
    fn next_line(&mut self, deadline: Instant, what: &str) -> Option<Option<String>> {
        while self.open > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.heard.recv_timeout(left) {
                Ok(Heard::Out(line)) => {
                    self.out.push_str(&line);
                    return Some(None);
                }
                Ok(Heard::Err(line)) => {
                    self.err.push_str(&line);
                    self.note_worker(&line);
                    return Some(Some(line));
                }
                Ok(Heard::Closed) => self.open -= 1,
                Err(RecvTimeoutError::Disconnected) => self.open = 0,
                Err(RecvTimeoutError::Timeout) => panic!(
                    "{}: waited {} s for {what}; it said:\n{}{}",
                    self.shown,
                    PATIENCE.as_secs(),
                    self.out,
                    self.err
                ),
            }
        }
        None
    }

    fn note_worker(&mut self, line: &str) {
        let started = Json::parse(line).filter(|event| event.text("message") == "worker started");
        let process_id = started.and_then(|event| u32::try_from(event.number("process_id")).ok());
        self.workers.extend(process_id);
    }

    fn end(&mut self, workers: &[u32]) {
        if self.status.is_none() {
            // It may have ended by itself in the meantime.
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
        for &worker in workers {
            kill_worker(worker);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        for heard in self.heard.try_iter().collect::<Vec<_>>() {
            if let Heard::Err(line) = heard {
                self.note_worker(&line);
            }
        }
        let workers = std::mem::take(&mut self.workers);
        self.end(&workers);
    }
}

fn listen(pipe: Option<impl Read + Send + 'static>, sender: Sender<Heard>, wrap: fn(String) -> Heard) {
    let mut lines = BufReader::new(pipe.expect("output is piped"));
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        while lines.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            let line = String::from_utf8_lossy(&bytes).into_owned();
            bytes.clear();
            if sender.send(wrap(line)).is_err() {
                return;
            }
        }
        // Nobody listens any more once the program was dropped.
        let _ = sender.send(Heard::Closed);
    });
}

fn send(process_id: u32, signal: libc::c_int) -> std::io::Result<()> {
    let process_id = libc::pid_t::try_from(process_id).expect("process ids are small");
    // SAFETY: kill takes plain integers.
    match unsafe { libc::kill(process_id, signal) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Kills a process that is still a worker of this build and waits until it is gone. An id may be somebody else's by now.
fn kill_worker(process_id: u32) {
    let folder = Path::new("/proc").join(process_id.to_string());
    let is_ours = || {
        executable(&folder).is_some_and(|path| path.starts_with(crate::binary("worker").parent().unwrap()))
    };
    let deadline = Instant::now() + PATIENCE;
    while is_ours() && Instant::now() < deadline {
        if send(process_id, libc::SIGKILL).is_err() {
            return;
        }
        std::thread::yield_now();
    }
}

/// A zombie has none.
fn executable(folder: &Path) -> Option<PathBuf> {
    std::fs::read_link(folder.join("exe")).ok()
}
