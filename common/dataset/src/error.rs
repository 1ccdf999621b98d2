//! What can be wrong with one sample. Every variant names the file.

use std::borrow::Cow;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ulda_run::hints;

use crate::geometry::{Size, Window};

/// Why a sample could not be read or does not suit the run.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    #[error("`{}` does not exist", path.display())]
    Missing { path: PathBuf },
    #[error("cannot read `{}`", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("`{}` is neither a png nor a jpeg file", path.display())]
    NotAnImage { path: PathBuf },
    #[error("label `{}` is not a png file", path.display())]
    LabelNotPng { path: PathBuf },
    #[error("`{}` has {bits} bits per channel, expected 8", path.display())]
    BitDepth { path: PathBuf, bits: u8 },
    #[error("label `{}` is a {colour} png, expected 8-bit grey or palette", path.display())]
    LabelColour { path: PathBuf, colour: &'static str },
    #[error("`{}` claims {size} pixels, more than the {limit} pixels a file may hold", path.display())]
    TooLarge { path: PathBuf, size: Size, limit: usize },
    #[error("`{}` is {image}, and a picture needs at least {least} pixels on each side", path.display())]
    TooSmall { path: PathBuf, image: Size, least: u32 },
    #[error("`{}` is cut short", path.display())]
    Truncated { path: PathBuf },
    #[error("`{}` is damaged", path.display())]
    Damaged {
        path: PathBuf,
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("image `{}` is {image_size} but its label `{}` is {label_size}", image.display(), label.display())]
    SizeMismatch {
        image: PathBuf,
        image_size: Size,
        label: PathBuf,
        label_size: Size,
    },
    #[error(
        "label `{}` holds id {value} first at column {x}, row {y}; {}", path.display(), expected.rule
    )]
    IllegalId {
        path: PathBuf,
        value: u8,
        x: u32,
        y: u32,
        expected: ExpectedValues,
    },
    #[error(
        "label `{}` holds colour #{:02x}{:02x}{:02x} first at column {x}, row {y}; {}",
        path.display(), colour[0], colour[1], colour[2], expected.rule
    )]
    UnknownColour {
        path: PathBuf,
        /// Red, green, blue.
        colour: [u8; 3],
        x: u32,
        y: u32,
        expected: ExpectedValues,
    },
    #[error("image `{}` is {image}, smaller than the crop {crop}", path.display())]
    CropTooLarge {
        path: PathBuf,
        image: Size,
        crop: Size,
        key: &'static str,
    },
    #[error("crop {window} reaches outside image `{}`, which is {image}", path.display())]
    WindowOutside {
        path: PathBuf,
        image: Size,
        window: Window,
    },
    #[error("sample {index} asked for, but the data set below `{}` has {count}", root.display())]
    NoSuchSample {
        root: PathBuf,
        index: usize,
        count: usize,
    },
    #[error("decoding `{}` panicked: {message}", path.display())]
    Panicked { path: PathBuf, message: String },
    #[error("the job list of the prefetcher panicked: {message}")]
    JobsPanicked { message: String },
    #[error("waited {} s for `{}` to be read", waited.as_secs_f64(), path.display())]
    Stalled { path: PathBuf, waited: Duration },
    #[error("cannot start decoder thread")]
    Spawn { source: io::Error },
}

hints!(pub SampleError {
    Self::Missing { .. } => "restore the file, or check that the data volume is mounted",
    Self::LabelColour { .. } => "use the `labelIds` files, not the colour ones",
    Self::TooSmall { .. } => "give a larger one",
    Self::Truncated { .. } | Self::Damaged { .. } => "copy the file again",
    Self::IllegalId { expected, .. } | Self::UnknownColour { expected, .. } => expected.hint,
    Self::CropTooLarge { image, key, .. } =>
        format!("set `{key}` to at most {}", image.width.min(image.height)),
    Self::Stalled { .. } => "check the storage it lies on",
    Self::Unreadable { .. } => "check that it is a file, its permissions and its disk",
    Self::NotAnImage { .. } => "images must be PNG or JPEG files; convert it, or copy it again",
    Self::LabelNotPng { .. } => "labels must be PNG files; convert it, or copy it again",
    Self::BitDepth { .. } => "convert it to 8 bits per channel",
    Self::TooLarge { .. } => "is it a picture of this data set? scale it down",
    Self::SizeMismatch { .. } => "an image and its label have the same size; copy both again",
    Self::WindowOutside { .. } | Self::Panicked { .. } => "check this file of the data set",
});

impl SampleError {
    /// Wraps an I/O failure on `path`.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing {
                path: path.to_owned(),
            },
            _ => Self::Unreadable {
                path: path.to_owned(),
                source,
            },
        }
    }

    /// Wraps a decoder failure on `path`.
    pub(crate) fn png(path: &Path, source: png::DecodingError) -> Self {
        match source {
            png::DecodingError::IoError(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {
                Self::Truncated {
                    path: path.to_owned(),
                }
            }
            source => Self::Damaged {
                path: path.to_owned(),
                source: source.into(),
            },
        }
    }
}

/// What the values of a label file have to be, and what to do if they are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedValues {
    pub rule: Cow<'static, str>,
    pub hint: &'static str,
}
