//! The networks of the method: CLIP's image and text towers, frozen; the DeepLabV3+ head, trained;
//! and the checkpoints they come from. Shapes are NCHW; every tensor is f32 unless said otherwise.
//!
//! Reads files ([`Weights::read`]) and keeps one cache folder ([`TextBank`]); no other IO. Nothing here
//! touches libtorch's global random generator: seeds are arguments ([`Seeded`]).

pub mod clip;
pub mod export;
pub mod head;
mod kept;
pub mod marks;
pub mod miniature;
pub mod pickle;
mod seeded;
mod segmentation;
pub mod text;
pub mod weights;
pub mod work;

pub use clip::{Backbone, ClipSizes, ImageConfig, TextConfig, TextEncoder, Tokenizer};
pub use head::{Head, HeadConfig, HeadStats, TrainMode};
pub use seeded::Seeded;
pub use segmentation::{SegmentationModel, upsample};
pub use text::TextBank;
pub use weights::{TrainingState, Weights, WeightsError, WeightsKind};
