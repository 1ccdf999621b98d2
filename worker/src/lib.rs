//! The worker: one process that serves one or more shards of a run on libtorch.
//!
//! `cli` → `trainer` → `stages` → the method's crates. `agent` speaks with the coordinator, `link` with the other
//! shards, `checkpoint` with the disk, `observe` with who watches; the stages know none of their wires.

pub mod agent;
pub mod checkpoint;
pub mod cli;
mod continued;
pub mod device;
mod domains_at_once;
pub mod estimate;
mod exit;
pub mod export;
mod ffmpeg;
mod fit;
pub mod group;
pub mod inspect;
pub mod link;
pub mod logs;
mod model_classes;
pub mod observe;
pub mod predict;
pub mod progress;
pub mod resources;
pub mod stages;
pub mod state;
pub mod style_sources;
mod templates;
mod tiles;
pub mod trainer;
mod video;

pub use ulda_run::with_causes;
