//! The coordinator's shell around the pure run machine of `ulda-core`: command line, control plane, journal,
//! launcher, progress and report. Never links libtorch.
//!
//! One direction of knowledge: `cli` → `run` → {`rpc`, `journal`, `launch`}; `observe` and `report` know the
//! run's news and journal, the run knows neither.

pub mod check;
pub mod cli;
pub mod config;
pub mod exit;
pub mod history;
pub mod journal;
pub mod launch;
pub mod observe;
pub mod report;
pub mod rpc;
pub mod run;
pub mod run_directory;
