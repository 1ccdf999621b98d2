//! How far a run is and why it is where it is, from its journal: as a table, as JSON, on the status page.

use std::collections::BTreeMap;

use serde::Serialize;
use ulda_run::clip::ClipOrigin;
use ulda_run::spec::Host;
use ulda_run::stage::{Cursor, Stage};

use crate::history::{History, RunStanding};
use crate::journal::{CheckpointRow, EventRow, JournalReader, StageRow};
use crate::report::{RunReadError, clip_origin};
use crate::run_directory::{RunDirectory, Server};

const EVENTS_SHOWN: u32 = 5;

/// What `coordinator status -o json` and `/api/status` say.
#[derive(Debug, Serialize)]
pub struct Status {
    pub run: String,
    #[serde(flatten)]
    pub standing: RunStanding,
    pub coordinator: Option<Server>,
    pub term: u64,
    pub generation: u64,
    pub committed: Option<Cursor>,
    pub steps_of_stage: Option<u64>,
    pub share_done: f64,
    pub shards: u32,
    pub losses: BTreeMap<String, f64>,
    pub workers: Vec<StatusWorker>,
    pub stages: Vec<StageRow>,
    pub last_checkpoint: Option<CheckpointRow>,
    /// The CLIP weights that the evaluations stand on.
    pub clip: ClipOrigin,
    pub evaluations: Vec<Evaluation>,
    pub last_events: Vec<EventRow>,
}

/// A worker that is part of the run now.
#[derive(Debug, Serialize)]
pub struct StatusWorker {
    pub worker: u64,
    pub slot: u32,
    pub device: String,
    pub data_address: String,
}

/// One model on one set.
#[derive(Debug, Serialize)]
pub struct Evaluation {
    pub model: String,
    pub set: String,
    pub place: Cursor,
    pub images: u64,
    pub mean_iou: Option<f64>,
}

/// Reads the run in `directory`.
///
/// # Errors
/// Its run.toml or its journal cannot be read.
pub fn gather(directory: &RunDirectory) -> Result<Status, RunReadError> {
    let spec = directory.spec(Host { workers: 1, cores: 1 })?;
    let journal = JournalReader::open(&directory.journal_file())?;
    let history = History::read(directory, &journal)?;
    let stage = history.committed.map_or(Stage::Pretrain, |cursor| cursor.stage);
    let losses = journal.latest(stage)?.into_iter();
    let losses = losses
        .filter_map(|(name, value)| Some((name.strip_prefix("loss.")?.to_owned(), value)))
        .collect();
    let evaluations = journal.evaluations()?.into_iter().map(|row| Evaluation {
        model: row.model,
        set: row.set.to_string(),
        place: row.place,
        images: row.images,
        mean_iou: row.mean_iou,
    });
    let running = matches!(history.standing, RunStanding::Running { .. });
    let workers = history
        .resume
        .workers
        .iter()
        .filter(|_| running)
        .map(|(worker, known)| StatusWorker {
            worker: worker.0,
            slot: known.slot.0,
            device: known.device.clone(),
            data_address: known.data_address.clone(),
        });
    Ok(Status {
        run: spec.config().run.name.to_string(),
        coordinator: directory.server(),
        term: history.term,
        generation: history.generation,
        committed: history.committed,
        steps_of_stage: history.committed.map(|cursor| spec.course().steps(cursor.stage)),
        share_done: history.share_done(&spec),
        shards: spec.shards(),
        losses,
        workers: workers.collect(),
        stages: journal.stages()?,
        last_checkpoint: journal.checkpoints()?.pop(),
        clip: clip_origin(directory, &journal.facts()?)?,
        evaluations: evaluations.collect(),
        last_events: journal.last_events(EVENTS_SHOWN)?,
        standing: history.standing,
    })
}
