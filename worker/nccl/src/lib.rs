//! Sums and copies between the GPUs of a run's workers, by NCCL, which is loaded at run time.
//!
//! A [`Library`] is NCCL as found on this host. A [`Communicator`] is one rank of one generation: it starts a
//! thread that alone calls NCCL (`owner.rs`), and takes operations on device memory ([`DeviceSpan`]) from any
//! thread, each answered through a [`PendingOperation`]. What it needs of the device's runtime, a stream and events,
//! it is given as a [`Timeline`]; neither a tensor library nor CUDA itself is known here.
//!
//! - **Nothing hangs.** Calls do not block (`blocking = 0`), whatever is awaited has a deadline, and a foreign
//!   call that does not return is noticed from outside its thread (`shared.rs`).
//! - **Nothing is believed too early.** An operation is answered `Ok` once the host has seen the event after it
//!   pass, with no error of NCCL's and no abort by then. After an abort the stream carries on as if the sums
//!   were right.
//! - **The first fault is the only one.** It breaks the communicator, and all pending and later operations
//!   answer it. The memory they use is held until NCCL has let go of it.

mod communicator;
mod error;
mod library;
mod owner;
mod pace;
mod pending;
mod seat;
mod shared;
mod span;
mod table;
mod timeline;
mod unique_id;

pub use communicator::Communicator;
pub use error::{Attempt, NcclError, NcclFailure};
pub use library::{Library, NcclVersion};
pub use pending::PendingOperation;
pub use seat::{NcclDeadlines, RankSeat};
pub use span::{DeviceSpan, Element};
pub use timeline::Timeline;
pub use unique_id::UniqueId;
