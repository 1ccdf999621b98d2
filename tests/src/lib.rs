//! The bench of the whole-program tests: a small world on disk, the programs of this build, and what they leave.
//!
//! Nothing here knows libtorch or the coordinator's code: these tests see what a person sees, and make credentials. Invariants: every
//! wait has a deadline, and every process that was started is ended by its id, after a panic too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test whose bench cannot be set up has failed"
)]

mod binaries;
mod bounded;
pub mod credentials;
mod flood;
mod http;
mod left;
mod program;
mod scratch;
mod world;

pub use binaries::binary;
pub use bounded::{BoundedEnd, run_bounded};
pub use flood::{Flood, limit_descriptors};
pub use http::get;
pub use left::{Final, Json, checkpoints, tensor_bytes};
pub use program::{Ended, Program};
pub use world::{World, copy_tree, png_files};
