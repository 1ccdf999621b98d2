//! What the coordinator asks of a worker.

use ulda_core::ids::Generation;
use ulda_proto::v1;

use super::facts::StateClaim;

/// An order to the trainer.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    Form(Form),
    Go {
        generation: Generation,
    },
    Fence {
        generation: Generation,
        why: String,
    },
    Stop {
        drain: bool,
        why: String,
        /// What the process is to end with.
        exit_code: u8,
    },
    /// Not from the coordinator, but for want of it: it could not be reached for longer than a run may go on alone.
    Orphaned {
        why: String,
    },
}

/// Connect the data plane of a generation and get its state in place.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    pub generation: Generation,
    /// Place of this worker in `addresses`.
    pub me: usize,
    /// Data-plane address of every member.
    pub addresses: Vec<String>,
    /// Member that serves each shard.
    pub shard_owner: Vec<usize>,
    /// Where the generation starts; `None` for the run's beginning.
    pub state: Option<StateClaim>,
    /// Member that holds `state`.
    pub holder: Option<usize>,
    /// Whether members encrypt what they tell each other.
    pub data_tls: bool,
}

/// A directive that makes no sense to this worker.
#[derive(Debug, thiserror::Error)]
pub enum BadDirective {
    #[error("directive of {0} holds no order")]
    Empty(Generation),
    #[error("{0} does not list this worker as a member")]
    NotAMember(Generation),
    #[error("{0} names a state that is not a position in a run")]
    BadState(Generation),
}

impl Order {
    /// # Errors
    /// When the directive is incomplete or not meant for `worker`.
    pub fn from_wire(directive: v1::Directive, worker: u64) -> Result<Self, BadDirective> {
        let generation = Generation(directive.generation);
        Ok(match directive.order.ok_or(BadDirective::Empty(generation))? {
            v1::directive::Order::Form(form) => Self::Form(Form::from_wire(form, generation, worker)?),
            v1::directive::Order::Go(v1::Go {}) => Self::Go { generation },
            v1::directive::Order::Fence(fence) => Self::Fence {
                generation,
                why: fence.why,
            },
            v1::directive::Order::Stop(stop) => Self::Stop {
                drain: stop.drain,
                why: stop.why,
                exit_code: u8::try_from(stop.exit_code).unwrap_or(1),
            },
        })
    }
}

impl Form {
    fn from_wire(form: v1::Form, generation: Generation, worker: u64) -> Result<Self, BadDirective> {
        let me = form.members.iter().position(|member| member.worker == worker);
        let state = form
            .state
            .map(|claim| StateClaim::from_wire(&claim).ok_or(BadDirective::BadState(generation)));
        Ok(Self {
            generation,
            me: me.ok_or(BadDirective::NotAMember(generation))?,
            addresses: form
                .members
                .into_iter()
                .map(|member| member.data_address)
                .collect(),
            shard_owner: form.shard_owner.into_iter().map(|owner| owner as usize).collect(),
            state: state.transpose()?,
            holder: form.holder.map(|holder| holder as usize),
            data_tls: form.data_tls,
        })
    }
}
