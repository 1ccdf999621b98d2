//! What a worker reports of its work. The stages and the trainer make it; the agent sends it to the coordinator.

use std::path::PathBuf;

use ulda_run::StateClaim;
use ulda_run::stage::{Cursor, Stage};
use ulda_run::style_health::StyleHealth;

/// Progress since the last message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    pub losses: Vec<(&'static str, f64)>,
    pub learning_rates: Vec<(&'static str, f64)>,
    pub phase_seconds: Vec<(&'static str, f64)>,
    pub images: u64,
    pub activity: String,
    /// Health of the styles of a round, by domain.
    pub styles: Vec<(String, StyleHealth)>,
}

/// Work that is done; sent again until the coordinator has it in its journal.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    Checkpoint {
        path: PathBuf,
        state: StateClaim,
        size_bytes: u64,
    },
    Evaluation {
        model: &'static str,
        set: String,
        confusion: Vec<u64>,
        images: u64,
        at: Cursor,
        seconds: f64,
    },
    StageDone {
        stage: Stage,
        seconds: f64,
        digest: String,
    },
}
