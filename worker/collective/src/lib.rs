//! The data plane between worker processes: collective operations over TCP, with results that do not depend
//! on who serves what.
//!
//! A run has a fixed number of *shards*; a *worker* serves some of them, each on its own thread, as ranks
//! of one collective. A [`DataPlane`] is the mesh of connections of one generation, formed through the
//! process's [`DataPlaneListener`] from a [`Membership`]; its [`Rank`]s are what the shards call ([`Collective`]).
//!
//! - **Same bits.** Sums are formed in ascending shard order, so the result is the same for any number of
//!   workers (`reduce.rs`).
//! - **Nothing hangs.** Every wait has a deadline and a name. The first fault (a deadline, a closed
//!   connection, an abort) breaks the plane, is told to all workers, wakes whoever waits, and is what all
//!   later calls return (`core.rs`).
//! - **Only members get in.** A handshake proves to both sides that the other knows the run's secret and
//!   means the same run and generation (`handshake.rs`). Between hosts all of it runs inside TLS (`seal.rs`);
//!   within one, the frames after it are neither encrypted nor signed.
//! - **One host, one memory.** Workers on one host read each other's long payloads where the sender laid them, in
//!   memory that they have proved to share (`segment.rs`); only frames travel then.
//!
//! The IO is owned here: `link.rs` (frames, laid out in `frame.rs`), `listener.rs` and `plane.rs`
//! (connections), `memory.rs` (mappings), `wait.rs` (conditions).

mod bytes;
mod call;
mod core;
mod error;
mod frame;
mod group;
mod handshake;
mod link;
mod listener;
mod mailbox;
mod membership;
mod memory;
mod offer;
mod plane;
mod pool;
mod rank;
mod reduce;
mod refusal;
mod seal;
mod segment;
mod spread;
mod stats;
mod tag;
mod wait;

pub use error::{AbortCause, CollectiveError, HandshakeError, MembershipError};
pub use frame::FrameError;
#[doc(hidden)]
pub use frame::is_header;
pub use group::ShardGroup;
pub use listener::{DataPlaneListener, RefusedPeer};
pub use membership::{Membership, PlaneDeadlines, RunId, Secret, WorkerIndex, WorkerPeer};
pub use plane::DataPlane;
pub use rank::{Collective, PendingSum, Rank};
#[doc(hidden)]
pub use refusal::is_refusal;
pub use seal::Tls;
pub use segment::Sharing;
pub use stats::{Meter, PlaneStats};
pub use tag::{OperationName, StageName, Tag, TagKey};
