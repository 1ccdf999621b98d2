//! What all domains of a round share: the low-level feature, its statistics, the labels and the texts.

use tch::{Kind, Tensor, no_grad};
use ulda_model::{Backbone, TextBank};
use ulda_torch::runtime::ExactProducts;

use super::LossWeights;
use crate::error::{Result, expect_shape};
use crate::losses::{ClassMap, CrossTarget, segmentation::valid_pixels};
use crate::stats::Stats;

/// A batch of source images, ready for its rounds.
#[derive(Debug)]
pub struct RoundBatch {
    /// Labels [B, H, W], int64.
    pub(super) labels: Tensor,
    /// Labelled pixels of the batch.
    pub(super) valid_pixels: i64,
    /// Statistics of the low-level feature f.
    pub(super) content: Stats,
    /// (f − μ(f)) / σ(f), [B, C₁, h, w].
    pub(super) content_norm: Tensor,
    /// One per image.
    pub(super) images: Vec<ImageTexts>,
    /// Scene texts [D, E].
    pub(super) scene: Tensor,
    /// Number of domains D of the run.
    pub(super) domains: usize,
}

/// Classes of one image and the texts for them.
#[derive(Debug)]
pub(super) struct ImageTexts {
    pub map: ClassMap,
    /// Region texts of the classes present [D, K, E].
    pub texts: Tensor,
    /// What the prototypes of all domains should look like; only when L_cross is weighted.
    pub cross: Option<CrossTarget>,
}

impl RoundBatch {
    /// Runs `images` [B, 3, H, W] (normalised as CLIP's) up to the low-level feature and looks up the texts for the
    /// classes in `labels` [B, H, W] (train ids, 255 ignored, any integer kind).
    ///
    /// An image without labelled pixels has no classes: its region, pixel, intra and cross terms are 0.
    ///
    /// # Errors
    /// When images, labels and texts do not fit together or a label is no train id.
    pub fn prepare(
        clip: &Backbone,
        images: &Tensor,
        labels: &Tensor,
        texts: &TextBank,
        weights: &LossWeights,
    ) -> Result<RoundBatch> {
        expect_shape("images", images, &[-1, 3, -1, -1])?;
        let size = images.size();
        expect_shape("labels", labels, &[size[0], size[2], size[3]])?;
        let (domains, embedding) = texts.scene.size2()?;
        expect_shape("region texts", &texts.region, &[domains, -1, embedding])?;
        let classes = texts.region.size()[1];
        no_grad(|| {
            let feature = clip.stem_and_layer1(images);
            // What follows is compared with nearly equal numbers.
            let _exact = ExactProducts::enter()?;
            let (count, _, height, width) = feature.size4()?;
            let content = Stats::of(&feature)?;
            let content_norm = content.normalise(&feature)?;
            let labels = labels.f_to_kind(Kind::Int64)?;
            let mut per_image = Vec::with_capacity(count as usize);
            for image in 0..count {
                let map = ClassMap::of(&labels.f_get(image)?, height, width, classes, feature.kind())?;
                let texts = texts.region.f_index_select(1, &map.index)?;
                let cross = match weights.cross != 0.0 && map.count() > 0 {
                    true => Some(CrossTarget::new(&texts)?),
                    false => None,
                };
                per_image.push(ImageTexts { map, texts, cross });
            }
            Ok(RoundBatch {
                valid_pixels: valid_pixels(&labels)?,
                labels,
                content,
                content_norm,
                images: per_image,
                scene: texts.scene.shallow_clone(),
                domains: domains as usize,
            })
        })
    }

    /// Number of images B.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether the batch has no image.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Statistics of the low-level feature: the published start of every style.
    pub fn content(&self) -> &Stats {
        &self.content
    }

    /// Classes of each image at the feature's resolution, ascending.
    pub fn classes(&self) -> Vec<&[i64]> {
        self.images
            .iter()
            .map(|image| image.map.classes.as_slice())
            .collect()
    }
}
