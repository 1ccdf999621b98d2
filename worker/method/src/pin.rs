//! Prompt-driven instance normalisation (PIN): the learned style of one domain for every image of a batch.
//! METHOD "Stage 1"; golden README items 11 to 13.
//!
//! Invariant: the forward clamps σ at 0 on the parameter itself, not as part of the function, so gradient and momentum ignore
//! the clamp and the σ left after the last update may be negative.

use tch::Tensor;

use crate::error::{MethodError, Result, expect_shape};
use crate::stats::Stats;

/// Style parameters (μ, σ), one row per image of a batch; of several domains, all rows of the first, then all of the
/// second, and so on: N is then the number of domains times that of images. They live outside autograd: the
/// forward is two operations, and [`Style::backward`] is its gradient.
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
        let images = content_norm.size().first().copied().unwrap_or(0);
        if self.mean.size()[0] == images {
            return apply_style(content_norm, &self.mean, &self.std);
        }
        let by_domain = |rows: &Tensor| by_domain(rows, content_norm);
        let mut styled = by_domain(&self.mean)?.f_addcmul(content_norm, &by_domain(&self.std)?)?;
        Ok(styled.f_relu_()?.f_flatten(0, 1)?)
    }

    /// Gradient of μ and σ from that of the `styled` feature which `forward` made of `content_norm`. A pixel that
    /// the ReLU left at 0 passes nothing.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn backward(content_norm: &Tensor, styled: &Tensor, gradient: &Tensor) -> Result<StyleGradient> {
        let passed = styled.f_threshold_backward(gradient, 0)?;
        let pixels = [-2i64, -1];
        let mean = passed.f_sum_dim_intlist(pixels.as_slice(), true, None)?;
        let std = by_domain(&passed, content_norm)?
            .f_mul(content_norm)?
            .f_sum_dim_intlist(pixels.as_slice(), true, None)?
            .f_view_as(&mean)?;
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

/// Rows [D·B, C, h, w] of D domains as [D, B, C, h, w]; `content_norm` has B images.
fn by_domain(rows: &Tensor, content_norm: &Tensor) -> Result<Tensor> {
    let (count, c, h, w) = rows.size4()?;
    let images = content_norm.size4()?.0;
    Ok(rows.f_view([count / images.max(1), images, c, h, w])?)
}

/// ReLU(σ · `normalised` + μ) with σ used as it is: PIN's forward without its clamp, and stage 2's styling.
///
/// # Errors
/// When μ or σ do not broadcast over `normalised` [N, C, H, W].
pub fn apply_style(normalised: &Tensor, mean: &Tensor, std: &Tensor) -> Result<Tensor> {
    let (n, c, _, _) = normalised.size4().map_err(|_| MethodError::Shape {
        what: "normalised feature".into(),
        found: normalised.size(),
        expected: "[_, _, _, _]".into(),
    })?;
    expect_shape("style mean", mean, &[n, c, 1, 1])?;
    expect_shape("style std", std, &[n, c, 1, 1])?;
    Ok(mean.f_addcmul(normalised, std)?.f_relu_()?)
}
