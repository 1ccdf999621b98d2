//! Class prototypes and L_region: METHOD "HCA, region". Golden README item 21.

use tch::{Kind, Reduction, Tensor};

use super::ClassMap;
use crate::error::Result;
use crate::projector::Projector;

/// Prototypes [K, E] of one image: means of the low-level `pixels` [C₁, h·w] per class, projected, then
/// L2-normalised. Equal to averaging the projected pixels, since the projector is linear.
///
/// # Errors
/// When the shapes do not fit.
pub fn prototypes(pixels: &Tensor, map: &ClassMap, projector: &Projector) -> Result<Tensor> {
    let means = map.averaging.f_matmul(&pixels.f_tr()?)?;
    unit_rows(&projector.project(&means)?)
}

/// Rows of `tensor` [K, E] divided by their L2 norm (at least 1e-12).
///
/// # Errors
/// When the tensor is not two-dimensional.
pub fn unit_rows(tensor: &Tensor) -> Result<Tensor> {
    let norm = tensor
        .f_norm_scalaropt_dim(2.0, [1i64].as_slice(), true)?
        .f_clamp_min(1e-12)?;
    Ok(tensor.f_div(&norm)?)
}

/// Cross-entropy of temperature · C·Tᵀ with the identity as target; the softmax runs over the `texts` [K, E] for each
/// of the `prototypes` [K, E]; mean over prototypes.
///
/// # Errors
/// When the shapes differ.
pub fn region(prototypes: &Tensor, texts: &Tensor, temperature: f64) -> Result<Tensor> {
    let logits = prototypes.f_matmul(&texts.f_tr()?)?.f_mul_scalar(temperature)?;
    let targets = Tensor::f_arange(prototypes.size2()?.0, (Kind::Int64, prototypes.device()))?;
    Ok(logits.f_cross_entropy_loss(&targets, None::<&Tensor>, Reduction::Mean, -100, 0.0)?)
}
