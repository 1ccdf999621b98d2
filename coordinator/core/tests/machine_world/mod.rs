//! The simulated world. `world` moves time and messages, `shell` stands for the coordinator's shell,
//! `worker` for the workers; `invariants` watch.

mod fault;
mod invariants;
mod process;
mod shell;
mod truth;
mod worker;
mod world;

pub use fault::Fault;
pub use world::{Life, World};
