//! What the first bytes of an image file say, without touching its pixels.

use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

use crate::error::SampleError;
use crate::geometry::Size;
use crate::jpeg;
use crate::png_io::{HEADER_BYTES, PngHeader};

/// The header of an image file. The format is what the content says, whatever the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageHeader {
    Png(PngHeader),
    Jpeg(Size),
}

impl ImageHeader {
    /// Width and height.
    #[must_use]
    pub fn size(&self) -> Size {
        match self {
            Self::Png(header) => header.size,
            Self::Jpeg(size) => *size,
        }
    }

    /// Reads it from the beginning of `file`, whose name is `path`.
    pub(crate) fn read(path: &Path, mut file: impl BufRead + Seek) -> Result<Self, SampleError> {
        let io = |e| SampleError::io(path, e);
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        file.by_ref()
            .take(HEADER_BYTES as u64)
            .read_to_end(&mut bytes)
            .map_err(io)?;
        if let Some(header) = PngHeader::parse(&bytes) {
            return Ok(Self::Png(header));
        }
        if !jpeg::is_jpeg(&bytes) {
            return Err(SampleError::NotAnImage {
                path: path.to_owned(),
            });
        }
        file.rewind().map_err(io)?;
        Ok(Self::Jpeg(jpeg::read_size(path, file)?))
    }
}

/// Reads the header of an image.
pub fn read_header(path: &Path) -> Result<ImageHeader, SampleError> {
    let file = ulda_files::open_file(path).map_err(|e| SampleError::io(path, e))?;
    ImageHeader::read(path, BufReader::new(file))
}

/// Reads the header of a label file, which is a PNG.
pub(crate) fn read_png_header(path: &Path) -> Result<PngHeader, SampleError> {
    match read_header(path) {
        Ok(ImageHeader::Png(header)) => Ok(header),
        Ok(ImageHeader::Jpeg(_)) | Err(SampleError::NotAnImage { .. }) => Err(SampleError::LabelNotPng {
            path: path.to_owned(),
        }),
        Err(other) => Err(other),
    }
}
