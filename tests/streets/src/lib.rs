//! Street scenes with pixel-exact labels, in the on-disk formats of Cityscapes, ACDC and GTA5.
//!
//! A small software renderer: a world of flat patches, drawn once for picture and labels alike, then seen through a weather.
//! Everything follows from `(seed, split, index)`; only [`generate`] touches the disk.

mod camera;
mod canvas;
mod disk;
mod draw;
mod error;
mod finish;
mod generate;
mod label;
mod layout;
mod material;
mod picture;
mod request;
mod rng;
mod shade;
mod shadow;
mod sheet;
mod vector;
mod weather;
mod world;

pub use camera::Size;
pub use disk::Item;
pub use error::StreetsError;
pub use generate::{SceneKey, Summary, draw_item, generate, items};
pub use label::{LABEL_COUNT, Label, PALETTE, TRAIN_CLASSES};
pub use layout::Style;
pub use picture::Picture;
pub use request::Request;
pub use weather::Condition;
