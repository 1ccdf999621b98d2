//! One generation's membership: who is in, where, and which shards each serves.

use std::fmt;
use std::time::Duration;

use ulda_run::ids::{Generation, Shard};

use crate::error::MembershipError;

/// Longest run name the handshake carries.
pub(crate) const RUN_BYTES: usize = 256;

/// A run, by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RunId(pub String);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A worker process, by its place in the membership, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerIndex(pub u32);

impl fmt::Display for WorkerIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}", self.0)
    }
}

/// What the workers of a run know and nobody else; it keys the proofs of the handshake and never
/// travels.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// How to reach a worker's [`DataPlaneListener`](crate::DataPlaneListener).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerPeer {
    /// `host:port`; a host name is resolved anew at each attempt.
    pub address: String,
}

/// One generation as one worker is told it; all fields but `me` are equal on all workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The run it belongs to.
    pub run: RunId,
    /// Its number.
    pub generation: Generation,
    /// The worker that reads this.
    pub me: WorkerIndex,
    /// All workers, by index.
    pub workers: Vec<WorkerPeer>,
    /// The worker that serves each shard, by shard.
    pub shards: Vec<WorkerIndex>,
    /// The run's secret.
    pub secret: Secret,
    /// Whether its connections are encrypted; whoever dials otherwise is refused.
    pub encrypted: bool,
}

impl Membership {
    /// The worker that serves `shard`, if the run has such a shard.
    pub fn worker_of(&self, shard: Shard) -> Option<WorkerIndex> {
        self.shards.get(shard.0 as usize).copied()
    }

    /// The shards `worker` serves, ascending.
    pub fn shards_of(&self, worker: WorkerIndex) -> Vec<Shard> {
        let served = self
            .shards
            .iter()
            .enumerate()
            .filter(|(_, server)| **server == worker);
        served.map(|(shard, _)| Shard(shard as u32)).collect()
    }

    /// Checks that indices are within bounds and names within limits.
    pub(crate) fn check(&self) -> Result<(), MembershipError> {
        let workers = self.workers.len();
        if self.me.0 as usize >= workers {
            return Err(MembershipError::UnknownSelf { me: self.me, workers });
        }
        if self.shards.is_empty() {
            return Err(MembershipError::NoShards);
        }
        for (shard, &worker) in self.shards.iter().enumerate() {
            if worker.0 as usize >= workers {
                let shard = Shard(shard as u32);
                return Err(MembershipError::UnknownServer {
                    shard,
                    worker,
                    workers,
                });
            }
        }
        if self.run.0.len() > RUN_BYTES {
            return Err(MembershipError::LongRunName {
                length_bytes: self.run.0.len(),
            });
        }
        Ok(())
    }
}

/// How long each kind of wait may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneDeadlines {
    /// Forming the whole mesh, from the call of `connect`.
    pub connect: Duration,
    /// One handshake, from the connection to its last message.
    pub handshake: Duration,
    /// One wait inside an operation: for frames of other shards, or for room in a socket.
    pub operation: Duration,
}

impl Default for PlaneDeadlines {
    /// A minute to form, five seconds to shake hands, two minutes for a peer to arrive at an operation.
    fn default() -> Self {
        PlaneDeadlines {
            connect: Duration::from_secs(60),
            handshake: Duration::from_secs(5),
            operation: Duration::from_secs(120),
        }
    }
}
