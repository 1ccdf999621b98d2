//! Health of the styles that a round has learned, against the crops they started from and the images of a domain.

use tch::{Kind, Tensor, no_grad};
use ulda_method::stats::Stats;
use ulda_run::style_health::{NEAR_ZERO, ReferenceShift, StyleHealth};

use super::measure::stats_of_image;
use crate::stages::StageError;
use crate::stages::context::Context;

/// Most images of a domain whose statistics make its reference, evenly spaced in its list.
const REFERENCE_IMAGES: usize = 32;

/// Styles of one domain in a round, of all its images.
#[derive(Default)]
pub(super) struct RoundStyles {
    /// μ then σ, [B, 2 C₁] for each lane.
    pub learned: Vec<Tensor>,
    /// Those of the source crops, likewise.
    pub content: Vec<Tensor>,
    /// L_scene of each lane after the last iteration.
    pub scene: Vec<f64>,
}

/// μ and σ, each [B, C₁, 1, 1], side by side: [B, 2 C₁].
pub(super) fn side_by_side(mean: &Tensor, std: &Tensor) -> Result<Tensor, StageError> {
    Ok(Tensor::f_cat(
        &[mean.f_flatten(1, -1)?, std.f_flatten(1, -1)?],
        1,
    )?)
}

impl RoundStyles {
    /// `reference`: mean statistics of the domain's images, [2 C₁].
    ///
    /// # Errors
    /// When the parts do not fit together.
    pub fn health(&self, reference: Option<&Tensor>) -> Result<StyleHealth, StageError> {
        no_grad(|| {
            let (learned, content) = (Tensor::f_cat(&self.learned, 0)?, Tensor::f_cat(&self.content, 0)?);
            let halves = |both: &Tensor| both.f_chunk(2, 1);
            let (learned_halves, content_halves) = (halves(&learned)?, halves(&content)?);
            let fraction = |mask: Tensor| {
                mask.f_to_kind(Kind::Double)?
                    .f_mean(Kind::Double)?
                    .f_double_value(&[])
            };
            let limit = content_halves[1].f_mul_scalar(NEAR_ZERO)?;
            let near_zero = fraction(learned_halves[1].f_abs()?.f_lt_tensor(&limit)?)?;
            let negative = fraction(learned_halves[0].f_lt(0.0)?)?;
            let mean = |rows: &Tensor| {
                rows.f_to_kind(Kind::Double)?
                    .f_mean_dim(0i64, false, Kind::Double)
            };
            let (learned, content) = (mean(&learned)?, mean(&content)?);
            let length = |vector: &Tensor| vector.f_norm()?.f_double_value(&[]);
            let shift = learned.f_sub(&content)?;
            let reference = match reference {
                None => None,
                Some(reference) => {
                    let wanted = reference.f_sub(&content)?;
                    let (own, other) = (length(&shift)?, length(&wanted)?);
                    Some(ReferenceShift {
                        cosine: shift.f_dot(&wanted)?.f_double_value(&[])?
                            / (own * other).max(f64::MIN_POSITIVE),
                        length: own / other.max(f64::MIN_POSITIVE),
                    })
                }
            };
            Ok(StyleHealth {
                scene_loss: self.scene.iter().sum::<f64>() / self.scene.len().max(1) as f64,
                near_zero,
                negative,
                shift: length(&shift)? / length(&content)?.max(f64::MIN_POSITIVE),
                reference,
            })
        })
    }
}

/// Mean statistics of the images that each domain names, [2 C₁] in float64; `None` for a domain without images.
///
/// # Errors
/// When an image cannot be read.
pub(super) fn references(context: &Context) -> Result<Vec<Option<Tensor>>, StageError> {
    let domains = context.spec.config().domains.len();
    let of_domain = |domain: usize| {
        let all: Vec<_> = context
            .resources
            .style_images
            .iter()
            .filter(|image| image.domain == domain)
            .collect();
        let every = all.len().div_ceil(REFERENCE_IMAGES).max(1);
        let mut rows = Vec::new();
        for image in all.into_iter().step_by(every) {
            context.interrupt.check()?;
            let Stats { mean, std } = stats_of_image(context, image)?;
            rows.push(side_by_side(&mean, &std)?);
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let rows = Tensor::f_cat(&rows, 0)?.f_to_kind(Kind::Double)?;
        let mean = rows.f_mean_dim(0i64, false, Kind::Double)?;
        Ok(Some(mean.f_to_device(tch::Device::Cpu)?))
    };
    (0..domains).map(of_domain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(mean: &[f32], std: &[f32]) -> Tensor {
        let column = |values: &[f32]| Tensor::from_slice(values).view([1, values.len() as i64, 1, 1]);
        side_by_side(&column(mean), &column(std)).unwrap()
    }

    #[test]
    fn out_of_range_channels_and_shifts_are_measured_over_all_lanes() {
        let styles = RoundStyles {
            learned: vec![
                stats(&[-1.0, 3.0], &[0.04, 1.0]),
                stats(&[1.0, 3.0], &[0.0, -2.0]),
            ],
            content: vec![stats(&[1.0, 1.0], &[1.0, 1.0]), stats(&[1.0, 1.0], &[1.0, 1.0])],
            scene: vec![0.2, 0.4],
        };
        let health = styles.health(None).unwrap();
        assert_eq!((health.near_zero, health.negative), (0.5, 0.25));
        assert!((health.scene_loss - 0.3).abs() < 1e-12);
        assert_eq!(health.reference, None);
        // Mean style (0, 3, 0.02, −0.5) against (1, 1, 1, 1).
        let shift = (1.0f64 + 4.0 + 0.98f64.powi(2) + 1.5f64.powi(2)).sqrt();
        assert!((health.shift - shift / 2.0).abs() < 1e-6);
    }

    #[test]
    fn a_shift_towards_the_reference_has_cosine_one_and_its_fraction_of_the_length() {
        let styles = RoundStyles {
            learned: vec![stats(&[2.0, 1.0], &[1.0, 1.0])],
            content: vec![stats(&[1.0, 1.0], &[1.0, 1.0])],
            scene: vec![0.0],
        };
        let reference = Tensor::from_slice(&[5.0f64, 1.0, 1.0, 1.0]);
        let found = styles.health(Some(&reference)).unwrap().reference.unwrap();
        assert!(
            (found.cosine - 1.0).abs() < 1e-9 && (found.length - 0.25).abs() < 1e-9,
            "{found:?}"
        );
        let none = RoundStyles {
            learned: styles.content.iter().map(Tensor::shallow_clone).collect(),
            content: styles.content,
            scene: vec![0.0],
        };
        let found = none.health(Some(&reference)).unwrap().reference.unwrap();
        assert_eq!((found.cosine, found.length), (0.0, 0.0));
    }
}
