//! The projector of one domain: Linear(C₁, hidden) → Linear(hidden, E) with no non-linearity between (golden README
//! item 19), and the algebra that its linearity allows.
//!
//! Averaging commutes with a linear map, so prototypes project K class means instead of every pixel. Per pixel only
//! cosines with K texts are needed: with P = W₂W₁ and c = W₂b₁ + b₂ these come from (T P) x + T c and
//! ‖P x + c‖² = xᵀ(PᵀP)x + 2(Pᵀc)·x + c·c, a C₁×C₁ form instead of E channels per pixel.
//!
//! [`Projectors`] is where that is computed, for several domains at once or for one.

use tch::{Device, Tensor};
use ulda_model::Seeded;

use crate::error::{MethodError, Result};
use crate::linear::Linear;
use crate::products::{product, product_plus, product_vector, squared_length, transposed};

/// Hidden size of the published projector.
pub const PUBLISHED_HIDDEN: i64 = 512;

/// Names of the parameters, in the order of [`Projector::parameters`].
pub const PARAMETER_NAMES: [&str; 4] = [
    "projector.0.weight",
    "projector.0.bias",
    "projector.1.weight",
    "projector.1.bias",
];

/// Keeps the norm of a pixel that projects to zero away from a division by zero.
const NORM_FLOOR: f64 = 1e-12;

/// Projector of one domain, shared by all images.
#[derive(Debug)]
pub struct Projector {
    first: Linear,
    second: Linear,
}

impl Projector {
    /// PyTorch's default initialisation from `seed`.
    ///
    /// # Errors
    /// When the device is not there.
    pub fn new(channels: i64, hidden: i64, embedding: i64, seed: u64, device: Device) -> Result<Projector> {
        let mut random = Seeded::new(seed);
        Ok(Projector {
            first: Linear::new(channels, hidden, &mut random, device)?,
            second: Linear::new(hidden, embedding, &mut random, device)?,
        })
    }

    /// From saved values in the order of [`PARAMETER_NAMES`] (copied).
    ///
    /// # Errors
    /// When there are not four tensors or their shapes do not chain.
    pub fn from_values(values: &[Tensor]) -> Result<Projector> {
        let [w1, b1, w2, b2] = values else {
            return Err(MethodError::State {
                name: "projector".into(),
                problem: format!("{} tensors, expected 4", values.len()),
            });
        };
        let (first, second) = (Linear::from_values(w1, b1)?, Linear::from_values(w2, b2)?);
        crate::error::expect_shape(
            "projector.1.weight",
            &second.weight,
            &[-1, first.weight.size()[0]],
        )?;
        Ok(Projector { first, second })
    }

    /// Weights and biases, shallow, in the order of [`PARAMETER_NAMES`].
    pub fn parameters(&self) -> [Tensor; 4] {
        [
            self.first.weight.shallow_clone(),
            self.first.bias.shallow_clone(),
            self.second.weight.shallow_clone(),
            self.second.bias.shallow_clone(),
        ]
    }

    /// Number of low-level channels C₁.
    pub fn channels(&self) -> i64 {
        self.first.weight.size()[1]
    }
}

/// The projectors of G domains side by side; differentiable down to each one's parameters.
#[derive(Debug)]
pub struct Projectors {
    /// W₁ [G, hidden, C₁].
    first: Tensor,
    /// b₁ [G, hidden].
    first_bias: Tensor,
    /// W₂ [G, E, hidden].
    second: Tensor,
    /// b₂ [G, E].
    second_bias: Tensor,
}

impl Projectors {
    /// Of at least one projector.
    ///
    /// # Errors
    /// When they differ in size.
    pub fn of(projectors: &[&Projector]) -> Result<Projectors> {
        let stacked = |pick: fn(&Projector) -> &Tensor| -> Result<Tensor> {
            let values: Vec<&Tensor> = projectors.iter().map(|projector| pick(projector)).collect();
            Ok(Tensor::f_stack(&values, 0)?)
        };
        Ok(Projectors {
            first: stacked(|projector| &projector.first.weight)?,
            first_bias: stacked(|projector| &projector.first.bias)?,
            second: stacked(|projector| &projector.second.weight)?,
            second_bias: stacked(|projector| &projector.second.bias)?,
        })
    }

    /// Projects rows [G, M, C₁] to [G, M, E].
    ///
    /// # Errors
    /// When the rows have another number of channels.
    pub fn project(&self, rows: &Tensor) -> Result<Tensor> {
        let hidden = product_plus(&self.first_bias.f_unsqueeze(1)?, rows, &transposed(&self.first)?)?;
        product_plus(
            &self.second_bias.f_unsqueeze(1)?,
            &hidden,
            &transposed(&self.second)?,
        )
    }

    /// The two layers as one map, for the pixel term; differentiable.
    ///
    /// # Errors
    /// When libtorch is out of memory.
    pub fn fused(&self) -> Result<FusedProjectors> {
        let matrix = product(&self.second, &self.first)?;
        let moved = product(&self.first_bias.f_unsqueeze(1)?, &transposed(&self.second)?)?;
        let offset = moved.f_squeeze_dim(1)?.f_add(&self.second_bias)?;
        let gram = product(&transposed(&matrix)?, &matrix)?;
        let cross = product_vector(&transposed(&matrix)?, &offset)?;
        let floor = squared_length(&offset)?;
        Ok(FusedProjectors {
            matrix,
            offset,
            gram,
            cross,
            floor,
        })
    }
}

/// P, c and the quadratic form of ‖P x + c‖² of each domain.
#[derive(Debug)]
pub struct FusedProjectors {
    /// P = W₂W₁ [G, E, C₁].
    matrix: Tensor,
    /// c = W₂b₁ + b₂ [G, E].
    offset: Tensor,
    /// PᵀP [G, C₁, C₁].
    gram: Tensor,
    /// Pᵀc [G, C₁].
    cross: Tensor,
    /// c·c `[G]`.
    floor: Tensor,
}

impl FusedProjectors {
    /// Cosine of every pixel's projection with every text of its domain: `texts` [G, K, E] (unit rows), `pixels`
    /// [G, C₁, M] → [G, K, M].
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn cosines(&self, texts: &Tensor, pixels: &Tensor) -> Result<Tensor> {
        let dots = product_plus(
            &product_vector(texts, &self.offset)?.f_unsqueeze(2)?,
            &product(texts, &self.matrix)?,
            pixels,
        )?;
        // A row per pixel, as features with channels innermost lie in memory.
        let half = transposed(&product_plus(
            &self.cross.f_unsqueeze(1)?.f_mul_scalar(2.0)?,
            &transposed(pixels)?,
            &transposed(&self.gram)?,
        )?)?;
        let squared = half
            .f_mul(pixels)?
            .f_sum_dim_intlist([1i64].as_slice(), true, None)?
            .f_add(&self.floor.f_view([-1, 1, 1])?)?;
        let norm = squared.f_clamp_min(NORM_FLOOR * NORM_FLOOR)?.f_sqrt()?;
        Ok(dots.f_div(&norm)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    fn random(size: [i64; 3]) -> Tensor {
        Tensor::randn(size, (Kind::Float, Device::Cpu))
    }

    fn normalised(rows: &Tensor) -> Tensor {
        rows / rows.norm_scalaropt_dim(2.0, [-1i64].as_slice(), true)
    }

    #[test]
    fn fused_cosines_equal_the_plain_projection() {
        tch::manual_seed(5);
        let projectors = [11, 12, 13].map(|seed| Projector::new(24, 16, 40, seed, Device::Cpu).unwrap());
        let (pixels, texts) = (random([3, 24, 50]), normalised(&random([3, 3, 40])));
        for count in [1, 3] {
            let several = Projectors::of(&projectors.iter().take(count).collect::<Vec<_>>()).unwrap();
            let (pixels, texts) = (
                pixels.narrow(0, 0, count as i64),
                texts.narrow(0, 0, count as i64),
            );
            let fused = several.fused().unwrap().cosines(&texts, &pixels).unwrap();
            let projected = several.project(&pixels.transpose(1, 2)).unwrap();
            let plain = texts.matmul(&normalised(&projected).transpose(1, 2));
            let deviation = (fused - plain).abs().max().double_value(&[]);
            assert!(deviation < 2e-6, "{deviation}");
        }
    }
}
