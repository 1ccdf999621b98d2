//! What a run that was not started will need: time, memory and disk of each stage.
//!
//! Shapes give operations and memory (`worker estimate`). Time stands on a run that trained the same before, or on a rate that
//! a person gives; nothing is measured.

mod costs;
mod times;

pub use costs::stage_costs;
pub use times::{ExpectedTime, TimeSource, shards_of_a_worker, stage_time};
