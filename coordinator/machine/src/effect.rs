//! Orders the machine gives. The shell carries them out in the order in which they come; a record is on
//! disk before the effect that follows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::{Stopping, Ticket};
use super::reason::{FailReason, FenceReason, FirstCause, RefuseReason, StopReason};
use super::record::Record;
use ulda_run::ids::{Generation, Slot, WorkerId};
use ulda_run::{Digest, StateClaim};

/// One worker of a generation and where its data plane listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub worker: WorkerId,
    pub slot: Slot,
    pub data_address: String,
}

/// Who is in a generation, who serves what, and where it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Formation {
    /// In slot order.
    pub members: Vec<Member>,
    /// The worker of each shard, by shard number.
    pub shard_owner: Vec<WorkerId>,
    /// `None`: the run's beginning, or the newest checkpoint the workers find.
    pub state: Option<StateClaim>,
}

impl Formation {
    /// Index into `members` by shard, as the wire has it.
    #[must_use]
    pub fn shard_owner_indices(&self) -> Vec<u32> {
        let members = (0..).zip(&self.members);
        let indices: BTreeMap<WorkerId, u32> =
            members.map(|(index, member)| (member.worker, index)).collect();
        let owners = self.shard_owner.iter();
        owners.filter_map(|owner| indices.get(owner).copied()).collect()
    }

    #[must_use]
    pub fn contains(&self, worker: WorkerId) -> bool {
        self.members.iter().any(|member| member.worker == worker)
    }
}

/// An order to one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Connect the data plane and get the state in place.
    Form(Arc<Formation>),
    /// All have formed: train. Repeated to a worker that attached again; then it changes nothing.
    Go,
    /// Leave this generation and all older ones, keep the last complete state, say which that is.
    Fence { why: FenceReason },
    /// End the process.
    Stop { stopping: Stopping, why: StopReason },
}

/// Whom a refusal goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    Join(Ticket),
    /// Its stream is to be ended; it may join anew.
    Worker(WorkerId),
}

/// How the run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    Finished { digest: Digest },
    Stopped,
    Failed { reason: FailReason, cause: FirstCause },
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// To be on disk before anything that follows is done.
    Journal(Record),
    /// The join request is accepted under this id.
    Welcome {
        ticket: Ticket,
        worker: WorkerId,
        slot: Slot,
    },
    Refuse {
        asker: Asker,
        reason: RefuseReason,
    },
    Direct {
        worker: WorkerId,
        generation: Generation,
        directive: Directive,
    },
    /// Start a process for the slot. `attempt` grows with each start and comes back in `ProcessEnded`.
    Launch {
        slot: Slot,
        attempt: u32,
    },
    /// End whatever process the shell started for the slot, at once; none is no error.
    Kill {
        slot: Slot,
    },
    /// The run is over; what still lives is to be cleaned up.
    End(RunOutcome),
}
