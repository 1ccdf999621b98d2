//! What each shard does in each step: a pure function of the run's definition and the sizes of its
//! data sets. Any worker can compute any part of it at any time.

mod batches;
mod lanes;
mod sampling;
mod split;
mod stream;
mod styles;

pub use batches::{Batches, SampleAt};
pub use lanes::{Lane, Lanes};
pub use sampling::{SampleDraw, draw_sample};
pub use split::slice;
pub use stream::{Purpose, RandomStream, StreamKey};
pub use styles::{draw_mix, draw_own_styles, draw_styles};
