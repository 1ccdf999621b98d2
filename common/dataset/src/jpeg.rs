//! Decoding of JPEG files, baseline and progressive, to 8-bit RGB.
//!
//! The decoder is built without SIMD: with it the values of a pixel depend on the processor, and a run's would too.

use std::io::{BufRead, Cursor, ErrorKind, Seek};
use std::path::Path;

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZByteIoError;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::error::SampleError;
use crate::geometry::Size;

/// Start of image, and the first byte of the next marker.
const SIGNATURE: [u8; 3] = [0xff, 0xd8, 0xff];
const START_OF_SCAN: [u8; 2] = [0xff, 0xda];
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

pub(crate) fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&SIGNATURE)
}

/// Width and height, from the segments before the pixels.
pub(crate) fn read_size(path: &Path, file: impl BufRead + Seek) -> Result<Size, SampleError> {
    let mut decoder = JpegDecoder::new_with_options(file, options());
    decoder.decode_headers().map_err(|e| explain(path, e))?;
    decoder
        .info()
        .map(|info| Size::new(u32::from(info.width), u32::from(info.height)))
        .ok_or_else(|| damaged(path, "it has no size"))
}

/// The pixels of the whole image, `[height, width, 3]`; `size` is what [`read_size`] gives, and within bounds.
pub(crate) fn decode(path: &Path, bytes: &[u8], size: Size) -> Result<Vec<u8>, SampleError> {
    if is_cut_short(bytes) {
        return Err(SampleError::Truncated {
            path: path.to_owned(),
        });
    }
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options());
    let rgb = decoder.decode().map_err(|e| explain(path, e))?;
    if rgb.len() != size.pixels() * 3 {
        return Err(damaged(path, "it has fewer pixels than its header says"));
    }
    Ok(rgb)
}

/// Damage is an error, never grey pixels. The caller bounds the size, so that one bound holds for all formats.
fn options() -> DecoderOptions {
    DecoderOptions::default()
        .set_strict_mode(true)
        .set_use_unsafe(false)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB)
}

/// Whether no end follows the last scan. Compressed pixels hold neither marker, and a thumbnail lies before them.
fn is_cut_short(bytes: &[u8]) -> bool {
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    last(END_OF_IMAGE) < last(START_OF_SCAN)
}

fn explain(path: &Path, error: DecodeErrors) -> SampleError {
    match error {
        DecodeErrors::IoErrors(ZByteIoError::StdIoError(cause))
            if cause.kind() != ErrorKind::UnexpectedEof =>
        {
            SampleError::io(path, cause)
        }
        DecodeErrors::IoErrors(_) | DecodeErrors::ExhaustedData => SampleError::Truncated {
            path: path.to_owned(),
        },
        other => damaged(path, other.to_string()),
    }
}

fn damaged(path: &Path, what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SampleError {
    SampleError::Damaged {
        path: path.to_owned(),
        source: what.into(),
    }
}
