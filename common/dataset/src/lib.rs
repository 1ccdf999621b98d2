//! Datasets on disk, from listing to normalised training examples, and the scores and pictures made of predictions.
//!
//! This crate owns all reading of images and labels. It draws no random numbers: which sample to read and how to
//! crop, jitter and flip it comes in as [`Job`] and [`Sampling`] values, so the same job gives the same bytes on every
//! worker. No libtorch, no async code; the only threads are the decoders of a [`Prefetcher`] and of an audit.
//!
//! - [`Dataset`] lists the samples of a split and finds what is wrong with them,
//! - [`load`] and [`Prefetcher`] turn samples into [`Example`]s,
//! - [`ConfusionMatrix`] and [`Scores`] judge predictions, [`palette`] paints them.

mod counters;
mod dataset;
mod decode;
mod error;
mod example;
mod geometry;
mod header;
mod jitter;
mod jpeg;
mod label_table;
pub mod labels;
pub mod palette;
mod pictures;
mod png_io;
mod prefetch;
mod resize;
mod scores;
mod transform;

pub use counters::{DecodeCounters, Decoded};
pub use dataset::{Dataset, DatasetError, Depth, Fingerprint, Sample, SampleFinding};
pub use decode::{Image, LabelMap, read_image, read_label_ids};
pub use error::{ExpectedValues, SampleError};
pub use example::{Crop, Example, ImagePixels, Job, PixelFormat, Sampling, load};
pub use geometry::{Size, Window};
pub use header::{ImageHeader, read_header};
pub use jitter::{Adjustment, Jitter};
pub use pictures::{LEAST_SIDE, Picture, PicturesError, check_least, list_pictures};
pub use png_io::{PngHeader, WriteError, write_grey, write_rgb};
pub use prefetch::Prefetcher;
pub use scores::{ConfusionMatrix, Scores, ScoresError};
pub use transform::{CLIP_MEAN, CLIP_STD, Framing, normalise};
