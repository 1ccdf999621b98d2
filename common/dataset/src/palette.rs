//! Pictures of predictions, in the colours of the classes.

use std::path::Path;

use ulda_run::Classes;

use crate::decode::{Image, LabelMap};
use crate::geometry::Size;
use crate::labels::BLACK;
use crate::png_io::{Pixels, WriteError, write_png};

const GAP_COLOUR: u8 = 255;

/// Writes train ids as a palette PNG: the index is the train id, the palette the colours of the classes, all others black.
pub fn write_coloured(path: &Path, train_ids: &LabelMap, classes: &Classes) -> Result<(), WriteError> {
    let palette = (0..=255).flat_map(|id| colour_of(id, classes)).collect();
    write_png(
        path,
        train_ids.size,
        Pixels::Indexed {
            indices: &train_ids.ids,
            palette,
        },
    )
}

/// Writes train ids as an 8-bit grey PNG of *label* ids, which is what the test servers and evaluators take; 0 without a
/// class.
pub fn write_label_ids(path: &Path, train_ids: &LabelMap, classes: &Classes) -> Result<(), WriteError> {
    let label_id: [u8; 256] =
        std::array::from_fn(|id| classes.get(id as u8).map_or(0, |class| class.label_id));
    let ids: Vec<u8> = train_ids
        .ids
        .iter()
        .map(|&id| label_id[usize::from(id)])
        .collect();
    write_png(path, train_ids.size, Pixels::Grey(&ids))
}

/// Train ids painted in their colours, black without a class.
pub fn coloured(train_ids: &LabelMap, classes: &Classes) -> Image {
    let colours = train_ids.ids.iter().flat_map(|&id| colour_of(id, classes));
    Image {
        size: train_ids.size,
        rgb: colours.collect(),
    }
}

fn colour_of(train_id: u8, classes: &Classes) -> [u8; 3] {
    classes.get(train_id).map_or(BLACK, |class| class.colour)
}

/// The image with the colours of its classes laid over it; `opacity` in 0..1. Ignored pixels show the bare image.
pub fn overlay(
    image: &Image,
    train_ids: &LabelMap,
    classes: &Classes,
    opacity: f32,
) -> Result<Image, WriteError> {
    if image.size != train_ids.size {
        return Err(WriteError::Sizes {
            first: image.size,
            other: train_ids.size,
        });
    }
    let mut blended = image.clone();
    for (pixel, &id) in blended.rgb.chunks_exact_mut(3).zip(&train_ids.ids) {
        let Some(class) = classes.get(id) else { continue };
        for (value, colour) in pixel.iter_mut().zip(class.colour) {
            *value = (f32::from(*value) * (1.0 - opacity) + f32::from(colour) * opacity).round() as u8;
        }
    }
    Ok(blended)
}

/// Pictures of one size side by side, `gap` white columns between them: image, truth, source-only, adapted.
///
/// No pictures make an empty one.
pub fn strip(panels: &[&Image], gap: u32) -> Result<Image, WriteError> {
    let Some(first) = panels.first() else {
        return Ok(Image {
            size: Size::new(0, 0),
            rgb: Vec::new(),
        });
    };
    if let Some(other) = panels.iter().find(|panel| panel.size != first.size) {
        return Err(WriteError::Sizes {
            first: first.size,
            other: other.size,
        });
    }
    let count = panels.len() as u32;
    let size = Size::new(first.size.width * count + gap * (count - 1), first.size.height);
    let row_bytes = first.size.width as usize * 3;
    let mut rgb = Vec::with_capacity(size.pixels() * 3);
    for row in 0..first.size.height as usize {
        for (place, panel) in panels.iter().enumerate() {
            if place > 0 {
                rgb.resize(rgb.len() + gap as usize * 3, GAP_COLOUR);
            }
            rgb.extend_from_slice(&panel.rgb[row * row_bytes..(row + 1) * row_bytes]);
        }
    }
    Ok(Image { size, rgb })
}
