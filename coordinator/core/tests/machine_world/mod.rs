//! The simulated world. `world` moves time and messages, `process` is a worker, `invariants` watch.

mod invariants;
mod process;
mod truth;
mod world;

pub use world::{Fault, Life, World};
