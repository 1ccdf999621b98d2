//! Names of operations.
//!
//! A [`Tag`] names one collective operation of one generation, equally on all ranks. Its codes travel in
//! every frame, its words only in messages. Invariant: a rank uses a tag once; [`TagLedger`] remembers the
//! tags of its latest steps.

use std::collections::{HashSet, VecDeque};
use std::fmt;

/// How many (stage, step) pairs a rank remembers the tags of.
const STEPS_REMEMBERED: usize = 16;

/// A stage of a run: the code that travels, the word people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StageName {
    /// Equal on all ranks, different for each stage.
    pub code: u8,
    /// As in "adapt".
    pub name: &'static str,
}

/// A kind of operation within a step: the code that travels, the words people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OperationName {
    /// Equal on all ranks, different for each kind of operation.
    pub code: u16,
    /// As in "gradient bucket".
    pub name: &'static str,
}

/// The name of one operation; unique within a generation, equal on all ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// The stage it belongs to.
    pub stage: StageName,
    /// Step of the stage.
    pub step: u64,
    /// Inner iteration of the step, 0 where a step has none.
    pub iteration: u32,
    /// What is being done.
    pub op: OperationName,
    /// Which of several like it, such as the number of a gradient bucket.
    pub part: u32,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} step {}", self.stage.name, self.step)?;
        if self.iteration > 0 {
            write!(f, " iteration {}", self.iteration)?;
        }
        write!(f, ": {} {}", self.op.name, self.part)
    }
}

impl Tag {
    /// The part of the tag that travels.
    pub(crate) fn key(&self) -> TagKey {
        TagKey {
            step: self.step,
            iteration: self.iteration,
            part: self.part,
            op: self.op.code,
            stage: self.stage.code,
        }
    }
}

/// A tag as it stands in a frame: codes without words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct TagKey {
    pub(crate) step: u64,
    pub(crate) iteration: u32,
    pub(crate) part: u32,
    pub(crate) op: u16,
    pub(crate) stage: u8,
}

impl fmt::Display for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TagKey {
            step,
            iteration,
            part,
            op,
            stage,
        } = self;
        write!(
            f,
            "stage {stage} step {step} iteration {iteration}: operation {op} part {part}"
        )
    }
}

/// The tags one shard has used in its latest steps.
///
/// A run has millions of tags; a tag that comes back does so through a mistake in the present or the
/// preceding step, so older steps are forgotten.
#[derive(Debug, Default)]
pub(crate) struct TagLedger {
    steps: VecDeque<((u8, u64), HashSet<TagKey>)>,
}

impl TagLedger {
    /// Notes the use of `key`; false when it was used before.
    pub(crate) fn enter(&mut self, key: TagKey) -> bool {
        let step = (key.stage, key.step);
        if let Some((_, used)) = self.steps.iter_mut().rev().find(|(known, _)| *known == step) {
            return used.insert(key);
        }
        if self.steps.len() == STEPS_REMEMBERED {
            self.steps.pop_front();
        }
        self.steps.push_back((step, HashSet::from([key])));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(step: u64, part: u32) -> TagKey {
        TagKey {
            step,
            part,
            ..TagKey::default()
        }
    }

    #[test]
    fn a_tag_is_used_once_and_old_steps_are_forgotten() {
        let mut ledger = TagLedger::default();
        for step in 0..1000 {
            for part in 0..3 {
                assert!(ledger.enter(key(step, part)));
            }
            assert!(!ledger.enter(key(step, 1)));
            assert!(step == 0 || !ledger.enter(key(step - 1, 2)));
        }
        assert_eq!(ledger.steps.len(), STEPS_REMEMBERED);
    }

    #[test]
    fn a_tag_reads_as_a_phrase() {
        let mut tag = Tag {
            stage: StageName {
                code: 3,
                name: "adapt",
            },
            step: 17,
            iteration: 0,
            op: OperationName {
                code: 1,
                name: "gradient bucket",
            },
            part: 3,
        };
        assert_eq!(tag.to_string(), "adapt step 17: gradient bucket 3");
        tag.iteration = 4;
        assert_eq!(tag.to_string(), "adapt step 17 iteration 4: gradient bucket 3");
    }
}
