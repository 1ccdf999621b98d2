//! The worker: one process that serves one or more shards of a run on libtorch.
//!
//! `cli` → `trainer` → `stages` → the method's crates. `agent` speaks with the coordinator, `link` with the other
//! shards, `checkpoint` with the disk, `observe` with who watches; the stages know none of their wires.

mod advice;
pub mod agent;
pub mod checkpoint;
pub mod cli;
pub mod inspect;
pub mod link;
pub mod logs;
pub mod observe;
pub mod predict;
pub mod resources;
pub mod stages;
pub mod state;
pub mod trainer;

/// An error's text with all its causes, on one line each.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
