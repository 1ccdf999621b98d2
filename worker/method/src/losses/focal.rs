//! The published focal loss of the segmentation logits (`utils/loss.py` of both repositories).

use tch::{Kind, Reduction, Tensor};

use super::IGNORED_LABEL;
use super::segmentation::expect_logits;
use crate::error::Result;

/// Settings of the focal loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Focal {
    /// Factor α; published: 1.
    pub alpha: f64,
    /// Exponent γ; published: 0.
    pub gamma: f64,
}

impl Focal {
    /// Sum of α · (1 − p)^γ · ce over the pixels of `logits` [N, classes, H, W] with `labels` [N, H, W] (int64), divided by
    /// `pixels`: ce is a pixel's cross-entropy, p = exp(−ce) the probability of its class.
    ///
    /// An ignored pixel adds 0 and is counted all the same, as the published mean over all pixels does: `pixels` is the
    /// number of all pixels of the step. A pixel of probability 1 passes no gradient, also where γ < 1, for which the
    /// published code gives NaN.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn loss(self, logits: &Tensor, labels: &Tensor, pixels: i64) -> Result<Tensor> {
        expect_logits(logits, labels)?;
        let each =
            logits.f_cross_entropy_loss(labels, None::<&Tensor>, Reduction::None, IGNORED_LABEL, 0.0)?;
        let factor = match self.gamma {
            // x^0 is 1 and has no gradient.
            0.0 => None,
            gamma => {
                let missed = each.f_neg()?.f_exp()?.f_rsub_scalar(1.0)?;
                Some(
                    missed
                        .f_clamp_min(f64::from(f32::MIN_POSITIVE))?
                        .f_pow_tensor_scalar(gamma)?,
                )
            }
        };
        let weighted = match factor {
            None => each.f_mul_scalar(self.alpha)?,
            Some(factor) => factor.f_mul_scalar(self.alpha)?.f_mul(&each)?,
        };
        Ok(weighted.f_sum(None::<Kind>)?.f_div_scalar(pixels.max(1) as f64)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::segmentation::segmentation;
    use tch::Device;

    /// [2, 3, 1, 2] of two images with one ignored pixel.
    fn logits() -> Tensor {
        const LOGITS: [f64; 12] = [1.5, -0.5, 0.25, 2.0, -1.0, 0.75, 0.1, -2.0, 3.0, 0.5, -0.6, 1.25];
        Tensor::from_slice(&LOGITS)
            .view([2, 3, 1, 2])
            .set_requires_grad(true)
    }

    fn labels() -> Tensor {
        Tensor::from_slice(&[0i64, 255, 2, 1]).view([2, 1, 2])
    }

    fn loss(gamma: f64, alpha: f64) -> (f64, Vec<f64>) {
        let logits = logits();
        let loss = Focal { alpha, gamma }.loss(&logits, &labels(), 4).unwrap();
        loss.backward();
        let gradient = Vec::try_from(logits.grad().flatten(0, -1)).unwrap();
        (loss.double_value(&[]), gradient)
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    /// Values of the published formula in float64, worked out with NumPy; gradients by complex steps.
    #[test]
    fn loss_and_gradient_are_the_published_ones() {
        let (value, gradient) = loss(2.0, 0.25);
        close(&[value], &[0.254_248_132_785_480_53]);
        close(
            &gradient,
            &[
                -0.003_299_682_418_867_014_4,
                0.0,
                0.002_564_842_686_105_898_6,
                0.0,
                0.000_734_839_732_761_114_8,
                0.0,
                0.003_594_225_254_729_987,
                0.001_559_226_777_889_385_6,
                0.065_321_972_269_986_3,
                -0.041_772_215_387_646_33,
                -0.068_916_197_524_716_3,
                0.040_212_988_609_756_94,
            ],
        );
        let (value, gradient) = loss(0.5, 1.0);
        close(&[value], &[1.189_842_336_694_909_8]);
        close(
            &gradient,
            &[
                -0.049_814_766_065_718_746,
                0.0,
                0.038_721_010_747_332_89,
                0.0,
                0.011_093_755_318_385_86,
                0.0,
                0.013_145_597_335_199_65,
                0.006_724_650_912_553_19,
                0.238_909_996_938_081_74,
                -0.180_155_683_771_762_5,
                -0.252_055_594_273_281_4,
                0.173_431_032_859_209_24,
            ],
        );
        let (value, _) = loss(0.0, 1.0);
        close(&[value], &[1.288_944_369_452_289_3]);
    }

    #[test]
    fn an_exponent_of_0_is_a_cross_entropy_over_all_pixels() {
        let (loss, _) = loss(0.0, 1.0);
        let labelled = segmentation(&logits(), &labels(), 3).unwrap().double_value(&[]);
        assert!((loss - labelled * 3.0 / 4.0).abs() < 1e-15, "{loss} {labelled}");
    }

    #[test]
    fn a_pixel_that_is_certain_passes_no_gradient() {
        for gamma in [0.5, 1.0, 2.0] {
            let logits = Tensor::from_slice(&[200.0f32, 0.0])
                .view([1, 2, 1, 1])
                .set_requires_grad(true);
            let label = Tensor::zeros([1, 1, 1], (Kind::Int64, Device::Cpu));
            let loss = Focal { alpha: 1.0, gamma }.loss(&logits, &label, 1).unwrap();
            loss.backward();
            let gradient: Vec<f32> = Vec::try_from(logits.grad().flatten(0, -1)).unwrap();
            assert_eq!(
                (loss.double_value(&[]), gradient),
                (0.0, vec![0.0, 0.0]),
                "{gamma}"
            );
        }
    }

    #[test]
    fn a_shard_without_images_adds_nothing() {
        let logits = Tensor::zeros([0, 19, 4, 4], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let labels = Tensor::zeros([0, 4, 4], (Kind::Int64, Device::Cpu));
        let focal = Focal {
            alpha: 1.0,
            gamma: 2.0,
        };
        let loss = focal.loss(&logits, &labels, 32).unwrap();
        loss.backward();
        assert_eq!(loss.double_value(&[]), 0.0);
    }
}
