//! L_scene: METHOD "HCA, scene". Golden README item 18.

use tch::{Kind, Tensor};

use crate::error::{Result, expect_shape};

/// 1 − cosine similarity of the attention-pooled `embeddings` [N, E] to the domain's scene `text` `[E]`, mean over images.
///
/// # Errors
/// When the embedding sizes differ.
pub fn scene(embeddings: &Tensor, text: &Tensor) -> Result<Tensor> {
    expect_shape(
        "scene text",
        text,
        &[embeddings.size().last().copied().unwrap_or(0)],
    )?;
    let cosine = Tensor::f_cosine_similarity(embeddings, &text.f_unsqueeze(0)?, 1, 1e-8)?;
    Ok(cosine.f_rsub_scalar(1.0)?.f_mean(None::<Kind>)?)
}
