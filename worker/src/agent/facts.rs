//! What a worker tells the coordinator.

use std::path::PathBuf;
use ulda_run::Exit;

use ulda_proto::v1;
use ulda_run::clip::ClipOrigin;
use ulda_run::ids::Generation;
use ulda_run::stage::{Cursor, Stage};
use ulda_run::style_health::StyleHealth;
use ulda_storage::{Operation, StorageCount};

/// A complete state, named by position and digest. The digest is empty where taking it would cost a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldState {
    pub cursor: Cursor,
    pub digest: String,
}

/// Progress since the last message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    pub losses: Vec<(&'static str, f64)>,
    pub learning_rates: Vec<(&'static str, f64)>,
    pub phase_seconds: Vec<(&'static str, f64)>,
    pub images: u64,
    pub activity: String,
    /// Health of the styles of a round, by domain.
    pub styles: Vec<(String, StyleHealth)>,
}

/// Goes up the attend stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    Ready {
        state: Option<HeldState>,
        clip: ClipOrigin,
    },
    Formed {
        generation: Generation,
        state: HeldState,
    },
    Progress {
        generation: Generation,
        state: HeldState,
        progress: Progress,
    },
    Broke {
        generation: Generation,
        cause: String,
        waiting_for: Vec<u32>,
        /// `None`: it holds nothing but the run's beginning.
        state: Option<HeldState>,
    },
    Finished {
        generation: Generation,
        digest: String,
    },
    Failed {
        generation: Generation,
        cause: String,
        exit: Exit,
    },
    /// What this process asked of storages so far.
    Storage(StorageCount),
}

/// Goes by an RPC of its own, and is repeated until the coordinator has it in its journal.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    Checkpoint {
        path: PathBuf,
        state: HeldState,
        size_bytes: u64,
    },
    Evaluation {
        model: &'static str,
        set: String,
        confusion: Vec<u64>,
        images: u64,
        at: Cursor,
        seconds: f64,
    },
    StageDone {
        stage: Stage,
        seconds: f64,
        digest: String,
    },
}

impl HeldState {
    pub(super) fn from_wire(claim: &v1::StateClaim) -> Option<Self> {
        let cursor = Cursor {
            stage: claim.stage.parse().ok()?,
            step: claim.step,
        };
        Some(Self {
            cursor,
            digest: claim.digest.clone(),
        })
    }

    fn into_wire(self) -> v1::StateClaim {
        v1::StateClaim {
            stage: self.cursor.stage.to_string(),
            step: self.cursor.step,
            digest: self.digest,
        }
    }
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

    pub(super) fn into_wire(self, worker: u64) -> v1::Attendance {
        use v1::attendance::Fact as Wire;
        let (generation, fact) = match self {
            Self::Ready { state, clip } => (
                Generation::NONE,
                Wire::Ready(v1::Ready {
                    state: state.map(HeldState::into_wire),
                    clip: Some(v1::ClipWeights {
                        digest: clip.digest,
                        training: clip.training.to_string(),
                    }),
                }),
            ),
            Self::Formed { generation, state } => (
                generation,
                Wire::Formed(v1::Formed {
                    state: Some(state.into_wire()),
                }),
            ),
            Self::Progress {
                generation,
                state,
                progress,
            } => {
                let progress = v1::Progress {
                    state: Some(state.into_wire()),
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
                    waiting_for,
                    state: state.map(HeldState::into_wire),
                }),
            ),
            Self::Finished { generation, digest } => (generation, Wire::Finished(v1::Finished { digest })),
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
            worker,
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

pub(super) fn heartbeat(worker: u64, generation: u64, coordinator_term: u64) -> v1::Attendance {
    v1::Attendance {
        worker,
        generation,
        fact: Some(v1::attendance::Fact::Heartbeat(v1::Heartbeat {})),
        coordinator_term,
    }
}

impl Report {
    pub(super) fn into_wire(self, worker: u64, generation: Generation) -> v1::ReportRequest {
        use v1::report_request::Fact as Wire;
        let fact = match self {
            Self::Checkpoint {
                path,
                state,
                size_bytes,
            } => Wire::Checkpoint(v1::CheckpointWritten {
                path: path.display().to_string(),
                state: Some(state.into_wire()),
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
                let state = HeldState {
                    cursor: at,
                    digest: String::new(),
                };
                Wire::Evaluation(v1::EvaluationDone {
                    model: model.to_owned(),
                    set,
                    confusion,
                    images,
                    state: Some(state.into_wire()),
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
            worker,
            generation: generation.0,
            fact: Some(fact),
        }
    }
}
