//! L_scene: METHOD "HCA, scene". Golden README item 18.

use tch::{Kind, Tensor};

use crate::error::{Result, expect_shape};

/// 1 − cosine similarity of the attention-pooled `embeddings` [G·N, E] of N images for each of G domains, domain by
/// domain, to the domain's scene text of `texts` [G, E]; mean over a domain's images.
///
/// # Errors
/// When the embedding sizes differ.
pub fn scene(embeddings: &Tensor, texts: &Tensor) -> Result<Tensor> {
    let (images, width) = embeddings.size2()?;
    expect_shape("scene texts", texts, &[-1, width])?;
    let domains = texts.size()[0];
    let embeddings = embeddings.f_view([domains, images / domains.max(1), width])?;
    let cosine = Tensor::f_cosine_similarity(&embeddings, &texts.f_unsqueeze(1)?, 2, 1e-8)?;
    Ok(cosine
        .f_rsub_scalar(1.0)?
        .f_mean_dim([1i64].as_slice(), false, None::<Kind>)?)
}
