//! What happens in a run, told to whoever watches. The run does not know who that is.

use std::path::PathBuf;

use ulda_core::ids::{Slot, WorkerId};
use ulda_core::machine::Verdict;
use ulda_core::stage::{Cursor, Stage};

use crate::launch::FirstCause;
use crate::rpc::Measures;

/// One thing worth telling.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    Serving {
        run: String,
        address: String,
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
        set: String,
        place: Cursor,
        images: u64,
        confusion: Vec<u64>,
    },
    StageDone {
        stage: Stage,
        seconds: f64,
    },
    WorkerDied(FirstCause),
    Stopping {
        why: String,
    },
    Finished {
        digest: String,
    },
    Stopped,
    Failed {
        why: String,
    },
}

/// Somebody who watches a run.
pub trait Audience: Send {
    fn hear(&mut self, news: &News);
}
