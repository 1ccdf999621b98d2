//! Prompts as embeddings: templates, per-class prompts, and a bank that is computed once and cached.

mod bank;
mod templates;

use tch::{Kind, Tensor};

pub use bank::{TextBank, TextError};
pub use templates::{CLASSES, TEMPLATES, fill, region_prompt};

use crate::clip::{EncodeError, TextEncoder};

/// Embedding [E] of a prompt: the mean of the raw features of its 44 filled templates, then
/// L2-normalised.
///
/// # Errors
/// The prompt is too long for CLIP.
pub fn embed_prompt(encoder: &TextEncoder, prompt: &str) -> Result<Tensor, EncodeError> {
    let mean = encoder.encode(&fill(prompt))?.mean_dim(0, false, Kind::Float);
    Ok(&mean / mean.norm())
}
