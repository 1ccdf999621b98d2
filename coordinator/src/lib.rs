//! The coordinator's shell around the pure run machine of `ulda-machine`: command line, control plane, journal,
//! launcher, progress and report. Never links libtorch.
//!
//! One direction of knowledge: `cli` → `run` → {`rpc`, `journal`, `launch`}; `observe`, `http` and `report` know
//! the run's news and journal, the run knows none of them.

pub mod check;
pub mod cli;
pub mod compare;
pub mod config;
pub mod disk_space;
pub mod durations;
pub mod estimate;
pub mod exit;
pub mod history;
pub mod host_names;
pub mod http;
pub mod journal;
pub mod launch;
pub mod logs;
pub mod observe;
pub mod printable;
pub mod remote;
pub mod report;
pub mod rpc;
pub mod run;
pub mod run_directory;
pub mod score_table;
pub mod status;

pub use ulda_run::with_causes;
