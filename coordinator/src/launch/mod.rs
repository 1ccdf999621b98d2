//! Starts and ends worker processes. Owns every process it started, and ends no other.

mod cause;
mod local;
mod process;

pub use cause::{WorkerDeath, first_cause};
pub use local::{Command, EndedProcess, LaunchError, LocalLauncher, Started};
pub use process::{ProcessExit, ProcessIdentity};
