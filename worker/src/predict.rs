//! Segments images and frames of videos with a finished model and paints the result.

use std::io::Write;
use std::path::{Path, PathBuf};

use tch::Device;
use ulda_dataset::palette::{overlay, write_coloured, write_label_ids};
use ulda_dataset::{
    Image, ImagePixels, LabelMap, PicturesError, SampleError, WriteError, list_pictures, normalise,
    read_image, write_grey, write_rgb,
};
use ulda_model::{Backbone, Head, SegmentationModel, Weights, WeightsError};
use ulda_run::Classes;

use crate::ffmpeg::VideoError;
use crate::model_classes::{ModelClassesError, classes_of};
use crate::stages::{Normaliser, Predictor, StageError, prediction_within_memory};
use crate::tiles::{cut, paste, tiles};
use crate::video::{VideoFrames, is_video_name, write_overlays};

/// Share of the class colour in an overlay.
const OVERLAY_OPACITY: f32 = 0.5;

#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Classes(#[from] ModelClassesError),
    #[error(transparent)]
    Pictures(#[from] PicturesError),
    #[error("no PNG or JPEG image below {0}")]
    NoImages(String),
    #[error("create `{}`", path.display())]
    Create {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{}` and `{}` would both be written as `{name}`", first.display(), second.display())]
    SameName {
        name: String,
        first: PathBuf,
        second: PathBuf,
    },
    #[error(transparent)]
    Sample(#[from] SampleError),
    #[error(transparent)]
    Video(#[from] VideoError),
    #[error(transparent)]
    Picture(#[from] WriteError),
    #[error(transparent)]
    Device(#[from] crate::device::DeviceRefusal),
    #[error(transparent)]
    Torch(#[from] ulda_torch::TorchError),
    #[error(transparent)]
    Stage(#[from] StageError),
}

impl PredictError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoImages(_) => "give PNG or JPEG images, folders that hold some, or videos",
            Self::SameName { .. } => "predict them into different folders",
            Self::Weights(error) => return error.hint(),
            Self::Classes(error) => return error.hint(),
            Self::Pictures(error) => return error.hint(),
            Self::Sample(error) => return error.hint(),
            Self::Video(error) => return error.hint(),
            Self::Device(error) => return error.hint(),
            Self::Stage(error) => return error.hint(),
            Self::Create { .. } | Self::Picture(_) | Self::Torch(_) => return None,
        };
        Some(hint.to_owned())
    }
}

/// Whether predictions have a confidence map: the probability of the predicted class in each pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    LeftOut,
    Written,
}

/// What predictions are made of an input.
#[derive(Clone, Copy, Debug)]
pub struct PredictionOptions {
    /// Side of the square, pixels, that each image is resized and cropped to (`--crop_val` of the published `predict.py`).
    pub crop: Option<u32>,
    pub confidence: Confidence,
    /// Whether the overlays of a video become a video too.
    pub overlay_video: bool,
}

/// A whole segmentation model, as finished runs and published source checkpoints hold it.
pub struct Model {
    device: Device,
    backbone: Backbone,
    head: Head,
    normaliser: Normaliser,
    classes: Classes,
}

impl Model {
    /// # Errors
    /// When the file is no segmentation model (`backbone.*` and `classifier.*`).
    pub fn read(path: &Path, device: Device) -> Result<Self, PredictError> {
        let weights = Weights::read(path)?;
        let SegmentationModel { backbone, head } = SegmentationModel::load(&weights)?;
        let classes = classes_of(&weights, &head)?;
        let placed = prediction_within_memory(device, "the model goes there as a whole", || {
            let normaliser = Normaliser::new(device)?;
            Ok((backbone.to_device(device), head.to_device(device), normaliser))
        });
        let (backbone, head, normaliser) = placed?;
        Ok(Self {
            device,
            backbone,
            head,
            classes,
            normaliser,
        })
    }

    /// Writes `classes.json`, the names and colours of the classes, into `out`; nothing for those of Cityscapes.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_classes(&self, out: &Path) -> Result<(), PredictError> {
        if self.classes.is_cityscapes() {
            return Ok(());
        }
        let path = out.join("classes.json");
        let text = serde_json::to_string_pretty(&self.classes).expect("texts have a JSON form");
        let written = ulda_files::create_file(&path).and_then(|mut file| writeln!(file, "{text}"));
        written.map_err(|source| PredictError::Create { path, source })
    }

    /// Writes `<name>_color.png`, `<name>_labelIds.png`, `<name>_overlay.png` and, if wanted, `<name>_confidence.png` into
    /// `out`. Of a video, those of each frame go into the folder `<name>`, named by their number from 1, and if wanted, the
    /// overlays make `<name>_overlay.mp4`.
    ///
    /// # Errors
    /// When the image is unreadable or the disk refuses; for a video, also when there is no ffmpeg.
    pub fn predict(&self, input: &Path, out: &Path, options: PredictionOptions) -> Result<(), PredictError> {
        let (name, confidence) = (stem(input), options.confidence);
        let cropped = |picture: Image| match options.crop {
            Some(side) => picture.resized_and_cropped(side),
            None => picture,
        };
        if !is_video_name(input) {
            return self.write(&cropped(read_image(input)?), out, &name, confidence);
        }
        let mut frames = VideoFrames::open(input)?;
        let folder = out.join(&name);
        std::fs::create_dir_all(&folder).map_err(|source| PredictError::Create {
            path: folder.clone(),
            source,
        })?;
        let mut count = 0;
        while let Some(frame) = frames.next_frame()? {
            count += 1;
            self.write(&cropped(frame), &folder, &format!("{count:06}"), confidence)?;
        }
        if options.overlay_video {
            write_overlays(input, &folder, count, &out.join(format!("{name}_overlay.mp4")))?;
        }
        Ok(())
    }

    fn write(
        &self,
        picture: &Image,
        out: &Path,
        name: &str,
        confidence: Confidence,
    ) -> Result<(), PredictError> {
        let (predicted, confidences) = self.segment(picture, confidence)?;
        let (classes, file) = (&self.classes, |what: &str| out.join(format!("{name}_{what}.png")));
        write_coloured(&file("color"), &predicted, classes)?;
        write_label_ids(&file("labelIds"), &predicted, classes)?;
        if confidence == Confidence::Written {
            write_grey(&file("confidence"), picture.size, &confidences)?;
        }
        write_rgb(
            &file("overlay"),
            &overlay(picture, &predicted, classes, OVERLAY_OPACITY)?,
        )?;
        Ok(())
    }

    /// The classes of all pixels, tile by tile; and their confidence if it is wanted, else nothing.
    fn segment(&self, picture: &Image, confidence: Confidence) -> Result<(LabelMap, Vec<u8>), PredictError> {
        let (size, pixels) = (picture.size, picture.size.pixels());
        let mut ids = vec![0; pixels];
        let wanted = confidence == Confidence::Written;
        let mut confidences = vec![0; if wanted { pixels } else { 0 }];
        for tile in tiles(size) {
            let part = cut(picture, tile.seen);
            let pixels = ImagePixels::Normalised(normalise(&part));
            let needed = format!(
                "the network sees [1, 3, {}, {}]",
                part.size.height, part.size.width
            );
            let predicted = prediction_within_memory(self.device, &needed, || {
                let predictor = Predictor::new(&self.backbone, &pixels, part.size, &self.normaliser)?;
                match confidence {
                    Confidence::Written => predictor.classes_and_confidence(&self.head),
                    Confidence::LeftOut => {
                        let seen = predictor.label_map(&predictor.classes(&self.head)?)?;
                        Ok((seen, Vec::new()))
                    }
                }
            });
            let (seen, of_part) = predicted?;
            if wanted {
                paste(&mut confidences, size, tile, &of_part, part.size);
            }
            paste(&mut ids, size, tile, &seen.ids, part.size);
        }
        Ok((LabelMap { size, ids }, confidences))
    }
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

/// The files that `inputs` name: files as they are, folders with all PNG and JPEG files below them, in order.
///
/// # Errors
/// When an input does not exist, nothing is found, or two images would have the same output names.
pub fn collect_images(inputs: &[PathBuf]) -> Result<Vec<PathBuf>, PredictError> {
    let mut images = Vec::new();
    for input in inputs {
        images.extend(list_pictures(input)?.into_iter().map(|picture| picture.path));
    }
    if images.is_empty() {
        let listed: Vec<String> = inputs
            .iter()
            .map(|input| format!("`{}`", input.display()))
            .collect();
        return Err(PredictError::NoImages(listed.join(", ")));
    }
    let mut named = std::collections::BTreeMap::new();
    for image in &images {
        if let Some(first) = named.insert(stem(image), image.clone()) {
            return Err(PredictError::SameName {
                name: stem(image),
                first,
                second: image.clone(),
            });
        }
    }
    Ok(images)
}
