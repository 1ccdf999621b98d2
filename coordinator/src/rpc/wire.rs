//! Wire messages to the core's words and back; what each field may hold is said in `bounds`.

use tokio::sync::{mpsc, oneshot};
use ulda_dataset::ConfusionMatrix;
use ulda_machine::{Directive, Stopping};
use ulda_proto::v1;
use ulda_run::clip::ClipOrigin;
use ulda_run::ids::{Generation, Shard, Slot, WorkerId};
use ulda_run::spec::PathName;
use ulda_run::stage::{Cursor, Stage};
use ulda_run::style_health::StyleHealth;
use ulda_run::{Digest, StateClaim};
use ulda_storage::{Operation, OperationCount, StorageCount};

use super::bounds::{self, Bounds, Measured};
use super::refusal::Refusal;

/// One attend stream; a worker that reconnects has a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attachment(pub u64);

/// A worker that asks to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoiningWorker {
    pub slot: Slot,
    pub data_address: String,
    pub device: String,
    pub process_id: u32,
    /// Where it serves its metrics.
    pub metrics_address: Option<String>,
}

/// Losses, rates and times of the steps since the last progress message.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Measures {
    pub losses: Vec<Measured>,
    pub learning_rates: Vec<Measured>,
    pub phase_seconds: Vec<Measured>,
    pub images: u64,
    pub activity: String,
    /// Health of the styles of a round, by domain.
    pub styles: Vec<(String, StyleHealth)>,
}

/// What an attend stream said.
#[derive(Clone, Debug, PartialEq)]
pub enum ReceivedFact {
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
        digest: Digest,
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
        confusion: ConfusionMatrix,
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
        who: JoiningWorker,
        reply: oneshot::Sender<Result<v1::JoinReply, Refusal>>,
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
        fact: ReceivedFact,
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

/// Operations of names that this build does not know are left out.
fn storage_count(storage: v1::Storage) -> Result<StorageCount, Refusal> {
    let last_put_millis = bounds::number("last_put_millis", storage.last_put_millis)?;
    let mut count = StorageCount {
        process: storage.process,
        pending: bounds::count("pending", storage.pending)?,
        last_put_millis: (last_put_millis > 0).then_some(last_put_millis),
        ..StorageCount::default()
    };
    for told in storage.operations {
        let name = bounds::name("operations.name", told.name)?;
        let place = Operation::ALL
            .iter()
            .position(|operation| operation.name() == name);
        let operation = OperationCount {
            total: bounds::count("operations.total", told.total)?,
            failures: bounds::count("operations.failures", told.failures)?,
            retries: bounds::count("operations.retries", told.retries)?,
            bytes: bounds::count("operations.bytes", told.bytes)?,
            seconds: bounds::seconds("operations.seconds", told.seconds)?,
        };
        if let Some(place) = place {
            count.operations[place] = operation;
        }
    }
    Ok(count)
}

impl TryFrom<v1::JoinRequest> for JoiningWorker {
    type Error = Refusal;

    fn try_from(request: v1::JoinRequest) -> Result<Self, Refusal> {
        let metrics_address = Some(request.metrics_address).filter(|address| !address.is_empty());
        Ok(Self {
            slot: bounds::slot(request.slot)?,
            data_address: bounds::address("data_address", request.data_address)?,
            device: bounds::text("device", request.device)?,
            process_id: request.process_id,
            metrics_address: metrics_address
                .map(|address| bounds::address("metrics_address", address))
                .transpose()?,
        })
    }
}

impl Measures {
    /// All losses but scores that travel with them, which come as evaluations, too.
    pub fn training_losses(&self) -> impl Iterator<Item = &Measured> {
        let losses = self.losses.iter();
        losses.filter(|loss| !loss.name.starts_with("validation"))
    }

    fn from_wire(progress: v1::Progress) -> Result<Self, Refusal> {
        Ok(Self {
            losses: bounds::measured("losses", progress.losses)?,
            learning_rates: bounds::measured("learning_rates", progress.learning_rates)?,
            phase_seconds: bounds::times("phase_seconds", progress.phase_seconds)?,
            images: bounds::count("images", progress.images)?,
            activity: bounds::sentence(progress.activity),
            styles: bounds::styles(progress.styles)?,
        })
    }
}

impl ReceivedFact {
    pub(super) fn from_wire(fact: v1::attendance::Fact, bounds: &Bounds) -> Result<Self, Refusal> {
        use v1::attendance::Fact as Wire;
        Ok(match fact {
            Wire::Heartbeat(v1::Heartbeat {}) => Self::Heartbeat,
            Wire::Ready(ready) => Self::Ready {
                state: bounds.state(ready.state)?,
                clip: ready.clip.map(bounds::clip).transpose()?,
            },
            Wire::Formed(formed) => Self::Formed {
                state: bounds.state(formed.state)?,
            },
            Wire::Progress(mut progress) => Self::Progress {
                state: bounds.state(progress.state.take())?,
                measures: Measures::from_wire(progress)?,
            },
            Wire::Broke(broke) => Self::Broke {
                cause: bounds::sentence(broke.cause),
                waiting_for: bounds.shards("waiting_for", broke.waiting_for)?,
                state: bounds.state(broke.state)?,
            },
            Wire::Finished(finished) => Self::Finished {
                digest: bounds::digest("digest", finished.digest)?,
            },
            Wire::Failed(failed) => Self::Failed {
                cause: bounds::sentence(failed.cause),
                exit_code: bounds::exit_code(failed.exit_code)?,
            },
            Wire::Storage(storage) => Self::Storage(Box::new(storage_count(storage)?)),
        })
    }
}

impl Notice {
    pub(super) fn from_wire(fact: v1::report_request::Fact, bounds: &Bounds) -> Result<Self, Refusal> {
        use v1::report_request::Fact as Wire;
        Ok(match fact {
            Wire::Checkpoint(checkpoint) => {
                let state = bounds.place(checkpoint.state)?;
                Self::Checkpoint {
                    path: bounds::path("path", checkpoint.path)?,
                    place: state.cursor,
                    digest: state.digest.0,
                    size_bytes: bounds::count("size_bytes", checkpoint.size_bytes)?,
                }
            }
            Wire::Evaluation(done) => Self::Evaluation {
                model: bounds::name("model", done.model)?,
                set: bounds::path_name("set", &done.set)?,
                confusion: bounds.confusion(&done.confusion)?,
                images: bounds::count("images", done.images)?,
                place: bounds.place(done.state)?.cursor,
                seconds: bounds::seconds("seconds", done.seconds)?,
            },
            Wire::Stage(done) => Self::StageDone {
                stage: bounds::stage("stage", &done.stage)?,
                seconds: bounds::seconds("seconds", done.seconds)?,
                digest: bounds::digest("digest", done.digest)?.0,
            },
        })
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
            state: formation.state.clone().map(Into::into),
            data_tls,
        }),
        Directive::Go => Order::Go(v1::Go {}),
        Directive::Fence { why } => Order::Fence(v1::Fence { why: why.to_string() }),
        Directive::Stop { stopping, why } => Order::Stop(v1::Stop {
            drain: *stopping == Stopping::Drain,
            why: why.to_string(),
            exit_code: why.exit().into(),
        }),
    };
    v1::Directive {
        generation: generation.0,
        order: Some(order),
        coordinator_term: term,
    }
}
