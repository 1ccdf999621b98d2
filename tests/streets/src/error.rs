//! What can go wrong when scenes are written.

use std::io;
use std::path::PathBuf;

/// Why no data set was made.
#[derive(Debug, thiserror::Error)]
pub enum StreetsError {
    #[error(
        "size `{text}` is not WIDTHxHEIGHT\n  hint: two whole numbers with an x between them, such as 256x128"
    )]
    SizeText { text: String },
    #[error("{field} is {width}x{height}, each side must be {least} to {most} pixels")]
    SizeRange {
        field: &'static str,
        width: u32,
        height: u32,
        least: u32,
        most: u32,
    },
    #[error("{field} is {got}, at most {most} scenes can be made")]
    TooMany {
        field: &'static str,
        got: u32,
        most: u32,
    },
    #[error(
        "nothing to make: every count is 0\n  hint: ask for scenes with --train, --val, --per-condition or --gta"
    )]
    Nothing,
    #[error("`{}` is not empty\n  hint: name a new folder, or pass --force to write into this one", path.display())]
    NotEmpty { path: PathBuf },
    #[error("look into `{}`", path.display())]
    Look { path: PathBuf, source: io::Error },
    #[error("make folder `{}`", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("encode `{}`", path.display())]
    Encode {
        path: PathBuf,
        source: png::EncodingError,
    },
}

impl StreetsError {
    /// Whether what was asked for is at fault, rather than the disk.
    pub fn is_request(&self) -> bool {
        match self {
            Self::SizeText { .. }
            | Self::SizeRange { .. }
            | Self::TooMany { .. }
            | Self::Nothing
            | Self::NotEmpty { .. } => true,
            Self::Look { .. } | Self::Folder { .. } | Self::Write { .. } | Self::Encode { .. } => false,
        }
    }
}
