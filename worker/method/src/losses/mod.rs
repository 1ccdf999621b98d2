//! The losses of stage 1 and the segmentation loss of all stages, one file each.
//!
//! Each function takes tensors of one domain (and, but for scene and segmentation, of one image) and returns a scalar
//! tensor that can be differentiated; averaging over images and domains is the caller's. [`cross`] alone sees
//! every domain, as detached numbers, and hands back a gradient.

pub mod classes;
pub mod cross;
pub mod intra;
pub mod pixel;
pub mod region;
pub mod scene;
pub mod segmentation;

pub use classes::ClassMap;
pub use cross::{CrossTarget, CrossTerm};

/// Label value that no loss looks at.
pub const IGNORED_LABEL: i64 = 255;

/// Number of train ids.
pub const CLASS_COUNT: i64 = 19;
