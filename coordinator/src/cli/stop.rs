//! `coordinator stop`.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::arguments::StopArguments;
use super::common::{run_directory, say};
use crate::exit::{Exit, Stop, StopCause};

#[derive(Debug, thiserror::Error)]
enum StopError {
    #[error("run `{}` is not served by any coordinator", path.display())]
    NotServed { path: PathBuf },
    #[error(
        "coordinator (process {process_id}) of run `{}` has not left within {} s",
        path.display(), waited.as_secs()
    )]
    StillThere {
        path: PathBuf,
        process_id: u32,
        waited: Duration,
    },
    #[error("signal process {process_id}")]
    Signal { process_id: u32, source: io::Error },
    #[error(
        "run `{}` is served, but not by process {process_id} of this host, which its run.lock names", path.display()
    )]
    Elsewhere { path: PathBuf, process_id: u32 },
}

impl StopCause for StopError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotServed { path } => format!("look at it with `coordinator status {}`", path.display()),
            Self::StillThere { .. } => "a second `coordinator stop` ends it at once".into(),
            Self::Elsewhere { .. } => {
                "stop it on the host, in the container or as the user that serves it; on a cluster with \
                                       `coordinator cluster stop`"
                    .into()
            }
            Self::Signal { .. } => return None,
        })
    }
}

pub fn stop(arguments: &StopArguments) -> Result<Exit, Stop> {
    let directory = run_directory(&arguments.run)?;
    let Some(server) = directory.server() else {
        return Err(Stop::unavailable(StopError::NotServed {
            path: arguments.run.clone(),
        }));
    };
    let wait = match arguments.wait {
        Some(seconds) => Duration::try_from_secs_f64(seconds)?,
        None => Duration::from_secs_f64(directory.config().map_err(Stop::bad_input)?.deadline.drain + 30.0),
    };
    let process_id = server.process_id;
    let signal = |source| StopError::Signal { process_id, source };
    match Process::with_open(process_id, &directory.lock_file()).map_err(signal)? {
        Some(coordinator) => coordinator.terminate().map_err(signal)?,
        None => {
            return Err(Stop::unavailable(StopError::Elsewhere {
                path: arguments.run.clone(),
                process_id,
            }));
        }
    }
    say(format_args!("asked coordinator (process {process_id}) to stop"));
    let begun = Instant::now();
    while directory.server().is_some() {
        if begun.elapsed() > wait {
            return Err(StopError::StillThere {
                path: arguments.run.clone(),
                process_id,
                waited: wait,
            }
            .into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    say(format_args!(
        "stopped; continue with `coordinator resume {}`",
        arguments.run.display()
    ));
    Ok(Exit::Done)
}

/// A process of this host, whatever becomes of its number.
struct Process(OwnedFd);

impl Process {
    /// The process of that number if it has `file` open; the number may have passed to another, or be of another host.
    fn with_open(process_id: u32, file: &Path) -> io::Result<Option<Self>> {
        // SAFETY: the call takes plain integers.
        let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, process_id, 0) };
        if descriptor < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::ESRCH) => Ok(None),
                _ => Err(error),
            };
        }
        let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
        // SAFETY: the system has just made it, for this process alone.
        let process = Self(unsafe { OwnedFd::from_raw_fd(descriptor) });
        let wanted = fs::metadata(file)?;
        let open = match fs::read_dir(format!("/proc/{process_id}/fd")) {
            Ok(open) => open,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let is_wanted = |entry: io::Result<fs::DirEntry>| {
            let found = entry.and_then(|entry| fs::metadata(entry.path()));
            found.is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
        };
        Ok(open.into_iter().any(is_wanted).then_some(process))
    }

    fn terminate(&self) -> io::Result<()> {
        let null = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is open, and no details are given with the signal.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                libc::SIGTERM,
                null,
                0,
            )
        };
        match sent {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
