//! Hyper-parameters of stage 1, with the published values.

use serde::{Deserialize, Serialize};

use crate::error::{MethodError, Result};
use crate::optim::SgdSettings;

/// Weights of the loss terms. A term of weight 0 is not computed, nor is a network that only it needs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossWeights {
    /// 1 in every published setting.
    pub scene: f64,
    pub pixel: f64,
    pub region: f64,
    pub seg: f64,
    pub intra: f64,
    pub cross: f64,
}

impl LossWeights {
    /// Published setting (1), used with 100 iterations.
    pub const PARAM1: LossWeights = LossWeights {
        scene: 1.0,
        pixel: 0.5,
        region: 1.0,
        seg: 1.0,
        intra: 0.0,
        cross: 20.0,
    };
    /// Published setting (2), used with 60 iterations.
    pub const PARAM2: LossWeights = LossWeights {
        scene: 1.0,
        pixel: 0.1,
        region: 0.5,
        seg: 1.0,
        intra: 10.0,
        cross: 10.0,
    };
    /// PØDA: the scene term alone.
    pub const PODA: LossWeights = LossWeights {
        scene: 1.0,
        pixel: 0.0,
        region: 0.0,
        seg: 0.0,
        intra: 0.0,
        cross: 0.0,
    };

    /// Whether a term needs class prototypes.
    pub(super) fn needs_prototypes(&self) -> bool {
        self.region != 0.0 || self.intra != 0.0 || self.cross != 0.0
    }

    /// Whether a term needs the projector.
    pub(super) fn needs_projector(&self) -> bool {
        self.needs_prototypes() || self.pixel != 0.0
    }

    fn named(&self) -> [(&'static str, f64); 6] {
        [
            ("scene weight", self.scene),
            ("pixel weight", self.pixel),
            ("region weight", self.region),
            ("segmentation weight", self.seg),
            ("intra weight", self.intra),
            ("cross weight", self.cross),
        ]
    }
}

/// Hyper-parameters of a round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SimulateSettings {
    pub iterations: usize,
    pub weights: LossWeights,
    /// Factor on cosines before a softmax.
    pub temperature: f64,
    /// Learning rate of μ and σ.
    pub style_lr: f64,
    /// Learning rate of the projectors.
    pub projector_lr: f64,
    /// Momentum and weight decay of both.
    pub sgd: SgdSettings,
    /// Side of the square that the scene term pools the feature to; None takes the whole feature as it is.
    pub scene_pool: Option<i64>,
    /// Dropout of the head, active here; 0.1 as published.
    pub dropout: f64,
    /// Domains that are computed as one batch, at least 1; more than there are means all. Kernels add up a larger batch
    /// in another order, and it takes as many times the memory.
    pub domains_at_once: usize,
}

impl Default for SimulateSettings {
    fn default() -> SimulateSettings {
        SimulateSettings {
            iterations: 100,
            weights: LossWeights::PARAM1,
            temperature: 10.0,
            style_lr: 1.0,
            projector_lr: 1e-3,
            sgd: SgdSettings::default(),
            scene_pool: Some(56),
            dropout: 0.1,
            domains_at_once: 1,
        }
    }
}

impl SimulateSettings {
    /// Refuses values that mean nothing.
    ///
    /// # Errors
    /// The first such value, with the field's name.
    pub fn check(&self) -> Result<()> {
        let refuse = |field, value, rule| Err(MethodError::Setting { field, value, rule });
        for (field, value) in self.weights.named() {
            if !(value.is_finite() && value >= 0.0) {
                return refuse(field, value, "a loss weight is a number of at least 0");
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse(
                "dropout",
                self.dropout,
                "a probability is at least 0 and less than 1",
            );
        }
        if let Some(side) = self.scene_pool.filter(|side| *side < 1) {
            return refuse(
                "scene_pool",
                side as f64,
                "the pooled feature has at least one pixel",
            );
        }
        if self.domains_at_once == 0 {
            return refuse("domains_at_once", 0.0, "at least one domain is computed at once");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meaningless_settings_are_named() {
        let refused = |settings: SimulateSettings| settings.check().unwrap_err().to_string();
        let published = SimulateSettings::default();
        assert!(published.check().is_ok());
        let weights = LossWeights {
            cross: -1.0,
            ..LossWeights::PARAM1
        };
        assert_eq!(
            refused(SimulateSettings { weights, ..published }),
            "`cross weight` is -1, but a loss weight is a number of at least 0"
        );
        assert_eq!(
            refused(SimulateSettings {
                dropout: 1.0,
                ..published
            }),
            "`dropout` is 1, but a probability is at least 0 and less than 1"
        );
        assert!(
            refused(SimulateSettings {
                scene_pool: Some(0),
                ..published
            })
            .starts_with("`scene_pool` is 0")
        );
        assert_eq!(
            refused(SimulateSettings {
                domains_at_once: 0,
                ..published
            }),
            "`domains_at_once` is 0, but at least one domain is computed at once"
        );
    }

    #[test]
    fn poda_needs_no_projector() {
        assert!(!LossWeights::PODA.needs_projector());
        assert!(
            LossWeights {
                pixel: 0.1,
                ..LossWeights::PODA
            }
            .needs_projector()
        );
        assert!(
            !LossWeights {
                pixel: 0.1,
                ..LossWeights::PODA
            }
            .needs_prototypes()
        );
    }
}
