//! The projector of one domain: Linear(C₁, hidden) → Linear(hidden, E) with no non-linearity between (golden README
//! item 19), and the algebra that its linearity allows.
//!
//! Averaging commutes with a linear map, so prototypes project K class means instead of every pixel. Per pixel only
//! cosines with K texts are needed: with P = W₂W₁ and c = W₂b₁ + b₂ these come from (T P) x + T c and
//! ‖P x + c‖² = xᵀ(PᵀP)x + 2(Pᵀc)·x + c·c, a C₁×C₁ form instead of E channels per pixel.

use tch::{Device, Tensor};
use ulda_model::Seeded;

use crate::error::{MethodError, Result};
use crate::linear::Linear;

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

    /// Projects rows [M, C₁] to [M, E].
    ///
    /// # Errors
    /// When the rows have another number of channels.
    pub fn project(&self, rows: &Tensor) -> Result<Tensor> {
        self.second.forward(&self.first.forward(rows)?)
    }

    /// The two layers as one map, for the pixel term; differentiable.
    ///
    /// # Errors
    /// When libtorch is out of memory.
    pub fn fused(&self) -> Result<FusedProjector> {
        let matrix = self.second.weight.f_matmul(&self.first.weight)?;
        let offset = self.second.forward(&self.first.bias)?;
        let gram = matrix.f_tr()?.f_matmul(&matrix)?;
        let cross = matrix.f_tr()?.f_mv(&offset)?;
        let floor = offset.f_dot(&offset)?;
        Ok(FusedProjector {
            matrix,
            offset,
            gram,
            cross,
            floor,
        })
    }
}

/// P, c and the quadratic form of ‖P x + c‖².
#[derive(Debug)]
pub struct FusedProjector {
    /// P = W₂W₁ [E, C₁].
    matrix: Tensor,
    /// c = W₂b₁ + b₂ [E].
    offset: Tensor,
    /// PᵀP [C₁, C₁].
    gram: Tensor,
    /// Pᵀc [C₁].
    cross: Tensor,
    /// c·c, scalar.
    floor: Tensor,
}

impl FusedProjector {
    /// Cosine of every pixel's projection with every text: `texts` [K, E] (unit rows), `pixels` [C₁, M] → [K, M].
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn cosines(&self, texts: &Tensor, pixels: &Tensor) -> Result<Tensor> {
        let dots = texts
            .f_mv(&self.offset)?
            .f_unsqueeze(1)?
            .f_addmm(&texts.f_matmul(&self.matrix)?, pixels)?;
        // A row per pixel, as features with channels innermost lie in memory.
        let half = self
            .cross
            .f_unsqueeze(0)?
            .f_mul_scalar(2.0)?
            .f_addmm(&pixels.f_tr()?, &self.gram.f_tr()?)?
            .f_tr()?;
        let squared = half
            .f_mul(pixels)?
            .f_sum_dim_intlist([0i64].as_slice(), true, None)?
            .f_add(&self.floor)?;
        let norm = squared.f_clamp_min(NORM_FLOOR * NORM_FLOOR)?.f_sqrt()?;
        Ok(dots.f_div(&norm)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn fused_cosines_equal_the_plain_projection() {
        tch::manual_seed(5);
        let projector = Projector::new(24, 16, 40, 11, Device::Cpu).unwrap();
        let pixels = Tensor::randn([24, 50], (Kind::Float, Device::Cpu));
        let texts = normalised(&Tensor::randn([3, 40], (Kind::Float, Device::Cpu)));
        let fused = projector.fused().unwrap().cosines(&texts, &pixels).unwrap();
        let plain = texts.matmul(&normalised(&projector.project(&pixels.tr()).unwrap()).tr());
        let deviation = (fused - plain).abs().max().double_value(&[]);
        assert!(deviation < 2e-6, "{deviation}");
    }

    fn normalised(rows: &Tensor) -> Tensor {
        rows / rows.norm_scalaropt_dim(2.0, [1i64].as_slice(), true)
    }
}
