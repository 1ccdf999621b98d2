//! The workers' log files: kept here for workers of other hosts, and read for people.
//!
//! A worker that was started here writes `logs/worker-<slot>.log` itself; one of another host sends its lines, which
//! [`LogKeeper`] appends to the same file. [`LogReader`] merges them by time. Owns all reading and writing of
//! these files but the workers' own.

mod keeper;
mod line;
mod reader;

pub use keeper::{KeepError, LogBatch, LogKeeper};
pub use line::{LogLevel, LogLine};
pub use reader::{LogReader, Selection};
