//! Stochastic gradient descent as PyTorch's, and the learning-rate schedule. Golden README items 30 and 39.

use tch::Tensor;
use ulda_torch::{Update, fused_sgd};

use crate::error::{MethodError, Result};

/// Momentum and weight decay of SGD; no dampening, no Nesterov.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SgdSettings {
    pub momentum: f64,
    pub weight_decay: f64,
}

impl Default for SgdSettings {
    fn default() -> SgdSettings {
        SgdSettings {
            momentum: 0.9,
            weight_decay: 1e-4,
        }
    }
}

impl SgdSettings {
    /// One update in place, in one pass over memory: d = gradient + decay · parameter; velocity = momentum · velocity + d;
    /// parameter −= lr · velocity.
    ///
    /// A velocity of zeros makes the first velocity equal the first d, as PyTorch's first step does.
    ///
    /// # Errors
    /// When the tensors of an update differ in shape or are not contiguous.
    pub fn step(&self, updates: &mut [Update<'_>], lr: f64) -> Result<()> {
        for update in updates.iter() {
            let shape = update.parameter.size();
            crate::error::expect_shape("gradient", update.gradient, &shape)?;
            crate::error::expect_shape("velocity", update.velocity, &shape)?;
        }
        Ok(fused_sgd(updates, lr, self.momentum, self.weight_decay)?)
    }
}

/// SGD over a few separate tensors; its velocity lives as long as it does (in stage 1: one batch).
#[derive(Debug)]
pub struct Sgd {
    settings: SgdSettings,
    lr: f64,
    velocity: Vec<Tensor>,
}

impl Sgd {
    /// Fresh state for `parameters`.
    ///
    /// # Errors
    /// When libtorch is out of memory.
    pub fn new(parameters: &[Tensor], lr: f64, settings: SgdSettings) -> Result<Sgd> {
        let velocity = parameters
            .iter()
            .map(|parameter| Ok(parameter.detach().f_zeros_like()?))
            .collect::<Result<_>>()?;
        Ok(Sgd {
            settings,
            lr,
            velocity,
        })
    }

    /// Updates `parameters` (those of `new`, same order) in place.
    ///
    /// # Errors
    /// When a gradient is missing or has another shape.
    pub fn step(&mut self, parameters: &mut [Tensor], gradients: &[Tensor]) -> Result<()> {
        if parameters.len() != self.velocity.len() || gradients.len() != self.velocity.len() {
            return Err(MethodError::State {
                name: "gradients".into(),
                problem: format!("{} for {} parameters", gradients.len(), self.velocity.len()),
            });
        }
        let gradients: Vec<Tensor> = gradients.iter().map(Tensor::contiguous).collect();
        let mut updates: Vec<Update<'_>> = parameters
            .iter_mut()
            .zip(&gradients)
            .zip(&mut self.velocity)
            .map(|((parameter, gradient), velocity)| Update {
                parameter,
                gradient,
                velocity,
            })
            .collect();
        self.settings.step(&mut updates, self.lr)
    }
}

/// Polynomial decay of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PolyDecay {
    /// Learning rate of step 1.
    pub base: f64,
    /// Steps of the whole stage.
    pub total: u64,
    /// Published: 0.9.
    pub power: f64,
    /// Published: 1e-6.
    pub floor: f64,
}

impl PolyDecay {
    /// Published power and floor.
    pub fn published(base: f64, total: u64) -> PolyDecay {
        PolyDecay {
            base,
            total,
            power: 0.9,
            floor: 1e-6,
        }
    }

    /// Learning rate of step `step`, counted from 1: base · (1 − (step − 1)/total)^power, never below the floor.
    pub fn at(&self, step: u64) -> f64 {
        let done = step.saturating_sub(1) as f64 / self.total.max(1) as f64;
        (self.base * (1.0 - done).max(0.0).powf(self.power)).max(self.floor)
    }
}

/// Decay of the learning rate by a factor every few steps.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct StepDecay {
    /// Learning rate of step 1.
    pub base: f64,
    /// Steps from one decay to the next, at least 1.
    pub every: u64,
    /// Published: 0.9.
    pub factor: f64,
}

impl StepDecay {
    /// Published factor (`main.py` of PØDA, `stage2_adapt.py` of ULDA, `--lr_policy step`).
    pub fn published(base: f64, every: u64) -> StepDecay {
        StepDecay {
            base,
            every,
            factor: 0.9,
        }
    }

    /// Learning rate of step `step`, counted from 1: base · factor^⌊(step − 1) / every⌋, rounded after each factor as
    /// PyTorch's `StepLR` does.
    pub fn at(&self, step: u64) -> f64 {
        let mut rate = self.base;
        for _ in 0..step.saturating_sub(1) / self.every.max(1) {
            let next = rate * self.factor;
            if next == rate {
                break;
            }
            rate = next;
        }
        rate
    }
}

/// The course of a learning rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RateSchedule {
    Poly(PolyDecay),
    Step(StepDecay),
}

impl RateSchedule {
    /// Learning rate of step `step`, counted from 1.
    pub fn at(&self, step: u64) -> f64 {
        match self {
            RateSchedule::Poly(decay) => decay.at(step),
            RateSchedule::Step(decay) => decay.at(step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sgd_follows_the_hand_calculation() {
        let mut parameter = vec![Tensor::from_slice(&[1.0f64])];
        let mut sgd = Sgd::new(
            &parameter,
            0.5,
            SgdSettings {
                momentum: 0.9,
                weight_decay: 0.1,
            },
        )
        .unwrap();
        let gradient = [Tensor::from_slice(&[2.0f64])];
        sgd.step(&mut parameter, &gradient).unwrap();
        assert!((parameter[0].double_value(&[0]) - (1.0 - 0.5 * 2.1)).abs() < 1e-15);
        let before = 1.0 - 0.5 * 2.1;
        let velocity = 0.9 * 2.1 + 2.0 + 0.1 * before;
        sgd.step(&mut parameter, &gradient).unwrap();
        assert!((parameter[0].double_value(&[0]) - (before - 0.5 * velocity)).abs() < 1e-15);
    }

    #[test]
    fn schedule_starts_at_base_and_ends_at_the_floor() {
        let decay = PolyDecay::published(0.01, 8);
        assert_eq!(decay.at(1), 0.01);
        assert!((decay.at(2) - 0.008867623542572074).abs() < 1e-15);
        assert_eq!(decay.at(9), 1e-6);
        assert_eq!(decay.at(1000), 1e-6);
    }

    /// Learning rates of `torch.optim.lr_scheduler.StepLR` with gamma = 0.9, which multiplies its last value, in float64.
    #[test]
    fn a_step_schedule_decays_by_the_published_factor_and_has_no_floor() {
        let decay = RateSchedule::Step(StepDecay::published(0.1, 10));
        let expected = [
            (1, 0.1),
            (10, 0.1),
            (11, 0.090_000_000_000_000_01),
            (20, 0.090_000_000_000_000_01),
            (21, 0.081_000_000_000_000_02),
            (31, 0.072_900_000_000_000_02),
            (41, 0.065_610_000_000_000_02),
        ];
        for (step, rate) in expected {
            assert_eq!(decay.at(step), rate, "step {step}");
        }
        let each_step = StepDecay::published(0.01, 1);
        assert_eq!(each_step.at(201), 7.055_079_108_655_374_5e-12);
        assert!(each_step.at(u64::MAX) < 1e-300);
    }
}
