//! The on-disk formats of the three data sets.

pub mod acdc;
pub mod cityscapes;
pub mod gta5;
mod image;

use std::path::PathBuf;

use crate::error::StreetsError;
use crate::layout::Style;
use crate::picture::Picture;
use crate::weather::Condition;

/// One scene and where its two files go, relative to the output folder.
#[derive(Clone, Debug)]
pub struct Item {
    pub style: Style,
    pub condition: Condition,
    /// Which scene of its split; with seed and split it fixes every byte.
    pub index: u32,
    /// The number that stands for tree and split in the scene's key.
    pub split_key: u64,
    pub image: PathBuf,
    pub label: PathBuf,
}

impl Item {
    /// Writes the pair under `out`.
    pub(crate) fn write(&self, out: &std::path::Path, picture: &Picture) -> Result<(), StreetsError> {
        image::write_rgb(&out.join(&self.image), picture)?;
        match self.style {
            Style::Gta => image::write_palette(&out.join(&self.label), picture),
            Style::Cityscapes | Style::Acdc => image::write_grey(&out.join(&self.label), picture),
        }
    }
}
