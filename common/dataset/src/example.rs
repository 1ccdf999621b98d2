//! From a sample on disk and the decisions of the plan to the tensors a step needs.

use std::path::Path;

use crate::dataset::Dataset;
use crate::decode::read_image_framed;
use crate::error::SampleError;
use crate::geometry::{Size, Window};
use crate::jitter::Jitter;
use crate::transform::{Facing, Framing, normalise_facing};

/// Name of the setting that a too large crop comes from.
pub(crate) const CROP_KEY: &str = "crop";

/// Which window of the image to take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Crop {
    /// A window at a known place.
    At(Window),
    /// A window of `size` at a drawn place: `across` and `down`, each in `0..1`, choose uniformly among the columns
    /// and rows where it fits. For callers that do not know the size of the image when they draw.
    Drawn { size: Size, across: f64, down: f64 },
}

/// How an example holds its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PixelFormat {
    #[default]
    Normalised,
    /// For whoever normalises images elsewhere: a quarter of the bytes.
    Rgb,
}

/// An image's values.
#[derive(Debug, Clone, PartialEq)]
pub enum ImagePixels {
    /// `[3, height, width]`, normalised with CLIP's mean and standard deviation.
    Normalised(Vec<f32>),
    /// `[height, width, 3]`, not normalised.
    Rgb(Vec<u8>),
}

impl ImagePixels {
    /// The normalised values, if it holds these.
    pub fn normalised(&self) -> Option<&[f32]> {
        match self {
            Self::Normalised(values) => Some(values),
            Self::Rgb(_) => None,
        }
    }
}

/// How to turn a sample into an example; every random choice is already made.
///
/// Applied in the order of the published scripts: crop, jitter, flip, normalise. The default takes the image as it is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sampling {
    pub crop: Option<Crop>,
    pub jitter: Option<Jitter>,
    pub flip: bool,
    pub format: PixelFormat,
}

/// One sample to load, by its place in [`Dataset::samples`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Job {
    pub sample: usize,
    pub sampling: Sampling,
}

/// A sample ready for a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Place in [`Dataset::samples`].
    pub sample: usize,
    /// File name of the image without its extension; styles and predictions are named after it.
    pub name: String,
    pub size: Size,
    pub image: ImagePixels,
    /// `[height, width]`, train ids, 255 = ignore.
    pub label: Vec<u8>,
}

impl Crop {
    fn window(&self, path: &Path, image: Size) -> Result<Window, SampleError> {
        let size = match self {
            Crop::At(window) => window.size,
            Crop::Drawn { size, .. } => *size,
        };
        if !image.holds(size) {
            return Err(SampleError::CropTooLarge {
                path: path.to_owned(),
                image,
                crop: size,
                key: CROP_KEY,
            });
        }
        match *self {
            Crop::At(window) if window.lies_in(image) => Ok(window),
            Crop::At(window) => Err(SampleError::WindowOutside {
                path: path.to_owned(),
                image,
                window,
            }),
            Crop::Drawn { size, across, down } => {
                let place = |draw: f64, spare: u32| ((draw * f64::from(spare + 1)) as u32).min(spare);
                let x = place(across, image.width - size.width);
                let y = place(down, image.height - size.height);
                Ok(Window { x, y, size })
            }
        }
    }
}

/// Reads one sample: image and label decoded, framed, jittered, flipped and normalised.
///
/// The label is checked against the whole image, its size and its values, whatever the crop.
pub fn load(dataset: &Dataset, sample: usize, sampling: &Sampling) -> Result<Example, SampleError> {
    let entry = dataset
        .samples
        .get(sample)
        .ok_or_else(|| SampleError::NoSuchSample {
            root: dataset.root().to_owned(),
            index: sample,
            count: dataset.samples.len(),
        })?;
    let ids = dataset.labels().read(&entry.label)?;
    let mut chosen = None;
    let mut image = read_image_framed(&entry.image, |size| {
        if size != ids.size {
            return Err(SampleError::SizeMismatch {
                image: entry.image.clone(),
                image_size: size,
                label: entry.label.clone(),
                label_size: ids.size,
            });
        }
        let frames = Frames::choose(&entry.image, size, dataset.centre_crop(), sampling.crop)?;
        chosen = Some(frames);
        Ok(frames.first)
    })?;
    let frames = chosen.expect("the reader asks for the framing before it succeeds");
    dataset.labels().check(&entry.label, &ids)?;
    let mut label = dataset.labels().train_ids(&ids, &frames.first);
    if let Some(second) = &frames.second {
        image = image.framed(second);
        label = label.framed(second);
    }
    if let Some(jitter) = &sampling.jitter {
        jitter.apply(&mut image);
    }
    let facing = if sampling.flip {
        Facing::Mirrored
    } else {
        Facing::AsIs
    };
    if facing == Facing::Mirrored {
        label.mirror();
    }
    let size = image.size;
    let pixels = match sampling.format {
        PixelFormat::Normalised => ImagePixels::Normalised(normalise_facing(&image, facing)),
        PixelFormat::Rgb => {
            if facing == Facing::Mirrored {
                image.mirror();
            }
            ImagePixels::Rgb(image.rgb)
        }
    };
    Ok(Example {
        sample,
        name: entry.name.clone(),
        size,
        image: pixels,
        label: label.ids,
    })
}

/// The framing of the file, and a second one within its result where a crop follows a padded or centred frame.
#[derive(Clone, Copy)]
struct Frames {
    first: Framing,
    second: Option<Framing>,
}

impl Frames {
    fn choose(
        path: &Path,
        image: Size,
        centre: Option<Size>,
        crop: Option<Crop>,
    ) -> Result<Self, SampleError> {
        let window = |within: Size| crop.map(|crop| crop.window(path, within)).transpose();
        Ok(match centre {
            None => {
                let first = window(image)?.map_or(Framing::whole(image), Framing::window);
                Self { first, second: None }
            }
            Some(centre) => Self {
                first: Framing::centre(image, centre),
                second: window(centre)?.map(Framing::window),
            },
        })
    }
}
