//! What can go wrong, one variant per cause.
//!
//! Errors are cloned to every caller of a broken plane, so sources are shared.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use ulda_run::hints;
use ulda_run::ids::{Generation, Shard};

use crate::frame::FrameError;
use crate::membership::{RUN_BYTES, RunId, WorkerIndex};
use crate::tag::{Tag, TagKey};

/// Why a worker gave up a generation, as its peers are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbortCause {
    /// The worker believed to be at fault, if one is.
    pub suspect: Option<WorkerIndex>,
    /// The cause in words; cut to 1 KiB on the wire.
    pub text: String,
}

impl AbortCause {
    /// A cause that blames no other worker.
    pub fn new(text: impl Into<String>) -> AbortCause {
        AbortCause {
            suspect: None,
            text: text.into(),
        }
    }
}

/// A membership that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MembershipError {
    /// `me` is not among the workers.
    #[error("field `me`: {me} is not among the {workers} workers")]
    UnknownSelf { me: WorkerIndex, workers: usize },
    /// A shard is given to a worker that does not exist.
    #[error("field `shards`: {shard} is served by {worker}, but there are {workers} workers")]
    UnknownServer {
        shard: Shard,
        worker: WorkerIndex,
        workers: usize,
    },
    /// The run has no shard.
    #[error("field `shards`: a run has at least one shard")]
    NoShards,
    /// The run's name does not fit into the handshake.
    #[error("field `run`: the name has {length_bytes} bytes")]
    LongRunName { length_bytes: usize },
}

hints!(pub MembershipError {
    Self::LongRunName { .. } => format!("use at most {RUN_BYTES} bytes"),
});

/// Why a connection was refused, or a mesh not formed.
#[derive(Clone, Debug, Error)]
pub enum HandshakeError {
    /// The first bytes are not this protocol's.
    #[error("the other side does not speak the data-plane protocol")]
    NotOurProtocol,
    /// The other side is of another release.
    #[error("protocol version {got}, this worker speaks version {current}")]
    Version { got: u16, current: u16 },
    /// The other side belongs to another run.
    #[error("the connection is for run `{got}`, the worker reached serves run `{current}`")]
    WrongRun { got: RunId, current: RunId },
    /// The other side belongs to an earlier generation.
    #[error("{got} is stale, the current one is {current}")]
    StaleGeneration { got: Generation, current: Generation },
    /// The worker reached has not been told of this generation yet; the dialler tries again.
    #[error("the worker reached has not heard of {got} yet")]
    NotYet { got: Generation },
    /// The dialler does not encrypt, and the generation's connections are encrypted.
    #[error("the connection is not encrypted, those of {current} are")]
    NotEncrypted { current: Generation },
    /// The dialler encrypts, and the generation's connections are not encrypted.
    #[error("the connection is encrypted, those of {current} are not")]
    Encrypted { current: Generation },
    /// A side does not believe the other's certificate.
    #[error("{reason}")]
    Untrusted { reason: String },
    /// The generation's connections are encrypted, and this worker has nothing to show.
    #[error("this worker has no certificate")]
    NoCredentials,
    /// The sides do not know the same secret.
    #[error("the proof does not match the run's secret")]
    WrongSecret,
    /// The dialler's index is not one that dials here.
    #[error("{got} has no business dialling {me} (of {workers} workers)")]
    UnknownWorker {
        got: WorkerIndex,
        me: WorkerIndex,
        workers: u32,
    },
    /// The worker reached is not the one the dialler wanted.
    #[error("the connection is meant for {got}, the worker reached is {me}")]
    WrongDestination { got: WorkerIndex, me: WorkerIndex },
    /// The worker reached has given this generation up.
    #[error("the worker reached has abandoned {got}")]
    Abandoned { got: Generation },
    /// The generation is complete already.
    #[error("{got} is connected already")]
    AlreadyConnected { got: WorkerIndex },
    /// The other side did not say the next message in time.
    #[error("no answer within {waited:?}")]
    Silent { waited: Duration },
    /// Too many connections wait for their handshake.
    #[error("{pending} handshakes are pending already")]
    Crowded { pending: usize },
    /// A worker that should have dialled did not.
    #[error("{worker} did not connect within {waited:?}")]
    Absent { worker: WorkerIndex, waited: Duration },
    /// A worker could not be reached; `last` says why the last attempt failed.
    #[error("{worker} at `{address}` could not be reached within {waited:?}")]
    Unreachable {
        worker: WorkerIndex,
        address: String,
        waited: Duration,
        #[source]
        last: Arc<HandshakeError>,
    },
    /// A worker refused this one.
    #[error("{worker} at `{address}` refused the connection")]
    Refused {
        worker: WorkerIndex,
        address: String,
        #[source]
        cause: Arc<HandshakeError>,
    },
    /// The socket failed.
    #[error("{what}")]
    Io {
        what: &'static str,
        #[source]
        source: Arc<io::Error>,
    },
}

/// Why an operation failed. The first error breaks the plane, and all later calls return it.
#[derive(Clone, Debug, Error)]
pub enum CollectiveError {
    /// Some shards did not do their part in time.
    #[error("{tag}: waited {waited:?} for {}", Waited(.waiting_for))]
    Timeout {
        tag: Tag,
        waiting_for: Vec<(Shard, WorkerIndex)>,
        waited: Duration,
    },
    /// A worker's connection ended; `during` is an operation that was open then.
    #[error("{worker} closed its connection {}", During(.during))]
    PeerClosed {
        worker: WorkerIndex,
        during: Option<Tag>,
    },
    /// A worker gave the generation up.
    #[error("{worker} aborted: {}", cause.text)]
    PeerAborted { worker: WorkerIndex, cause: AbortCause },
    /// This worker gave the generation up.
    #[error("aborted: {}", cause.text)]
    Aborted { cause: AbortCause },
    /// The plane was dropped.
    #[error("the data plane is closed")]
    Closed,
    /// Two ranks called an operation with buffers of different lengths.
    #[error("{tag}: {shard} has {bytes} bytes, {other} has {other_bytes}")]
    LengthMismatch {
        tag: TagKey,
        shard: Shard,
        bytes: u64,
        other: Shard,
        other_bytes: u64,
    },
    /// Two ranks called different operations, or the same with different groups, under one tag.
    #[error("{tag}: {shard} and {other} call different operations, or have different groups")]
    OperationMismatch { tag: TagKey, shard: Shard, other: Shard },
    /// A rank used a tag twice.
    #[error("{tag}: {shard} has used this tag before")]
    TagReused { tag: Tag, shard: Shard },
    /// A rank called an operation of a group it is not in, or that no operation can have.
    #[error("{tag}: {shard} calls with a group {problem}")]
    InvalidGroup {
        tag: Tag,
        shard: Shard,
        problem: &'static str,
    },
    /// This worker does not serve the shard.
    #[error("{shard} is not served by {me}")]
    NotServed { shard: Shard, me: WorkerIndex },
    /// The membership cannot be.
    #[error("membership")]
    Membership(#[from] MembershipError),
    /// The mesh could not be formed.
    #[error("form the data plane")]
    Handshake(#[from] HandshakeError),
    /// A worker sent something that is not a frame of this generation.
    #[error("damaged frame from {worker}")]
    Frame {
        worker: WorkerIndex,
        #[source]
        source: FrameError,
    },
    /// A worker sent more than this one keeps for operations that nobody here has called.
    #[error("{worker} ran ahead: {unclaimed_bytes} bytes wait for operations not called here in {waited:?}")]
    RanAhead {
        worker: WorkerIndex,
        unclaimed_bytes: u64,
        waited: Duration,
    },
    /// The thread of an operation panicked.
    #[error("the thread of an operation panicked {}", During(.tag))]
    Panicked { tag: Option<Tag> },
    /// A socket or thread failed.
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: Arc<io::Error>,
    },
}

hints!(pub HandshakeError {
    Self::Version { .. } => "run one release everywhere",
    Self::NotEncrypted { .. } | Self::Encrypted { .. } => "all members follow one coordinator",
    Self::Untrusted { .. } => "all workers of a run need the same credentials",
    Self::NoCredentials => "start it with the run's credentials folder",
    Self::WrongSecret => "all workers of a run need the same secret",
    Self::WrongDestination { .. } => "two workers may share an address",
    Self::Unreachable { last: cause, .. } | Self::Refused { cause, .. } => cause.hint(),
});

impl HandshakeError {
    /// Whether the other side is none of this run's workers, rather than one that is late, early or gone.
    pub fn is_unauthenticated(&self) -> bool {
        match self {
            HandshakeError::NotOurProtocol
            | HandshakeError::Version { .. }
            | HandshakeError::WrongRun { .. }
            | HandshakeError::NotEncrypted { .. }
            | HandshakeError::Encrypted { .. }
            | HandshakeError::Untrusted { .. }
            | HandshakeError::WrongSecret
            | HandshakeError::Silent { .. }
            | HandshakeError::Crowded { .. } => true,
            HandshakeError::StaleGeneration { .. }
            | HandshakeError::NotYet { .. }
            | HandshakeError::UnknownWorker { .. }
            | HandshakeError::WrongDestination { .. }
            | HandshakeError::NoCredentials
            | HandshakeError::Abandoned { .. }
            | HandshakeError::AlreadyConnected { .. }
            | HandshakeError::Absent { .. }
            | HandshakeError::Unreachable { .. }
            | HandshakeError::Refused { .. }
            | HandshakeError::Io { .. } => false,
        }
    }
}

hints!(pub CollectiveError {
    Self::TagReused { .. } => "a tag names one operation of a generation",
    Self::Membership(error) => error.hint(),
    Self::Handshake(error) => error.hint(),
});

impl CollectiveError {
    /// The worker this error points at, if it points at one.
    pub fn suspect(&self) -> Option<WorkerIndex> {
        match self {
            CollectiveError::Timeout { waiting_for, .. } => waiting_for.first().map(|(_, worker)| *worker),
            CollectiveError::PeerClosed { worker, .. }
            | CollectiveError::Frame { worker, .. }
            | CollectiveError::RanAhead { worker, .. } => Some(*worker),
            CollectiveError::PeerAborted { worker, cause } => Some(cause.suspect.unwrap_or(*worker)),
            CollectiveError::Aborted { cause } => cause.suspect,
            CollectiveError::Closed
            | CollectiveError::LengthMismatch { .. }
            | CollectiveError::OperationMismatch { .. }
            | CollectiveError::TagReused { .. }
            | CollectiveError::InvalidGroup { .. }
            | CollectiveError::NotServed { .. }
            | CollectiveError::Membership(_)
            | CollectiveError::Handshake(_)
            | CollectiveError::Panicked { .. }
            | CollectiveError::Io { .. } => None,
        }
    }

    /// The cause as peers are told it.
    pub(crate) fn cause(&self) -> AbortCause {
        match self {
            CollectiveError::Aborted { cause } | CollectiveError::PeerAborted { cause, .. } => cause.clone(),
            other => AbortCause {
                suspect: other.suspect(),
                text: other.to_string(),
            },
        }
    }

    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> CollectiveError {
        CollectiveError::Io {
            what: what.into(),
            source: Arc::new(source),
        }
    }
}

struct Waited<'a>(&'a [(Shard, WorkerIndex)]);

impl std::fmt::Display for Waited<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, (shard, worker)) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            write!(f, "{separator}{shard} ({worker})")?;
        }
        Ok(())
    }
}

struct During<'a>(&'a Option<Tag>);

impl std::fmt::Display for During<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(tag) => write!(f, "during {tag}"),
            None => f.write_str("between operations"),
        }
    }
}
