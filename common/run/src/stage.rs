//! The stages of a run and a position in them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::variant_names;

/// A stage of METHOD.md, in the order they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Pretrain,
    Simulate,
    Adapt,
    Evaluate,
}

variant_names!(Stage parsed as "a stage" {
    Pretrain = "pretrain",
    Simulate = "simulate",
    Adapt = "adapt",
    Evaluate = "evaluate",
});

impl Stage {
    /// Small stable number for wire formats and random streams.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Pretrain => 0,
            Self::Simulate => 1,
            Self::Adapt => 2,
            Self::Evaluate => 3,
        }
    }
}

/// A position in a run: every step before `(stage, step)` is applied. Ordered by progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    pub stage: Stage,
    pub step: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} step {}", self.stage, self.step)
    }
}

/// A stage and how many steps it has in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageLength {
    pub stage: Stage,
    pub steps: u64,
}

/// The stages of one run in order, with their lengths. A run ends where the last stage ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course(Vec<StageLength>);

impl Course {
    /// Stages without steps are left out.
    #[must_use]
    pub fn new(lengths: impl IntoIterator<Item = StageLength>) -> Self {
        Self(lengths.into_iter().filter(|length| length.steps > 0).collect())
    }

    #[must_use]
    pub fn stages(&self) -> &[StageLength] {
        &self.0
    }

    #[must_use]
    pub fn start(&self) -> Option<Cursor> {
        self.0.first().map(|first| Cursor {
            stage: first.stage,
            step: 0,
        })
    }

    #[must_use]
    pub fn steps(&self, stage: Stage) -> u64 {
        self.0
            .iter()
            .find(|length| length.stage == stage)
            .map_or(0, |length| length.steps)
    }

    /// The position after one more step, or `None` where the run ends.
    #[must_use]
    pub fn after(&self, cursor: Cursor) -> Option<Cursor> {
        let index = self.0.iter().position(|length| length.stage == cursor.stage)?;
        if cursor.step + 1 < self.0[index].steps {
            return Some(Cursor {
                step: cursor.step + 1,
                ..cursor
            });
        }
        self.0.get(index + 1).map(|next| Cursor {
            stage: next.stage,
            step: 0,
        })
    }
}
