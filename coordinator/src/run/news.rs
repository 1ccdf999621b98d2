//! What happens in a run, told to whoever watches. The run does not know who that is.

use std::path::PathBuf;
use std::time::Duration;
use ulda_run::RunEnd;

use ulda_dataset::ConfusionMatrix;
use ulda_machine::{BreakReason, Formation, Snapshot, Verdict};
use ulda_run::ids::{Generation, Slot, WorkerId};
use ulda_run::spec::PathName;
use ulda_run::stage::{Cursor, Stage};
use ulda_storage::StorageCount;

use crate::launch::WorkerDeath;
use crate::rpc::Measures;

/// One thing worth telling.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    Serving {
        run: String,
        address: String,
        /// Where the status page and the metrics are, if they are served.
        page: Option<String>,
        directory: PathBuf,
    },
    /// What the run does now, and why; told when it changes.
    Verdict(Verdict),
    Launched {
        slot: Slot,
        attempt: u32,
        process_id: u32,
    },
    Joined {
        slot: Slot,
        worker: WorkerId,
        device: String,
    },
    Lost {
        slot: Slot,
        worker: WorkerId,
        why: String,
    },
    /// A worker made progress; `steps_done` steps of `stage` are applied.
    Progress {
        slot: Slot,
        stage: Stage,
        steps_done: u64,
        measures: Measures,
    },
    Checkpoint {
        path: String,
        place: Cursor,
        size_bytes: u64,
    },
    Evaluated {
        model: String,
        set: PathName,
        place: Cursor,
        images: u64,
        confusion: ConfusionMatrix,
    },
    StageDone {
        stage: Stage,
        seconds: f64,
    },
    /// A process is started again.
    Restarted {
        slot: Slot,
    },
    GenerationFormed {
        generation: Generation,
        formation: Formation,
    },
    /// All members have formed and train on from `at`; `None` is the run's start.
    GenerationStarted {
        generation: Generation,
        at: Option<Cursor>,
    },
    GenerationAbandoned {
        generation: Generation,
        why: BreakReason,
    },
    /// A commit of the journal reached the disk.
    JournalWritten {
        took: Duration,
    },
    /// How things stand; told a few times a second.
    Looked(Box<Snapshot>),
    /// What a process asked of storages since it began.
    Storage {
        client: StorageClient,
        count: Box<StorageCount>,
    },
    WorkerDied(WorkerDeath),
    Stopping {
        why: String,
    },
    /// The run is over.
    Ended(RunEnd),
}

/// A process that asks something of a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageClient {
    Coordinator,
    Worker(Slot),
}

/// Somebody who watches a run, and passes over the news that it has no use for.
pub trait Audience: Send {
    fn hear(&mut self, news: &News);
}

/// All of them hear everything, in order.
impl Audience for Vec<Box<dyn Audience>> {
    fn hear(&mut self, news: &News) {
        for listener in self {
            listener.hear(news);
        }
    }
}
