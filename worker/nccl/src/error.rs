//! Why NCCL could not be had, or a communicator was given up.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::library::NcclVersion;
use crate::seat::RankSeat;

/// A place where NCCL was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What was given to the loader.
    pub path: PathBuf,
    /// What the loader said.
    pub reason: String,
}

/// A call that NCCL answered with an error, or an error that it reported later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NcclFailure {
    /// Whose call it was; none where no communicator was involved.
    pub seat: Option<RankSeat>,
    /// What was going on, e.g. the operation's name.
    pub during: String,
    /// NCCL's function.
    pub call: &'static str,
    /// What NCCL says about it.
    pub text: String,
}

impl fmt::Display for NcclFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NcclFailure {
            seat,
            during,
            call,
            text,
        } = self;
        match seat {
            Some(seat) => write!(f, "{during}: {seat}: {call}: {text}"),
            None => write!(f, "{during}: {call}: {text}"),
        }
    }
}

/// Why NCCL could not be had, or an operation failed. The first error of a communicator breaks it, and all
/// pending and later operations answer that one.
#[derive(Clone, Debug, Error)]
pub enum NcclError {
    /// NCCL is in none of the places where it was looked for.
    #[error("NCCL was not found; tried {}", Tried(.tried))]
    NotFound { tried: Vec<Attempt> },
    /// A file cannot be loaded.
    #[error("load NCCL from `{}`: {}", .0.path.display(), .0.reason)]
    Load(Attempt),
    /// A file is a library, but not NCCL.
    #[error("`{}` is not NCCL: it has no function `{function}`", path.display())]
    MissingFunction { path: PathBuf, function: String },
    /// A version whose calls and structures may be others than those this crate was written for.
    #[error("NCCL {found} at `{}` is not supported", path.display())]
    Version { path: PathBuf, found: NcclVersion },
    /// The environment would make NCCL's calls block.
    #[error("`NCCL_COMM_BLOCKING` is `{value}`, which makes calls of NCCL block past every deadline")]
    BlockingOverride { value: String },
    /// Bytes that are no unique id.
    #[error("a unique id of NCCL has {expected} bytes, these are {found}")]
    UniqueIdLength { found: usize, expected: usize },
    /// A rank that the communicator does not have.
    #[error("there is no {seat}, as ranks count from 0")]
    NoSuchSeat { seat: RankSeat },
    /// The communicator's thread cannot be started.
    #[error("start the communicator's thread of {seat}")]
    Thread {
        seat: RankSeat,
        #[source]
        source: Arc<io::Error>,
    },
    /// The device's runtime refused something.
    #[error("{during}: {seat}: {step}: {reason}")]
    Device {
        seat: RankSeat,
        during: String,
        step: &'static str,
        reason: String,
    },
    /// Not all ranks arrived in time.
    #[error("{seat} waited {waited:?} for the other ranks to join the communicator")]
    FormTimeout { seat: RankSeat, waited: Duration },
    /// An operation did not complete in time.
    #[error("{operation}: {seat} waited {waited:?} for the other ranks")]
    OperationTimeout {
        operation: String,
        seat: RankSeat,
        waited: Duration,
    },
    /// An orderly end did not come in time.
    #[error("{seat} waited {waited:?} for the communicator to finalise")]
    FinaliseTimeout { seat: RankSeat, waited: Duration },
    /// Two ranks are on one GPU.
    #[error("{0}")]
    DuplicateGpu(NcclFailure),
    /// CUDA failed inside NCCL.
    #[error("{0}")]
    Cuda(NcclFailure),
    /// A peer ended or its connection did.
    #[error("{0}")]
    Remote(NcclFailure),
    /// The system refused something, mostly a socket or shared memory.
    #[error("{0}")]
    System(NcclFailure),
    /// NCCL failed in another way.
    #[error("{0}")]
    Refused(NcclFailure),
    /// The spans of an all-gather do not fit together. The communicator is left as it was.
    #[error("{operation}: {seat} gathers {mine} elements of each rank into room for {all}")]
    GatherLength {
        operation: String,
        seat: RankSeat,
        mine: usize,
        all: usize,
    },
    /// A broadcast from a rank that there is not. The communicator is left as it was.
    #[error("{operation}: {seat} expects rank {root}'s content, which is not there")]
    NoSuchRoot {
        operation: String,
        seat: RankSeat,
        root: u32,
    },
    /// This process gave the communicator up.
    #[error("aborted: {cause}")]
    Aborted { cause: String },
    /// Somebody else gave the communicator up, as the control plane says.
    #[error("broken from outside: {cause}")]
    Outside { cause: String },
    /// The communicator was closed or dropped.
    #[error("the communicator is closed")]
    Closed,
    /// A call did not return, though none should block.
    #[error("{seat}: `{call}` has not returned for {waited:?}")]
    Stuck {
        seat: RankSeat,
        call: &'static str,
        waited: Duration,
    },
    /// The communicator's thread does not end.
    #[error("{seat}: `{call}` has not returned for {waited:?}, after: {cause}")]
    AbortHangs {
        seat: RankSeat,
        call: &'static str,
        waited: Duration,
        cause: String,
    },
    /// The communicator's thread panicked.
    #[error("the communicator's thread of {seat} panicked")]
    Panicked { seat: RankSeat },
}

impl NcclError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotFound { .. } | Self::Version { .. } => {
                "install NCCL 2.28 or a later 2.x, or name its file in `ULDA_NCCL`"
            }
            Self::BlockingOverride { .. } => "unset it",
            Self::FormTimeout { .. } => {
                "see that all of them run, name the network interface that they share in \
                 `NCCL_SOCKET_IFNAME`, and let `NCCL_DEBUG=INFO` tell more"
            }
            Self::OperationTimeout { .. } => {
                "one of them is gone, or late by more than the operation's deadline; `NCCL_DEBUG=INFO` tells more"
            }
            Self::DuplicateGpu(_) => {
                "two ranks are on one GPU: let each worker have its own, by `CUDA_VISIBLE_DEVICES`"
            }
            Self::Cuda(_) => {
                "see that this host has a GPU with memory to spare, and a driver as new as NCCL's CUDA; \
                 `NCCL_DEBUG=INFO` tells which call of CUDA failed"
            }
            Self::Remote(_) => "a peer went, and its own log says why",
            Self::System(_) => {
                "name the network interface that the ranks share in `NCCL_SOCKET_IFNAME`, see that \
                 `/dev/shm` has room, and let `NCCL_DEBUG=INFO` tell more"
            }
            Self::Refused(_) => "`NCCL_DEBUG=INFO` tells more",
            Self::Stuck { .. } => {
                "this process has to exit and be replaced; see that no `nccl.conf` sets `NCCL_COMM_BLOCKING`"
            }
            Self::AbortHangs { .. } => "this process has to exit and be replaced",
            Self::Load(_)
            | Self::MissingFunction { .. }
            | Self::UniqueIdLength { .. }
            | Self::NoSuchSeat { .. }
            | Self::Thread { .. }
            | Self::Device { .. }
            | Self::FinaliseTimeout { .. }
            | Self::GatherLength { .. }
            | Self::NoSuchRoot { .. }
            | Self::Aborted { .. }
            | Self::Outside { .. }
            | Self::Closed
            | Self::Panicked { .. } => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether a call is still inside NCCL or the driver, so that only a new process can go on.
    pub fn needs_new_process(&self) -> bool {
        matches!(self, NcclError::Stuck { .. } | NcclError::AbortHangs { .. })
    }
}

struct Tried<'a>(&'a [Attempt]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, Attempt { path, reason }) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            write!(f, "{separator}`{}` ({reason})", path.display())?;
        }
        Ok(())
    }
}
