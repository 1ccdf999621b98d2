//! The losses of stage 1, the segmentation loss of all stages and what may take its place, one file each.
//!
//! Each function takes tensors of G domains, domain first (and, but for scene and segmentation, of one image), and
//! returns a loss per domain, `[G]`, that can be differentiated; averaging over images and domains is the caller's.
//! Matrix products are one operation for all G; what reduces to a number is one per domain. [`segmentation`] and [`focal`]
//! are of one batch, whatever its domain; [`cross`] sees every domain, as detached numbers, and hands back a gradient.

pub mod classes;
pub mod cross;
pub mod focal;
pub mod intra;
pub mod pixel;
pub mod region;
pub mod scene;
pub mod segmentation;

use tch::Tensor;

use crate::error::Result;

pub use classes::ClassMap;
pub use cross::{CrossTarget, CrossTerm};
pub use focal::Focal;

/// Label value that no loss looks at.
pub const IGNORED_LABEL: i64 = 255;

/// The loss of each domain, given its own part of `values` [G, …]: `[G]`.
fn of_each(values: &Tensor, loss: impl Fn(usize, &Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let each = values.f_unbind(0)?;
    let losses = each.iter().enumerate().map(|(at, value)| loss(at, value));
    Ok(Tensor::f_stack(&losses.collect::<Result<Vec<_>>>()?, 0)?)
}
