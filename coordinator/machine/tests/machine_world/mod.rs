//! The simulated world. `world` moves time and messages, `shell` stands for the coordinator's shell,
//! `worker` for the workers; `invariants` watch; `search` draws lives and shrinks one that fails.
//!
//! The network delays, holds up, loses (with a stream that breaks or a coordinator that dies) and repeats
//! messages. Those of one stream keep their order, as TCP keeps it; all others overtake each other.

mod fault;
mod invariants;
pub mod kept;
mod process;
mod search;
mod shell;
mod truth;
mod worker;
mod world;

pub use fault::Fault;
pub use search::{life, search};
pub use world::{Life, World};
