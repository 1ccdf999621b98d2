//! The stages of a run as one shard works through them.
//!
//! A stage holds live networks and optimisers; `RunState` is what remains of it. A step either happens
//! wholly or leaves the stage as it was, so that what a broken generation leaves behind is a state that
//! every other worker would have reached.

mod adapt;
mod context;
mod drive;
mod error;
mod evaluate;
mod feed;
mod memory;
mod panic_point;
mod pixels;
mod predict;
mod pretrain;
mod simulate;
mod styles;
mod supervised;
mod tally;
mod texts;
mod validation;

pub use context::{Context, Interrupt, ShardEvent};
pub use drive::run;
pub use error::StageError;
pub use memory::{OutOfMemory, prediction_within_memory, says_out_of_memory};
pub use pixels::Normaliser;
pub use predict::Predictor;
pub use simulate::{STYLE_BANK, bank_bytes, leave_bank};

use crate::progress::Progress;
use crate::state::RunState;

/// How much of its stage a state is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Steps are left.
    Midway,
    /// The stage is over; what only it needs can go.
    Complete,
}

/// One stage under way on one shard.
trait StageRun {
    /// Does one step. On an error the stage is as it was before.
    fn step(&mut self, step: u64) -> Result<Progress, StageError>;

    /// Writes what the stage has learned into `state`, all but the cursor.
    fn save(&self, state: &mut RunState, extent: Extent) -> Result<(), StageError>;
}
