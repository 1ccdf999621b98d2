//! Class prototypes and L_region: METHOD "HCA, region". Golden README item 21.

use tch::{Kind, Reduction, Tensor};

use super::{ClassMap, of_each};
use crate::error::Result;
use crate::products::{product, transposed};
use crate::projector::Projectors;

/// Prototypes [G, K, E] of one image: means of the low-level `pixels` [G, C₁, h·w] per class, projected, then
/// L2-normalised. Equal to averaging the projected pixels, since the projectors are linear.
///
/// # Errors
/// When the shapes do not fit.
pub fn prototypes(pixels: &Tensor, map: &ClassMap, projectors: &Projectors) -> Result<Tensor> {
    let averaging = map.averaging.f_unsqueeze(0)?;
    let averaging = averaging.f_expand([pixels.size()[0], -1, -1], false)?;
    unit_rows(&projectors.project(&product(&averaging, &transposed(pixels)?)?)?)
}

/// Rows of `tensor` […, E] divided by their L2 norm (at least 1e-12).
///
/// # Errors
/// When the tensor is a single number.
pub fn unit_rows(tensor: &Tensor) -> Result<Tensor> {
    let norm = tensor
        .f_norm_scalaropt_dim(2.0, [-1i64].as_slice(), true)?
        .f_clamp_min(1e-12)?;
    Ok(tensor.f_div(&norm)?)
}

/// Cross-entropy of temperature · C·Tᵀ with the identity as target; the softmax runs over the `texts` [G, K, E] for
/// each of the `prototypes` [G, K, E]; mean over the prototypes of a domain.
///
/// # Errors
/// When the shapes differ.
pub fn region(prototypes: &Tensor, texts: &Tensor, temperature: f64) -> Result<Tensor> {
    let logits = product(prototypes, &transposed(texts)?)?.f_mul_scalar(temperature)?;
    let targets = Tensor::f_arange(prototypes.size3()?.1, (Kind::Int64, prototypes.device()))?;
    of_each(&logits, |_, logits| {
        Ok(logits.f_cross_entropy_loss(&targets, None::<&Tensor>, Reduction::Mean, -100, 0.0)?)
    })
}
