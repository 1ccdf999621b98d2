//! The pure heart of a run: what is to be done (`spec`, `plan`) and who does it (`machine`).
//!
//! Plain data in, decisions out. No clock, no socket, no file, no random source; `clippy.toml` beside
//! this crate's manifest keeps it so.

mod causes;

pub mod clip;
pub mod ids;
pub mod ledger;
pub mod machine;
pub mod plan;
pub mod spec;
pub mod stage;
pub mod style_health;

pub use causes::with_causes;
