//! The crate against a simulated NCCL: a shared object that behaves as the real one does, loaded as it is.

#![allow(clippy::unwrap_used, reason = "the lint does not see that helpers are tests")]

mod ending;
mod faults;
mod loading;
mod sums;
mod world;
