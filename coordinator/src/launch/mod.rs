//! Starts and ends worker processes. Owns every process it started, and ends no other.

mod cause;
mod local;
mod process;

pub use cause::{FirstCause, first_cause};
pub use local::{Command, LaunchError, LocalLauncher, Outcome, Started};
pub use process::{ProcessExit, ProcessIdentity};
