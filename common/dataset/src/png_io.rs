//! PNG headers in, PNG files out. Files are written beside their place and renamed, so a reader never sees half of one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::decode::Image;
use crate::geometry::Size;

const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'];
/// Signature, chunk length, chunk type, and the 13 bytes of IHDR.
pub(crate) const HEADER_BYTES: usize = 29;

/// The facts of a PNG's IHDR chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PngHeader {
    pub size: Size,
    /// Bits per channel, or per palette index.
    pub bits: u8,
    pub colour: png::ColorType,
    pub interlaced: bool,
}

impl PngHeader {
    /// Parses the first bytes of a PNG file; none if they are not a PNG's.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
        if bytes[..8] != SIGNATURE || &bytes[12..16] != b"IHDR" {
            return None;
        }
        let number = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let size = Size::new(number(16), number(20));
        if size.pixels() == 0 {
            return None;
        }
        Some(Self {
            size,
            bits: bytes[24],
            colour: png::ColorType::from_u8(bytes[25])?,
            interlaced: bytes[28] != 0,
        })
    }
}

/// Why a picture could not be made or written.
#[derive(Debug, Error)]
pub enum WriteError {
    #[error("cannot write `{}`", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot encode `{}`", path.display())]
    Encode {
        path: PathBuf,
        source: png::EncodingError,
    },
    #[error("pictures of {first} and {other} do not go together")]
    Sizes { first: Size, other: Size },
}

/// The samples of a PNG to write, row by row without padding.
pub(crate) enum Pixels<'a> {
    Rgb(&'a [u8]),
    Grey(&'a [u8]),
    Indexed { indices: &'a [u8], palette: Vec<u8> },
}

/// Writes an image as an 8-bit RGB PNG.
pub fn write_rgb(path: &Path, image: &Image) -> Result<(), WriteError> {
    write_png(path, image.size, Pixels::Rgb(&image.rgb))
}

/// Writes one value per pixel as an 8-bit grey PNG.
pub fn write_grey(path: &Path, size: Size, values: &[u8]) -> Result<(), WriteError> {
    write_png(path, size, Pixels::Grey(values))
}

pub(crate) fn write_png(path: &Path, size: Size, pixels: Pixels<'_>) -> Result<(), WriteError> {
    let failed = |source| WriteError::File {
        path: path.to_owned(),
        source,
    };
    let mut part = OsString::from(path);
    part.push(".part");
    let file = BufWriter::new(ulda_files::create_file(Path::new(&part)).map_err(failed)?);
    encode(file, size, pixels).map_err(|source| {
        fs::remove_file(&part).ok();
        match source {
            png::EncodingError::IoError(source) => failed(source),
            source => WriteError::Encode {
                path: path.to_owned(),
                source,
            },
        }
    })?;
    fs::rename(&part, path).map_err(failed)
}

fn encode(mut file: BufWriter<File>, size: Size, pixels: Pixels<'_>) -> Result<(), png::EncodingError> {
    let mut encoder = png::Encoder::new(&mut file, size.width, size.height);
    encoder.set_depth(png::BitDepth::Eight);
    let (samples, channels) = match pixels {
        Pixels::Rgb(samples) => {
            encoder.set_color(png::ColorType::Rgb);
            encoder.set_compression(png::Compression::Fast);
            (samples, 3)
        }
        Pixels::Grey(samples) => {
            encoder.set_color(png::ColorType::Grayscale);
            (samples, 1)
        }
        Pixels::Indexed { indices, palette } => {
            encoder.set_color(png::ColorType::Indexed);
            encoder.set_palette(palette);
            (indices, 1)
        }
    };
    let mut writer = encoder.write_header()?;
    let mut stream = writer.stream_writer()?;
    for row in samples.chunks_exact(size.width as usize * channels) {
        stream.write_all(row)?;
    }
    stream.finish()?;
    writer.finish()?;
    file.flush()?;
    Ok(())
}
