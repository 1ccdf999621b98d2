//! Which stages a run goes through.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::RunConfig;
use super::styles::{StyleDraw, StyleSource};
use crate::stage::{Course, Stage, StageLength};

/// The last stage in which a run trains. The models that exist by then are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EndAfter {
    /// Leaves the source-only model; needs no `[[domain]]`.
    Pretrain,
    /// Leaves the source-only model and the style bank.
    Simulate,
    /// Leaves the adapted model too.
    #[default]
    Adapt,
}

impl RunConfig {
    /// Whether the run goes through `stage`, whatever its length.
    #[must_use]
    pub fn includes(&self, stage: Stage) -> bool {
        match stage {
            Stage::Pretrain => self.pretrain_is_replaced_by().is_none(),
            Stage::Simulate => self.needs_styles() && self.simulate.styles != StyleSource::Bank,
            Stage::Adapt => self.has_adapted_model() && self.given_model().is_none(),
            Stage::Evaluate => !self.evaluate.sets.is_empty(),
        }
    }

    /// Whether the run trains in any stage, and so reads the images of its source.
    #[must_use]
    pub fn trains(&self) -> bool {
        [Stage::Pretrain, Stage::Simulate, Stage::Adapt]
            .into_iter()
            .any(|stage| self.includes(stage))
    }

    /// Whether the run needs domains and a style bank.
    #[must_use]
    pub fn needs_styles(&self) -> bool {
        self.run.end_after >= EndAfter::Simulate && self.given_model().is_none()
    }

    /// The file of the model that the run scores instead of training one; a run that ends before adapt has none.
    #[must_use]
    pub fn given_model(&self) -> Option<&Path> {
        let given = self.adapt.checkpoint.as_deref();
        given.filter(|_| self.has_adapted_model())
    }

    /// The key that makes the run do without pretrain.
    #[must_use]
    pub fn pretrain_is_replaced_by(&self) -> Option<&'static str> {
        let keys = [
            ("adapt.checkpoint", self.given_model().is_some()),
            ("pretrain.checkpoint", self.pretrain.checkpoint.is_some()),
            (
                "adapt.continue_from",
                self.adapt.continue_from.is_some() && self.has_adapted_model(),
            ),
        ];
        keys.into_iter().find_map(|(key, is_used)| is_used.then_some(key))
    }

    /// The stage that goes on with a training of the authors' scripts, and the file that holds it.
    #[must_use]
    pub fn continued(&self) -> Option<(Stage, &Path)> {
        let files = [
            (Stage::Pretrain, &self.pretrain.continue_from),
            (Stage::Adapt, &self.adapt.continue_from),
        ];
        let used = files.into_iter().filter(|(stage, _)| self.includes(*stage));
        let mut named = used.filter_map(|(stage, file)| Some((stage, file.as_deref()?)));
        named.next()
    }

    /// Whether there is an adapted model at the run's end, trained or given.
    #[must_use]
    pub fn has_adapted_model(&self) -> bool {
        self.run.end_after >= EndAfter::Adapt
    }

    /// Whether there is a source-only model, trained or given; beside an adapted one that is given or goes on there may be none.
    #[must_use]
    pub fn has_source_model(&self) -> bool {
        self.includes(Stage::Pretrain) || self.pretrain.checkpoint.is_some()
    }

    /// How many styles the run's bank must hold at least: those that a batch of adapt draws.
    #[must_use]
    pub fn least_styles(&self) -> usize {
        match (self.includes(Stage::Adapt), self.adapt.draw) {
            (true, StyleDraw::Different) => self.adapt.batch as usize,
            (true, StyleDraw::Any | StyleDraw::Own) => 1,
            (false, _) => 0,
        }
    }

    /// The stages of a checked configuration and their lengths.
    pub(super) fn course(&self) -> Course {
        let steps = |stage| match stage {
            Stage::Pretrain => self.pretrain.steps,
            Stage::Simulate if self.simulate.styles.reads_source() => {
                self.simulate.batches / u64::from(self.simulate.data_shards)
            }
            // All images at once: how many there are is known to the workers alone.
            Stage::Simulate => 1,
            Stage::Adapt => self.adapt.steps,
            Stage::Evaluate => self.evaluate.sets.len() as u64,
        };
        let included = Stage::ALL.into_iter().filter(|stage| self.includes(*stage));
        Course::new(included.map(|stage| StageLength {
            stage,
            steps: steps(stage),
        }))
    }
}
