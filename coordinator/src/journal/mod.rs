//! What is known about a run and must survive the coordinator: an SQLite file in the run directory.
//!
//! One [`Journal`] per run writes (it owns the connection on a thread of its own); any number of
//! [`JournalReader`]s read at the same time, in this process or another. Invariant: what [`Journal::commit`]
//! returned `Ok` for is on disk.

mod audit;
mod entry;
mod fact;
mod reader;
mod schema;
mod style;
mod writer;

pub use audit::{Sound, Unsound, audit_journal, taken_up_digest, taken_up_fact};
pub use entry::{JournalEntry, Level, Place};
pub use fact::{clip_fact, clip_of, metrics_key, slot_of_metrics};
pub use reader::{
    CheckpointRow, EvaluationRow, EventRow, JournalReader, MeasurementRow, MetricPoint, PhaseRow, ProcessRow,
    RecordRow, StageRow,
};
pub use style::{style_metric, styles_of};
pub use writer::{Journal, JournalError};

/// Milliseconds since 1970, by the host's clock. For people; nothing is decided by it.
#[must_use]
pub fn wall_millis() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
