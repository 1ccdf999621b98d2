//! L_pixel: METHOD "HCA, pixel". Golden README item 21.

use tch::{Reduction, Tensor};

use super::{ClassMap, IGNORED_LABEL, of_each};
use crate::error::Result;
use crate::projector::FusedProjectors;

/// Cross-entropy of temperature · cosine(text, projected pixel) over the K `texts` [G, K, E] of the classes present
/// against the class of each of the `pixels` [G, C₁, h·w]; ignored pixels left out, mean over the others.
///
/// # Errors
/// When the shapes do not fit.
pub fn pixel(
    pixels: &Tensor,
    map: &ClassMap,
    texts: &Tensor,
    projectors: &FusedProjectors,
    temperature: f64,
) -> Result<Tensor> {
    let logits = projectors.cosines(texts, pixels)?.f_mul_scalar(temperature)?;
    of_each(&logits, |_, logits| {
        let (logits, weights) = (logits.f_unsqueeze(0)?, None::<&Tensor>);
        Ok(logits.f_cross_entropy_loss(&map.targets, weights, Reduction::Mean, IGNORED_LABEL, 0.0)?)
    })
}
