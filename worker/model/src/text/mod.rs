//! Prompts as embeddings: templates, per-class prompts, and a bank that is computed once and cached.

mod bank;
mod templates;

use tch::{Kind, Tensor};

pub use bank::{TextBank, TextError};
pub use templates::{IMAGENET_TEMPLATES, ULDA_TEMPLATES, fill, region_prompt};

use crate::clip::{EncodeError, TextEncoder};

/// Embedding [E] of the prompts of one thing: the mean of the raw features of each in each template, then L2-normalised.
///
/// # Errors
/// A prompt is too long for CLIP.
pub fn embed_prompts<T: AsRef<str>, P: AsRef<str>>(
    encoder: &TextEncoder,
    templates: &[T],
    prompts: &[P],
) -> Result<Tensor, EncodeError> {
    let mean = encoder
        .encode(&fill(templates, prompts))?
        .mean_dim(0, false, Kind::Float);
    Ok(&mean / mean.norm())
}
