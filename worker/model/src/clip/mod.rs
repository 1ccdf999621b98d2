//! CLIP: configuration from the checkpoint, image tower, text tower, tokenizer.

mod attention_pool;
mod config;
mod entities;
mod image;
mod layers;
mod repair;
mod text;
mod tokenizer;

pub use attention_pool::AttentionPool;
pub use config::{ClipSizes, ImageConfig, PoolConfig, TextConfig};
pub use image::{Backbone, BackboneError};
pub(crate) use layers::{Bottleneck, ConvShape, FrozenConv, average_pool, channels_last};
pub use text::{EncodeError, TextEncoder};
pub use tokenizer::{TokenizeError, Tokenizer};
