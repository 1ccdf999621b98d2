//! L_pixel: METHOD "HCA, pixel". Golden README item 21.

use tch::{Reduction, Tensor};

use super::{ClassMap, IGNORED_LABEL};
use crate::error::Result;
use crate::projector::FusedProjector;

/// Cross-entropy of temperature · cosine(text, projected pixel) over the K `texts` [K, E] of the classes present
/// against the class of each of the `pixels` [C₁, h·w]; ignored pixels left out, mean over the others.
///
/// # Errors
/// When the shapes do not fit.
pub fn pixel(
    pixels: &Tensor,
    map: &ClassMap,
    texts: &Tensor,
    projector: &FusedProjector,
    temperature: f64,
) -> Result<Tensor> {
    let logits = projector
        .cosines(texts, pixels)?
        .f_mul_scalar(temperature)?
        .f_unsqueeze(0)?;
    Ok(logits.f_cross_entropy_loss(&map.targets, None::<&Tensor>, Reduction::Mean, IGNORED_LABEL, 0.0)?)
}
