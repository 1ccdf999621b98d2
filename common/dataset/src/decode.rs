//! Decoding of images and labels.
//!
//! Images: PNG, RGB with 8 bits per channel; RGBA (alpha dropped), grey, grey with alpha, and palette files are converted
//! to RGB as Pillow's `convert("RGB")` does. JPEG in `jpeg.rs`. Labels: PNG, 8-bit grey, or palette of any depth, whose *index* is
//! the label. A PNG is decoded straight into the buffer of the part that is wanted, and rows below it are not decoded.

use std::io::Cursor;
use std::path::Path;

use png::{BitDepth, ColorType, Reader, Transformations};
use ulda_files::MOST_IMAGE_BYTES;

use crate::error::SampleError;
use crate::geometry::{Size, Window};
use crate::header::ImageHeader;
use crate::jpeg;
use crate::png_io::PngHeader;
use crate::transform::{Framing, frame, place_row};

/// Far above any camera, far below what would exhaust memory for a header that lies.
const MAX_PIXELS: usize = 1 << 28;

/// An 8-bit RGB image; `rgb` is `[height, width, 3]`, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub size: Size,
    pub rgb: Vec<u8>,
}

/// One id per pixel; `ids` is `[height, width]`, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    pub size: Size,
    pub ids: Vec<u8>,
}

/// Reads a whole image.
pub fn read_image(path: &Path) -> Result<Image, SampleError> {
    read_image_framed(path, |size| Ok(Framing::whole(size)))
}

/// Reads a whole label file as it is stored: label ids, no mapping, no check of their range.
pub fn read_label_ids(path: &Path) -> Result<LabelMap, SampleError> {
    let bytes = read_file(path)?;
    let header = PngHeader::parse(&bytes).ok_or_else(|| SampleError::LabelNotPng {
        path: path.to_owned(),
    })?;
    check_label_header(path, &header)?;
    let mut reader = open(path, &bytes, Transformations::IDENTITY)?;
    let mut ids = vec![0; reader.output_buffer_size().unwrap_or(0)];
    reader
        .next_frame(&mut ids)
        .map_err(|e| SampleError::png(path, e))?;
    if header.bits < 8 {
        ids = unpack(&ids, header.size, header.bits);
    }
    Ok(LabelMap {
        size: header.size,
        ids,
    })
}

/// Reads the part of an image that `choose` names once it knows the size.
pub(crate) fn read_image_framed(
    path: &Path,
    choose: impl FnOnce(Size) -> Result<Framing, SampleError>,
) -> Result<Image, SampleError> {
    read_image_bytes(path, &read_file(path)?, choose)
}

/// [`read_image_framed`] for a file that was read.
pub(crate) fn read_image_bytes(
    path: &Path,
    bytes: &[u8],
    choose: impl FnOnce(Size) -> Result<Framing, SampleError>,
) -> Result<Image, SampleError> {
    let header = ImageHeader::read(path, Cursor::new(bytes))?;
    check_image_header(path, &header)?;
    let framing = choose(header.size())?;
    if !framing.source.lies_in(header.size()) {
        return Err(SampleError::WindowOutside {
            path: path.to_owned(),
            image: header.size(),
            window: framing.source,
        });
    }
    let rgb = match header {
        ImageHeader::Png(header) => png_part(path, bytes, &header, &framing)?,
        ImageHeader::Jpeg(size) => {
            let whole = jpeg::decode(path, bytes, size)?;
            if framing == Framing::whole(size) {
                whole
            } else {
                frame(&whole, size.width, 3, &framing)
            }
        }
    };
    Ok(Image {
        size: framing.target,
        rgb,
    })
}

fn png_part(
    path: &Path,
    bytes: &[u8],
    header: &PngHeader,
    framing: &Framing,
) -> Result<Vec<u8>, SampleError> {
    let mut reader = open(path, bytes, Transformations::EXPAND)?;
    let channels = reader.output_color_type().0.samples();
    if header.interlaced {
        let mut whole = vec![0; reader.output_buffer_size().unwrap_or(0)];
        reader
            .next_frame(&mut whole)
            .map_err(|e| SampleError::png(path, e))?;
        return Ok(frame(&to_rgb(whole, channels), header.size.width, 3, framing));
    }
    read_rows(&mut reader, channels, framing).map_err(|e| SampleError::png(path, e))
}

fn read_rows(
    reader: &mut Reader<Cursor<&[u8]>>,
    channels: usize,
    framing: &Framing,
) -> Result<Vec<u8>, png::DecodingError> {
    let width = reader.info().width;
    let part = framing.source;
    let mut rgb = vec![0; framing.target.pixels() * 3];
    let mut line = vec![0; width as usize * channels];
    let direct = channels == 3 && part.size.width == width && framing.target.width == width;
    for y in 0..part.y + part.size.height {
        if y >= part.y && direct {
            let row_bytes = 3 * width as usize;
            let from = (framing.offset.1 + y - part.y) as usize * row_bytes;
            reader.read_row(&mut rgb[from..from + row_bytes])?;
            continue;
        }
        reader.read_row(&mut line)?;
        if y >= part.y {
            let wanted = part_of_row(&line, part, channels);
            if channels == 3 {
                place_row(&mut rgb, wanted, 3, framing, y - part.y);
            } else {
                place_row(
                    &mut rgb,
                    &to_rgb(wanted.to_vec(), channels),
                    3,
                    framing,
                    y - part.y,
                );
            }
        }
    }
    if part.y + part.size.height == reader.info().height {
        // Reads on to the end of the compressed data, whose checksum is verified there.
        reader.read_row(&mut line)?;
    }
    Ok(rgb)
}

fn part_of_row(line: &[u8], part: Window, channels: usize) -> &[u8] {
    let from = part.x as usize * channels;
    &line[from..from + part.size.width as usize * channels]
}

fn to_rgb(samples: Vec<u8>, channels: usize) -> Vec<u8> {
    match channels {
        3 => samples,
        4 => samples.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect(),
        _ => samples.chunks_exact(channels).flat_map(|p| [p[0]; 3]).collect(),
    }
}

fn unpack(packed: &[u8], size: Size, bits: u8) -> Vec<u8> {
    let width = size.width as usize;
    let per_byte = usize::from(8 / bits);
    let mask = (1u8 << bits) - 1;
    let mut ids = Vec::with_capacity(size.pixels());
    for row in packed.chunks_exact(width.div_ceil(per_byte)) {
        ids.extend((0..width).map(|x| {
            let shift = 8 - bits * (x % per_byte + 1) as u8;
            (row[x / per_byte] >> shift) & mask
        }));
    }
    ids
}

pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, SampleError> {
    ulda_files::read_file(path, MOST_IMAGE_BYTES).map_err(|e| SampleError::io(path, e))
}

fn check_size(path: &Path, size: Size) -> Result<(), SampleError> {
    if size.pixels() > MAX_PIXELS {
        return Err(SampleError::TooLarge {
            path: path.to_owned(),
            size,
            limit: MAX_PIXELS,
        });
    }
    Ok(())
}

/// Whether the header is one of an image that can be converted to 8-bit RGB without losing depth.
pub(crate) fn check_image_header(path: &Path, header: &ImageHeader) -> Result<(), SampleError> {
    check_size(path, header.size())?;
    match header {
        ImageHeader::Png(PngHeader { bits, .. }) if *bits > 8 => Err(SampleError::BitDepth {
            path: path.to_owned(),
            bits: *bits,
        }),
        ImageHeader::Png(_) | ImageHeader::Jpeg(_) => Ok(()),
    }
}

/// Whether the header is one of a label file.
pub(crate) fn check_label_header(path: &Path, header: &PngHeader) -> Result<(), SampleError> {
    check_size(path, header.size)?;
    let colour = match header.colour {
        ColorType::Indexed => return Ok(()),
        ColorType::Grayscale if header.bits == BitDepth::Eight as u8 => return Ok(()),
        ColorType::Grayscale => {
            return Err(SampleError::BitDepth {
                path: path.to_owned(),
                bits: header.bits,
            });
        }
        ColorType::GrayscaleAlpha => "grey-alpha",
        ColorType::Rgb => "rgb",
        ColorType::Rgba => "rgba",
    };
    Err(SampleError::LabelColour {
        path: path.to_owned(),
        colour,
    })
}

fn open<'a>(
    path: &Path,
    bytes: &'a [u8],
    transformations: Transformations,
) -> Result<Reader<Cursor<&'a [u8]>>, SampleError> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(transformations);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.read_info().map_err(|e| SampleError::png(path, e))
}
