//! What both sides know of a run: its configuration (`spec`), who computes what with which seed (`plan`), and the names of
//! its parts.
//!
//! Pure: plain data in, decisions out. No clock, no socket, no file, no random source; `clippy.toml` beside
//! this crate's manifest keeps it so.

mod causes;
mod classes;
mod exit;
mod export;
mod finding;
mod names;
mod run_end;
mod stage_cost;
mod state_claim;

pub mod clip;
pub mod ids;
pub mod log_event;
pub mod plan;
pub mod spec;
pub mod stage;
pub mod style_health;

pub use causes::{IntoHint, hinted, with_causes};
pub use classes::{CITYSCAPES, Class, Classes, ClassesProblem, MOST_CLASSES};
pub use exit::Exit;
pub use export::ExportFormat;
pub use finding::{Finding, HostAdvice};
pub use names::UnknownName;
pub use run_end::RunEnd;
pub use stage_cost::StageCost;
pub use state_claim::{Digest, StateClaim};
