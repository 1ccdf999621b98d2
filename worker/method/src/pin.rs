//! Prompt-driven instance normalisation (PIN): the learned style of one domain for every image of a batch.
//! METHOD "Stage 1"; golden README items 11 to 13.
//!
//! Invariants: the product of σ and the normalised content is rounded before μ is added, else most pixels of value 0
//! leave the ReLU's kink and the gradient at the published start is another one (METHOD, the end of "Stage 1"). The
//! forward clamps σ at 0 on the parameter itself, not as part of the function, so gradient and momentum ignore the clamp
//! and the σ left after the last update may be negative.

use tch::Tensor;
use ulda_torch::{restyle, style_gradient};

use crate::error::{Result, expect_shape};
use crate::stats::Stats;

/// Style parameters (μ, σ), one row per image of a batch; of several domains, all rows of the first, then all of the
/// second, and so on: N is then the number of domains times that of images. They live outside autograd: forward
/// and gradient are one pass over the feature each.
#[derive(Debug)]
pub struct Style {
    /// μ [N, C, 1, 1].
    pub mean: Tensor,
    /// σ [N, C, 1, 1].
    pub std: Tensor,
}

/// Gradient of a [`Style`].
#[derive(Debug)]
pub struct StyleGradient {
    /// [N, C, 1, 1].
    pub mean: Tensor,
    /// [N, C, 1, 1].
    pub std: Tensor,
}

impl Style {
    /// Starts at the content statistics, as published.
    ///
    /// # Errors
    /// When libtorch is out of memory.
    pub fn from_content(content: &Stats) -> Result<Style> {
        Style::from_values(&content.mean, &content.std)
    }

    /// Starts at given values [N, C, 1, 1] (copied).
    ///
    /// # Errors
    /// When the two tensors are not [N, C, 1, 1] of the same size.
    pub fn from_values(mean: &Tensor, std: &Tensor) -> Result<Style> {
        expect_shape("style mean", mean, &[-1, -1, 1, 1])?;
        expect_shape("style std", std, &mean.size())?;
        Ok(Style {
            mean: mean.detach().copy(),
            std: std.detach().copy(),
        })
    }

    /// ReLU(σ · `content_norm` + μ), [N, C, H, W], after clamping σ at 0 in place.
    ///
    /// `content_norm` [B, C, H, W] is (f − μ(f)) / σ(f), computed once per batch and shared by all domains.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&mut self, content_norm: &Tensor) -> Result<Tensor> {
        let _ = self.std.f_clamp_min_(0.0)?;
        Ok(restyle(content_norm, &self.mean, &self.std)?)
    }

    /// Gradient of μ and σ from that of the `styled` feature which `forward` made of `content_norm`. A pixel that
    /// the ReLU left at 0 passes nothing.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn backward(content_norm: &Tensor, styled: &Tensor, gradient: &Tensor) -> Result<StyleGradient> {
        let (mean, std) = style_gradient(content_norm, styled, gradient)?;
        Ok(StyleGradient { mean, std })
    }

    /// Copies of (μ, σ) as they would be saved: the σ may be negative.
    ///
    /// # Errors
    /// When libtorch is out of memory.
    pub fn snapshot(&self) -> Result<(Tensor, Tensor)> {
        Ok((self.mean.copy(), self.std.copy()))
    }
}
