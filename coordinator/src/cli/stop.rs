//! `coordinator stop`.

use std::path::PathBuf;
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
    Signal { process_id: u32, source: std::io::Error },
}

impl StopCause for StopError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotServed { path } => format!("look at it with `coordinator status {}`", path.display()),
            Self::StillThere { .. } => "a second `coordinator stop` ends it at once".into(),
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
    // SAFETY: kill takes plain integers.
    if unsafe { libc::kill(libc::pid_t::try_from(process_id)?, libc::SIGTERM) } != 0 {
        return Err(StopError::Signal {
            process_id,
            source: std::io::Error::last_os_error(),
        }
        .into());
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
