//! What the journal keeps of a run, and what a coordinator that comes back needs of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::effect::Formation;
use super::reason::{BreakReason, FailReason, FirstCause, LostReason};
use ulda_run::ids::{Generation, Slot, WorkerId};
use ulda_run::{Digest, Exit, StateClaim};

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Record {
    /// A coordinator took up the run.
    RunStarted {
        term: u64,
    },
    WorkerJoined {
        worker: WorkerId,
        slot: Slot,
        attempt: u32,
        data_address: String,
        device: String,
    },
    GenerationFormed {
        generation: Generation,
        formation: Formation,
    },
    /// All members have formed and start at `state`.
    GenerationStarted {
        generation: Generation,
        state: Option<StateClaim>,
    },
    GenerationAbandoned {
        generation: Generation,
        why: BreakReason,
    },
    /// All steps before `state.cursor` are committed; a member of `generation` holds the result.
    Committed {
        generation: Generation,
        state: StateClaim,
    },
    WorkerLost {
        worker: WorkerId,
        slot: Slot,
        why: LostReason,
    },
    Restarted {
        slot: Slot,
        attempt: u32,
    },
    Finished {
        digest: Digest,
    },
    Failed {
        reason: FailReason,
        cause: FirstCause,
        #[serde(rename = "exit_code")]
        exit: Exit,
    },
    Stopped,
}

/// A worker the journal speaks of as alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownWorker {
    pub slot: Slot,
    pub attempt: u32,
    pub data_address: String,
    pub device: String,
}

/// A generation that was training when the journal ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunningGeneration {
    pub formation: Formation,
    pub state: Option<StateClaim>,
}

/// What a coordinator that comes back knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resume {
    /// Term of the last coordinator; the next one's is higher.
    pub term: u64,
    /// Number of the last generation.
    pub generation: u64,
    /// Highest worker id given out; `None` before the first.
    pub last_worker: Option<WorkerId>,
    /// Furthest committed state.
    pub committed: Option<StateClaim>,
    /// The generation that may be training still.
    pub running: Option<RunningGeneration>,
    /// Shard owners of the last generation.
    pub shard_owner: Vec<WorkerId>,
    /// Workers that may be alive still.
    pub workers: BTreeMap<WorkerId, KnownWorker>,
    /// Last start of each slot.
    pub attempts: BTreeMap<Slot, u32>,
    /// The run is finished already.
    pub finished: Option<Digest>,
}

/// Reads the journal from its beginning. `None` where it is empty.
#[must_use]
pub fn fold<'a>(records: impl IntoIterator<Item = &'a Record>) -> Option<Resume> {
    let mut resume: Option<Resume> = None;
    let mut formed: Option<(Generation, Formation)> = None;
    for record in records {
        let known = resume.get_or_insert_default();
        match record {
            Record::RunStarted { term } => known.term = *term,
            Record::WorkerJoined {
                worker,
                slot,
                attempt,
                data_address,
                device,
            } => {
                known.last_worker = known.last_worker.max(Some(*worker));
                known.attempts.insert(*slot, *attempt);
                known.workers.insert(
                    *worker,
                    KnownWorker {
                        slot: *slot,
                        attempt: *attempt,
                        data_address: data_address.clone(),
                        device: device.clone(),
                    },
                );
            }
            Record::GenerationFormed {
                generation,
                formation,
            } => {
                known.generation = generation.0;
                known.shard_owner.clone_from(&formation.shard_owner);
                known.running = None;
                formed = Some((*generation, formation.clone()));
            }
            Record::GenerationStarted { generation, state } => {
                if let Some((_, formation)) = formed.take().filter(|(number, _)| number == generation) {
                    known.running = Some(RunningGeneration {
                        formation,
                        state: state.clone(),
                    });
                }
            }
            Record::GenerationAbandoned { .. } => known.running = None,
            Record::Committed { state, .. } => {
                if known
                    .committed
                    .as_ref()
                    .is_none_or(|committed| committed.cursor < state.cursor)
                {
                    known.committed = Some(state.clone());
                }
                if let Some(running) = &mut known.running {
                    running.state = Some(state.clone());
                }
            }
            Record::WorkerLost { worker, .. } => {
                known.workers.remove(worker);
            }
            Record::Restarted { slot, attempt } => {
                known.attempts.insert(*slot, *attempt);
            }
            Record::Finished { digest } => known.finished = Some(digest.clone()),
            Record::Failed { .. } | Record::Stopped => {
                known.workers.clear();
                known.running = None;
            }
        }
    }
    resume
}
