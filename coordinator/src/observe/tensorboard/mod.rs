//! A run as TensorBoard shows it: event files below `tensorboard/` of the run directory.
//!
//! [`TensorBoard`] hears the run's news and writes them on a thread of its own; [`export`] tells a journal. A
//! coordinator that takes a run up again opens a new file. Invariants: no step has two truths, as readers take
//! `SessionLog::START` to void what went before at its step and after; the training waits for none of this.

mod board;
mod event;
mod export;
mod file;
mod record;
mod recorder;

pub use export::{ExportError, export};
pub use file::EventFileError;
pub use recorder::TensorBoard;
