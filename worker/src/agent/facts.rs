//! What a worker tells the coordinator.

use ulda_proto::v1;
use ulda_run::clip::ClipOrigin;
use ulda_run::ids::{Generation, Shard, WorkerId};
use ulda_run::{Digest, Exit, StateClaim};
use ulda_storage::{Operation, StorageCount};

use crate::progress::{Progress, Report};

/// Goes up the attend stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    Ready {
        state: Option<StateClaim>,
        clip: ClipOrigin,
    },
    Formed {
        generation: Generation,
        state: StateClaim,
    },
    Progress {
        generation: Generation,
        state: StateClaim,
        progress: Progress,
    },
    Broke {
        generation: Generation,
        cause: String,
        waiting_for: Vec<Shard>,
        /// `None`: it holds nothing but the run's beginning.
        state: Option<StateClaim>,
    },
    Finished {
        generation: Generation,
        digest: Digest,
    },
    Failed {
        generation: Generation,
        cause: String,
        exit: Exit,
    },
    /// What this process asked of storages so far.
    Storage(StorageCount),
}

fn values(named: impl IntoIterator<Item = (&'static str, f64)>) -> Vec<v1::Value> {
    named
        .into_iter()
        .map(|(name, value)| v1::Value {
            name: name.to_owned(),
            value,
        })
        .collect()
}

impl Fact {
    /// Whether a coordinator that was away needs to hear it again: what a generation came to, not how far it is.
    pub(super) fn is_standing(&self) -> bool {
        match self {
            Self::Formed { .. } | Self::Broke { .. } | Self::Finished { .. } => true,
            Self::Ready { .. } | Self::Progress { .. } | Self::Failed { .. } | Self::Storage(_) => false,
        }
    }

    pub(super) fn into_wire(self, worker: WorkerId) -> v1::Attendance {
        use v1::attendance::Fact as Wire;
        let (generation, fact) = match self {
            Self::Ready { state, clip } => (
                Generation::NONE,
                Wire::Ready(v1::Ready {
                    state: state.map(Into::into),
                    clip: Some(v1::ClipWeights {
                        digest: clip.digest,
                        training: clip.training.to_string(),
                    }),
                }),
            ),
            Self::Formed { generation, state } => (
                generation,
                Wire::Formed(v1::Formed {
                    state: Some(state.into()),
                }),
            ),
            Self::Progress {
                generation,
                state,
                progress,
            } => {
                let progress = v1::Progress {
                    state: Some(state.into()),
                    losses: values(progress.losses),
                    learning_rates: values(progress.learning_rates),
                    phase_seconds: values(progress.phase_seconds),
                    images: progress.images,
                    activity: progress.activity,
                    styles: progress
                        .styles
                        .into_iter()
                        .map(|(domain, health)| v1::DomainStyles {
                            domain,
                            health: values(health.measures()),
                        })
                        .collect(),
                };
                (generation, Wire::Progress(progress))
            }
            Self::Broke {
                generation,
                cause,
                waiting_for,
                state,
            } => (
                generation,
                Wire::Broke(v1::Broke {
                    cause,
                    waiting_for: waiting_for.into_iter().map(|shard| shard.0).collect(),
                    state: state.map(Into::into),
                }),
            ),
            Self::Finished { generation, digest } => {
                (generation, Wire::Finished(v1::Finished { digest: digest.0 }))
            }
            Self::Failed {
                generation,
                cause,
                exit,
            } => (
                generation,
                Wire::Failed(v1::Failed {
                    cause,
                    exit_code: exit.into(),
                }),
            ),
            Self::Storage(count) => (Generation::NONE, Wire::Storage(storage(&count))),
        };
        v1::Attendance {
            worker: worker.0,
            generation: generation.0,
            fact: Some(fact),
            // Said with the heartbeat that opens each stream.
            coordinator_term: 0,
        }
    }
}

fn storage(count: &StorageCount) -> v1::Storage {
    let operations = Operation::ALL.iter().zip(&count.operations);
    v1::Storage {
        operations: operations
            .map(|(operation, count)| v1::StorageOperation {
                name: operation.name().to_owned(),
                total: count.total,
                failures: count.failures,
                retries: count.retries,
                bytes: count.bytes,
                seconds: count.seconds,
            })
            .collect(),
        process: count.process,
        pending: count.pending,
        last_put_millis: count.last_put_millis.unwrap_or_default(),
    }
}

pub(super) fn heartbeat(worker: WorkerId, generation: Generation, coordinator_term: u64) -> v1::Attendance {
    v1::Attendance {
        worker: worker.0,
        generation: generation.0,
        fact: Some(v1::attendance::Fact::Heartbeat(v1::Heartbeat {})),
        coordinator_term,
    }
}

impl Report {
    pub(super) fn into_wire(self, worker: WorkerId, generation: Generation) -> v1::ReportRequest {
        use v1::report_request::Fact as Wire;
        let fact = match self {
            Self::Checkpoint {
                path,
                state,
                size_bytes,
            } => Wire::Checkpoint(v1::CheckpointWritten {
                path: path.display().to_string(),
                state: Some(state.into()),
                size_bytes,
            }),
            Self::Evaluation {
                model,
                set,
                confusion,
                images,
                at,
                seconds,
            } => {
                let state = StateClaim {
                    cursor: at,
                    digest: Digest::default(),
                };
                Wire::Evaluation(v1::EvaluationDone {
                    model: model.to_owned(),
                    set,
                    confusion,
                    images,
                    state: Some(state.into()),
                    seconds,
                })
            }
            Self::StageDone {
                stage,
                seconds,
                digest,
            } => Wire::Stage(v1::StageDone {
                stage: stage.to_string(),
                seconds,
                digest,
            }),
        };
        v1::ReportRequest {
            worker: worker.0,
            generation: generation.0,
            fact: Some(fact),
        }
    }
}
