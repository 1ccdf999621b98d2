//! PNG files: RGB pictures, grey label ids, palette label ids.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::error::StreetsError;
use crate::label::PALETTE;
use crate::picture::Picture;

pub fn write_rgb(path: &Path, picture: &Picture) -> Result<(), StreetsError> {
    write(path, picture, &picture.rgb, png::ColorType::Rgb)
}

pub fn write_grey(path: &Path, picture: &Picture) -> Result<(), StreetsError> {
    write(path, picture, &picture.labels, png::ColorType::Grayscale)
}

pub fn write_palette(path: &Path, picture: &Picture) -> Result<(), StreetsError> {
    write(path, picture, &picture.labels, png::ColorType::Indexed)
}

fn write(path: &Path, picture: &Picture, bytes: &[u8], kind: png::ColorType) -> Result<(), StreetsError> {
    let file = File::create(path).map_err(|source| StreetsError::Write {
        path: path.to_owned(),
        source,
    })?;
    let mut sink = BufWriter::new(file);
    encode(&mut sink, picture, bytes, kind).map_err(|source| match source {
        png::EncodingError::IoError(source) => StreetsError::Write {
            path: path.to_owned(),
            source,
        },
        source => StreetsError::Encode {
            path: path.to_owned(),
            source,
        },
    })?;
    sink.flush().map_err(|source| StreetsError::Write {
        path: path.to_owned(),
        source,
    })
}

fn encode(
    sink: &mut impl Write,
    picture: &Picture,
    bytes: &[u8],
    kind: png::ColorType,
) -> Result<(), png::EncodingError> {
    let mut encoder = png::Encoder::new(sink, picture.size.width, picture.size.height);
    encoder.set_color(kind);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    if kind == png::ColorType::Indexed {
        let mut palette = vec![0u8; 256 * 3];
        palette[..PALETTE.len() * 3].copy_from_slice(PALETTE.as_flattened());
        encoder.set_palette(palette);
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(bytes)?;
    writer.finish()
}
