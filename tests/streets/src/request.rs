//! What to make, checked before anything is written.

use std::path::PathBuf;
use std::str::FromStr;

use crate::camera::Size;
use crate::error::StreetsError;

/// Bounds on a picture's side, pixels.
const SIDE: std::ops::RangeInclusive<u32> = 16..=8192;
/// Names hold six digits.
const MOST: u32 = 99_999;

/// Three data sets to make under one folder.
#[derive(Clone, Debug)]
pub struct Request {
    /// Folder that receives `cityscapes/`, `acdc/` and `gta5/`.
    pub out: PathBuf,
    pub seed: u64,
    /// Size of the Cityscapes and ACDC pictures.
    pub size: Size,
    pub gta_size: Size,
    /// Scenes of the Cityscapes training and validation splits.
    pub train: u32,
    pub val: u32,
    /// Scenes of each ACDC condition, in each of its two splits.
    pub per_condition: u32,
    /// Scenes of GTA5, about one in four of them for validation.
    pub gta: u32,
    /// Write into a folder that is not empty.
    pub force: bool,
    /// Threads to draw on; the bytes do not depend on it. 0 takes as many as the machine offers.
    pub threads: usize,
}

impl Request {
    /// The default request into `out`: 256x128 pictures, seed 1, 24 + 8 Cityscapes, 4 per condition, 8 GTA5.
    pub fn new(out: impl Into<PathBuf>) -> Self {
        let size = Size {
            width: 256,
            height: 128,
        };
        Self {
            out: out.into(),
            seed: 1,
            size,
            gta_size: size,
            train: 24,
            val: 8,
            per_condition: 4,
            gta: 8,
            force: false,
            threads: 0,
        }
    }

    /// Whether the request can be met.
    ///
    /// # Errors
    /// A size or a count out of range, or nothing to make.
    pub fn check(&self) -> Result<(), StreetsError> {
        for (field, size) in [("size", self.size), ("gta-size", self.gta_size)] {
            if !SIDE.contains(&size.width) || !SIDE.contains(&size.height) {
                let (width, height) = (size.width, size.height);
                return Err(StreetsError::SizeRange {
                    field,
                    width,
                    height,
                    least: *SIDE.start(),
                    most: *SIDE.end(),
                });
            }
        }
        for (field, got) in [
            ("train", self.train),
            ("val", self.val),
            ("per-condition", self.per_condition),
            ("gta", self.gta),
        ] {
            if got > MOST {
                return Err(StreetsError::TooMany {
                    field,
                    got,
                    most: MOST,
                });
            }
        }
        if self.train + self.val + self.per_condition + self.gta == 0 {
            return Err(StreetsError::Nothing);
        }
        Ok(())
    }
}

impl FromStr for Size {
    type Err = StreetsError;

    /// Parses `256x128`.
    fn from_str(text: &str) -> Result<Self, StreetsError> {
        let fault = || StreetsError::SizeText {
            text: text.to_owned(),
        };
        let (width, height) = text.split_once('x').ok_or_else(fault)?;
        Ok(Self {
            width: width.parse().map_err(|_| fault())?,
            height: height.parse().map_err(|_| fault())?,
        })
    }
}
