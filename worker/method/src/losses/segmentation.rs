//! Cross-entropy of the segmentation logits, label 255 ignored.

use tch::{Kind, Reduction, Tensor};

use super::IGNORED_LABEL;
use crate::error::{Result, expect_shape};

/// Number of labelled pixels of `labels` (any shape).
///
/// # Errors
/// When the labels' device fails.
pub fn valid_pixels(labels: &Tensor) -> Result<i64> {
    Ok(labels
        .f_ne(IGNORED_LABEL)?
        .f_sum(Kind::Int64)?
        .f_int64_value(&[])?)
}

/// Sum over the labelled pixels of the cross-entropy of `logits` [N, classes, H, W] with `labels` [N, H, W] (int64),
/// divided by `denominator`.
///
/// With the number of labelled pixels of a whole step as denominator the shards' losses and gradients add up to those
/// of the mean over one large batch. A denominator of 0 (nothing labelled anywhere) gives 0.
///
/// # Errors
/// When the shapes do not fit.
pub fn segmentation(logits: &Tensor, labels: &Tensor, denominator: i64) -> Result<Tensor> {
    expect_logits(logits, labels)?;
    let sum = logits.f_cross_entropy_loss(labels, None::<&Tensor>, Reduction::Sum, IGNORED_LABEL, 0.0)?;
    Ok(sum.f_div_scalar(denominator.max(1) as f64)?)
}

/// Logits [N, classes, H, W] and labels [N, H, W].
pub(super) fn expect_logits(logits: &Tensor, labels: &Tensor) -> Result<()> {
    expect_shape("logits", logits, &[-1, -1, -1, -1])?;
    let size = logits.size();
    expect_shape("labels", labels, &[size[0], size[2], size[3]])
}
