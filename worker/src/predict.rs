//! Segments images with a finished model and paints the result.

use std::path::{Path, PathBuf};

use tch::Device;
use ulda_dataset::palette::{overlay, write_coloured, write_label_ids};
use ulda_dataset::{
    ImagePixels, PicturesError, SampleError, WriteError, list_pictures, normalise, read_image, write_rgb,
};
use ulda_model::{Backbone, Head, Weights, WeightsError};

use crate::stages::{Normaliser, Predictor, StageError};

/// Share of the class colour in an overlay.
const OVERLAY_OPACITY: f32 = 0.5;

#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    #[error(transparent)]
    Weights(#[from] WeightsError),
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
            Self::NoImages(_) => "give PNG or JPEG images, or folders that hold some",
            Self::SameName { .. } => "predict them into different folders",
            Self::Weights(error) => return error.hint(),
            Self::Pictures(error) => return error.hint(),
            Self::Sample(error) => return error.hint(),
            Self::Device(error) => return error.hint(),
            Self::Stage(error) => return error.hint(),
            Self::Create { .. } | Self::Picture(_) | Self::Torch(_) => return None,
        };
        Some(hint.to_owned())
    }
}

/// A whole segmentation model, as finished runs and published source checkpoints hold it.
pub struct Model {
    backbone: Backbone,
    head: Head,
    normaliser: Normaliser,
}

impl Model {
    /// # Errors
    /// When the file is no segmentation model (`backbone.*` and `classifier.*`).
    pub fn read(path: &Path, device: Device) -> Result<Self, PredictError> {
        let weights = Weights::read(path)?;
        let backbone = Backbone::load(&weights)?.to_device(device);
        let head = Head::load(&weights)?.to_device(device);
        Ok(Self {
            backbone,
            head,
            normaliser: Normaliser::new(device)?,
        })
    }

    /// Writes `<name>_color.png`, `<name>_labelIds.png` and `<name>_overlay.png` into `out`.
    ///
    /// # Errors
    /// When the image is unreadable or the disk refuses.
    pub fn predict(&self, image: &Path, out: &Path) -> Result<(), PredictError> {
        let picture = read_image(image)?;
        let pixels = ImagePixels::Normalised(normalise(&picture));
        let predictor = Predictor::new(&self.backbone, &pixels, picture.size, &self.normaliser)?;
        let classes = predictor.label_map(&predictor.classes(&self.head)?)?;
        let name = stem(image);
        write_coloured(&out.join(format!("{name}_color.png")), &classes)?;
        write_label_ids(&out.join(format!("{name}_labelIds.png")), &classes)?;
        write_rgb(
            &out.join(format!("{name}_overlay.png")),
            &overlay(&picture, &classes, OVERLAY_OPACITY)?,
        )?;
        Ok(())
    }
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

/// The PNG and JPEG files that `inputs` name: files as they are, folders with all below them, in order.
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
