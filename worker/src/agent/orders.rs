//! What the coordinator asks of a worker.

use ulda_collective::WorkerIndex;
use ulda_proto::v1;
use ulda_run::UnknownName;
use ulda_run::ids::{Generation, WorkerId};
use ulda_run::{Exit, StateClaim};

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
        exit: Exit,
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
    pub me: WorkerIndex,
    /// Data-plane address of every member.
    pub addresses: Vec<String>,
    /// Member that serves each shard.
    pub shard_owner: Vec<WorkerIndex>,
    /// Where the generation starts; `None` for the run's beginning.
    pub state: Option<StateClaim>,
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
    #[error("{generation} starts from a state of no run: {cause}")]
    BadState {
        generation: Generation,
        cause: UnknownName,
    },
    #[error("{generation} has owners for {have} shards, and the run has {want}")]
    Shards {
        generation: Generation,
        have: usize,
        want: u32,
    },
    #[error("{generation} names member {member} of {members}")]
    NoSuchMember {
        generation: Generation,
        member: u32,
        members: usize,
    },
}

impl Order {
    /// # Errors
    /// When the directive is incomplete, not meant for `worker`, or not of a run of `shards` shards.
    pub fn from_wire(directive: v1::Directive, worker: WorkerId, shards: u32) -> Result<Self, BadDirective> {
        let generation = Generation(directive.generation);
        Ok(match directive.order.ok_or(BadDirective::Empty(generation))? {
            v1::directive::Order::Form(form) => {
                Self::Form(Form::from_wire(form, generation, worker, shards)?)
            }
            v1::directive::Order::Go(v1::Go {}) => Self::Go { generation },
            v1::directive::Order::Fence(fence) => Self::Fence {
                generation,
                why: fence.why,
            },
            v1::directive::Order::Stop(stop) => Self::Stop {
                drain: stop.drain,
                why: stop.why,
                exit: Exit::from(stop.exit_code),
            },
        })
    }
}

impl Form {
    fn from_wire(
        form: v1::Form,
        generation: Generation,
        worker: WorkerId,
        shards: u32,
    ) -> Result<Self, BadDirective> {
        let is_me = |(_, member): &(u32, &v1::Member)| member.worker == worker.0;
        let me = (0..).zip(&form.members).find(is_me);
        let me = me.map(|(place, _)| WorkerIndex(place));
        let members = form.members.len();
        let place = |member: u32| match member {
            place if (place as usize) < members => Ok(WorkerIndex(place)),
            _ => Err(BadDirective::NoSuchMember {
                generation,
                member,
                members,
            }),
        };
        if form.shard_owner.len() != shards as usize {
            return Err(BadDirective::Shards {
                generation,
                have: form.shard_owner.len(),
                want: shards,
            });
        }
        let state = form.state.map(StateClaim::try_from).transpose();
        Ok(Self {
            generation,
            me: me.ok_or(BadDirective::NotAMember(generation))?,
            shard_owner: form
                .shard_owner
                .into_iter()
                .map(place)
                .collect::<Result<_, _>>()?,
            addresses: form
                .members
                .into_iter()
                .map(|member| member.data_address)
                .collect(),
            state: state.map_err(|cause| BadDirective::BadState { generation, cause })?,
            data_tls: form.data_tls,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARDS: u32 = 2;

    fn form() -> v1::Form {
        let member = |worker| v1::Member {
            worker,
            data_address: "127.0.0.1:4000".into(),
        };
        v1::Form {
            members: vec![member(5), member(6)],
            shard_owner: vec![0, 1],
            state: None,
            data_tls: false,
        }
    }

    fn refused(form: v1::Form) -> String {
        let directive = v1::Directive {
            generation: 3,
            order: Some(v1::directive::Order::Form(form)),
            coordinator_term: 1,
        };
        let order = Order::from_wire(directive, WorkerId(5), SHARDS);
        order.map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn a_directive_names_only_members_and_shards_that_there_are() {
        assert_eq!(refused(form()), "");
        for absurd in [2, u32::MAX] {
            let told = format!("generation 3 names member {absurd} of 2");
            let mut owner = form();
            owner.shard_owner[1] = absurd;
            assert_eq!(refused(owner), told);
        }
        for owners in [vec![], vec![0; 1 << 20]] {
            let mut many = form();
            many.shard_owner = owners;
            let told = refused(many);
            assert!(told.contains("and the run has 2"), "{told}");
        }
        let mut nobody = form();
        nobody.members.clear();
        assert_ne!(refused(nobody), "");
    }
}
