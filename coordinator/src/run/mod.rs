//! A run being served: the one task that owns the state machine, and what it does with the machine's orders.
//!
//! Decides nothing the machine decides. Invariants: a record is on disk before any order that follows it goes
//! out; when this ends, no process that was started here is left, except for a next coordinator where only the
//! journal refuses; every wait has a deadline.

mod clock;
mod drive;
mod hear;
mod news;
mod owner;
mod previous;
mod signals;
mod streams;
mod training_command;

pub use drive::RunError;
pub use news::{Audience, News, StorageClient};
pub use owner::{ATTEMPT, Access, Ending, RunRequest, Supervision, serve_run};
pub use signals::{Signal, StopHandle, StopSignals};
pub use training_command::{WorkerLaunch, dialled, worker_command};
