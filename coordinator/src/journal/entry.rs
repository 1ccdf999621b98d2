//! What can be written into the journal.

use ulda_dataset::ConfusionMatrix;
use ulda_run::spec::PathName;
use ulda_run::stage::{Cursor, Stage};
use ulda_run::variant_names;

/// How loud an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Info,
    Warn,
    Error,
}

variant_names!(Level { Info = "info", Warn = "warn", Error = "error" });

/// Where in a run something was measured or written.
pub type Place = Cursor;

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub enum JournalEntry {
    /// A record of the run's state machine, as JSON.
    Record {
        json: String,
    },
    /// A value that belongs to a step: a loss, a learning rate. A repeated step replaces it.
    Metric {
        place: Place,
        name: String,
        value: f64,
    },
    /// Seconds (or images, or steps) spent by a slot in a phase of a stage; adds up.
    Phase {
        stage: Stage,
        slot: u32,
        name: String,
        amount: f64,
    },
    Checkpoint {
        path: String,
        place: Place,
        digest: String,
        size_bytes: u64,
    },
    /// `confusion` has a row and a column for each class, rows truth, columns prediction.
    Evaluation {
        model: String,
        set: PathName,
        place: Place,
        images: u64,
        confusion: ConfusionMatrix,
        seconds: f64,
    },
    StageDone {
        stage: Stage,
        seconds: f64,
        digest: String,
    },
    Event {
        level: Level,
        slot: Option<u32>,
        text: String,
    },
    /// A process that the local launcher started; `started_ticks` tells it from a later one of the same id.
    Process {
        slot: u32,
        attempt: u32,
        process_id: u32,
        started_ticks: u64,
    },
    ProcessGone {
        slot: u32,
    },
    /// A fact about the run as a whole: digests, versions.
    Fact {
        key: String,
        value: String,
    },
}
