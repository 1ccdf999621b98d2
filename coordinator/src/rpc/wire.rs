//! Wire messages to the core's words and back.

use tokio::sync::{mpsc, oneshot};
use ulda_core::clip::{ClipOrigin, NotAClipTraining};
use ulda_core::ids::{Generation, Shard, Slot, WorkerId};
use ulda_core::machine::{Digest, Directive, StateClaim, Stopping};
use ulda_core::spec::PathName;
use ulda_core::stage::{Cursor, Stage};
use ulda_proto::v1;
use ulda_storage::{Operation, OperationCount, StorageCount};

use super::refusal::Refusal;

/// One attend stream; a worker that reconnects has a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attachment(pub u64);

/// A worker that asks to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    pub slot: Slot,
    pub data_address: String,
    pub device: String,
    pub process_id: u32,
    /// Where it serves its metrics.
    pub metrics_address: Option<String>,
}

/// What a worker that was let in learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    pub worker: WorkerId,
    pub spec_toml: String,
    pub run_directory: String,
    pub heartbeat_millis: u64,
    pub coordinator_term: u64,
    pub data_secret: Vec<u8>,
    pub keeps_log: bool,
    pub trace_parent: String,
}

/// Losses, rates and times of the steps since the last progress message.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Measures {
    pub losses: Vec<Measured>,
    pub learning_rates: Vec<Measured>,
    pub phase_seconds: Vec<Measured>,
    pub images: u64,
    pub activity: String,
}

/// One named value.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub name: String,
    pub value: f64,
}

/// What an attend stream said.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    Heartbeat,
    /// Weights and data are loaded; the worker can take orders.
    Ready {
        state: Option<StateClaim>,
        clip: Option<ClipOrigin>,
    },
    Formed {
        state: Option<StateClaim>,
    },
    Progress {
        state: Option<StateClaim>,
        measures: Measures,
    },
    Broke {
        cause: String,
        waiting_for: Vec<Shard>,
        state: Option<StateClaim>,
    },
    Finished {
        digest: String,
    },
    Failed {
        cause: String,
        exit_code: i32,
    },
    /// What the worker's process asked of storages since it began.
    Storage(Box<StorageCount>),
}

/// What must be in the journal before the worker is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    Checkpoint {
        path: String,
        place: Cursor,
        digest: String,
        size_bytes: u64,
    },
    Evaluation {
        model: String,
        set: PathName,
        confusion: Vec<u64>,
        images: u64,
        place: Cursor,
        seconds: f64,
    },
    StageDone {
        stage: Stage,
        seconds: f64,
        digest: String,
    },
}

/// How an attend stream came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// The worker closed it: it leaves.
    Closed,
    /// The connection broke; the worker may come back.
    Broke { why: String },
    /// The worker said what no worker of this build says.
    Nonsense { refusal: Refusal },
}

/// A call that waits for the owner of the run.
#[derive(Debug)]
pub enum Ask {
    Join {
        who: Introduction,
        reply: oneshot::Sender<Result<Welcome, Refusal>>,
    },
    Attend {
        worker: WorkerId,
        attachment: Attachment,
        /// The generation the worker believes to be in.
        generation: Generation,
        directives: mpsc::Sender<v1::Directive>,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Attended {
        worker: WorkerId,
        attachment: Attachment,
        generation: Generation,
        fact: Fact,
    },
    Detached {
        worker: WorkerId,
        attachment: Attachment,
        end: StreamEnd,
    },
    /// Which slot a worker serves.
    Whose {
        worker: WorkerId,
        reply: oneshot::Sender<Result<Slot, Refusal>>,
    },
    Report {
        worker: WorkerId,
        notice: Notice,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// A worker heard of a coordinator of a higher term.
    Superseded { term: u64 },
}

fn state(claim: Option<v1::StateClaim>) -> Result<Option<StateClaim>, Refusal> {
    claim
        .map(|claim| {
            Ok(StateClaim {
                cursor: cursor(&claim)?,
                digest: Digest(claim.digest),
            })
        })
        .transpose()
}

fn cursor(claim: &v1::StateClaim) -> Result<Cursor, Refusal> {
    Ok(Cursor {
        stage: stage("state.stage", &claim.stage)?,
        step: claim.step,
    })
}

fn stage(field: &'static str, name: &str) -> Result<Stage, Refusal> {
    name.parse()
        .map_err(|cause: ulda_core::stage::NotAStage| Refusal::Malformed {
            field,
            told: cause.to_string(),
        })
}

fn clip(weights: v1::ClipWeights) -> Result<ClipOrigin, Refusal> {
    let training = weights
        .training
        .parse()
        .map_err(|cause: NotAClipTraining| Refusal::Malformed {
            field: "clip.training",
            told: cause.to_string(),
        })?;
    Ok(ClipOrigin {
        digest: weights.digest,
        training,
    })
}

/// A name that files are called by.
fn path_name(field: &'static str, text: &str) -> Result<PathName, Refusal> {
    text.parse()
        .map_err(|cause: ulda_core::spec::PathNameError| Refusal::Malformed {
            field,
            told: cause.to_string(),
        })
}

fn place(claim: Option<v1::StateClaim>) -> Result<(Cursor, String), Refusal> {
    let claim = claim.ok_or(Refusal::Malformed {
        field: "state",
        told: "is missing".into(),
    })?;
    Ok((cursor(&claim)?, claim.digest))
}

fn measured(values: Vec<v1::Value>) -> Vec<Measured> {
    values
        .into_iter()
        .map(|value| Measured {
            name: value.name,
            value: value.value,
        })
        .collect()
}

/// Operations of names that this build does not know are left out.
fn storage_count(storage: &v1::Storage) -> StorageCount {
    let mut count = StorageCount {
        process: storage.process,
        pending: storage.pending,
        last_put_millis: (storage.last_put_millis > 0).then_some(storage.last_put_millis),
        ..StorageCount::default()
    };
    for told in &storage.operations {
        let place = Operation::ALL
            .iter()
            .position(|operation| operation.name() == told.name);
        if let Some(place) = place {
            count.operations[place] = OperationCount {
                total: told.total,
                failures: told.failures,
                retries: told.retries,
                bytes: told.bytes,
                seconds: told.seconds,
            };
        }
    }
    count
}

impl TryFrom<v1::JoinRequest> for Introduction {
    type Error = Refusal;

    fn try_from(request: v1::JoinRequest) -> Result<Self, Refusal> {
        if request.data_address.parse::<std::net::SocketAddr>().is_err()
            && !request.data_address.contains(':')
        {
            let told = format!("is `{}`, not host:port", request.data_address);
            return Err(Refusal::Malformed {
                field: "data_address",
                told,
            });
        }
        Ok(Self {
            slot: Slot(request.slot),
            data_address: request.data_address,
            device: request.device,
            process_id: request.process_id,
            metrics_address: Some(request.metrics_address).filter(|address| !address.is_empty()),
        })
    }
}

impl TryFrom<v1::attendance::Fact> for Fact {
    type Error = Refusal;

    fn try_from(fact: v1::attendance::Fact) -> Result<Self, Refusal> {
        use v1::attendance::Fact as Wire;
        Ok(match fact {
            Wire::Heartbeat(v1::Heartbeat {}) => Self::Heartbeat,
            Wire::Ready(ready) => Self::Ready {
                state: state(ready.state)?,
                clip: ready.clip.map(clip).transpose()?,
            },
            Wire::Formed(formed) => Self::Formed {
                state: state(formed.state)?,
            },
            Wire::Progress(progress) => Self::Progress {
                state: state(progress.state)?,
                measures: Measures {
                    losses: measured(progress.losses),
                    learning_rates: measured(progress.learning_rates),
                    phase_seconds: measured(progress.phase_seconds),
                    images: progress.images,
                    activity: progress.activity,
                },
            },
            Wire::Broke(broke) => Self::Broke {
                cause: broke.cause,
                waiting_for: broke.waiting_for.into_iter().map(Shard).collect(),
                state: state(broke.state)?,
            },
            Wire::Finished(finished) => Self::Finished {
                digest: finished.digest,
            },
            Wire::Failed(failed) => Self::Failed {
                cause: failed.cause,
                exit_code: failed.exit_code,
            },
            Wire::Storage(storage) => Self::Storage(Box::new(storage_count(&storage))),
        })
    }
}

impl TryFrom<v1::report_request::Fact> for Notice {
    type Error = Refusal;

    fn try_from(fact: v1::report_request::Fact) -> Result<Self, Refusal> {
        use v1::report_request::Fact as Wire;
        Ok(match fact {
            Wire::Checkpoint(checkpoint) => {
                let (place, digest) = place(checkpoint.state)?;
                Self::Checkpoint {
                    path: checkpoint.path,
                    place,
                    digest,
                    size_bytes: checkpoint.size_bytes,
                }
            }
            Wire::Evaluation(done) => {
                let cells = ulda_data::CLASSES * ulda_data::CLASSES;
                if done.confusion.len() != cells {
                    let told = format!("has {} cells, not {cells}", done.confusion.len());
                    return Err(Refusal::Malformed {
                        field: "confusion",
                        told,
                    });
                }
                let (place, _) = place(done.state)?;
                Self::Evaluation {
                    model: done.model,
                    set: path_name("set", &done.set)?,
                    confusion: done.confusion,
                    images: done.images,
                    place,
                    seconds: done.seconds,
                }
            }
            Wire::Stage(done) => Self::StageDone {
                stage: stage("stage", &done.stage)?,
                seconds: done.seconds,
                digest: done.digest,
            },
        })
    }
}

impl From<Welcome> for v1::JoinReply {
    fn from(welcome: Welcome) -> Self {
        Self {
            worker: welcome.worker.0,
            spec_toml: welcome.spec_toml,
            run_directory: welcome.run_directory,
            heartbeat_millis: welcome.heartbeat_millis,
            coordinator_term: welcome.coordinator_term,
            data_secret: welcome.data_secret,
            keeps_log: welcome.keeps_log,
            trace_parent: welcome.trace_parent,
        }
    }
}

fn claim_to_wire(claim: &StateClaim) -> v1::StateClaim {
    v1::StateClaim {
        stage: claim.cursor.stage.name().into(),
        step: claim.cursor.step,
        digest: claim.digest.0.clone(),
    }
}

/// The wire form of an order. `data_tls`: whether the members of a generation encrypt what they tell each other.
#[must_use]
pub fn directive_to_wire(
    term: u64,
    generation: Generation,
    directive: &Directive,
    data_tls: bool,
) -> v1::Directive {
    use v1::directive::Order;
    let order = match directive {
        Directive::Form(formation) => Order::Form(v1::Form {
            members: formation
                .members
                .iter()
                .map(|member| v1::Member {
                    worker: member.worker.0,
                    data_address: member.data_address.clone(),
                })
                .collect(),
            shard_owner: formation.shard_owner_indices(),
            state: formation.state.as_ref().map(claim_to_wire),
            holder: formation.holder_index(),
            data_tls,
        }),
        Directive::Go => Order::Go(v1::Go {}),
        Directive::Fence { why } => Order::Fence(v1::Fence { why: why.to_string() }),
        Directive::Stop { stopping, why } => Order::Stop(v1::Stop {
            drain: *stopping == Stopping::Drain,
            why: why.to_string(),
            exit_code: why.exit_code(),
        }),
    };
    v1::Directive {
        generation: generation.0,
        order: Some(order),
        coordinator_term: term,
    }
}
