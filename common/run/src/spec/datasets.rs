//! Folders of images: those to train on, those to score the models on, and which of their images count.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::files::FilesConfig;
use super::path_name::PathName;
use crate::classes::Classes;

/// Size that ACDC's fog images must have to be counted (METHOD.md, Evaluation).
pub const PUBLISHED_FOG_SIZE: [u32; 2] = [1920, 1080];
/// Centre crop of GTA5 in evaluation.
pub const PUBLISHED_GTA5_CROP: [u32; 2] = [1914, 1046];

/// How files are arranged below the root of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `leftImg8bit/<split>/<city>/*_leftImg8bit.png`, `gtFine/<split>/<city>/*_gtFine_labelIds.png`.
    #[default]
    Cityscapes,
    /// `images/*.png`, `labels/*.png`, and a list file that names the images of a split in order.
    Gta5,
    /// `rgb_anon/<condition>/<split>/<sequence>/*_rgb_anon.png`, `gt/<same>/*_gt_labelIds.png`.
    Acdc,
    /// Any other arrangement: the section `files` of the data set says where its images and labels are.
    Files,
}

/// The labelled images to train on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// How its files are arranged: cityscapes, gta5 or files.
    pub layout: Layout,
    /// A folder, or a URL of a prefix or of a .tar, .tar.gz or .zip, which each host fetches once.
    #[schemars(extend("format" = "path"), example = &"data/cityscapes")]
    pub root: PathBuf,
    /// Split folder (cityscapes), list file below root (gta5), or what `{split}` stands for (files), to train on.
    pub train: String,
    /// The same to validate on.
    pub validation: String,
    /// Width and height of the centre crop of validation images, pixels. Left out: none; [1914, 1046] for gta5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(inner(range(min = 1)), example = PUBLISHED_GTA5_CROP)]
    pub centre_crop: Option<[u32; 2]>,
    #[serde(skip_serializing_if = "FilesConfig::is_unset")]
    pub files: FilesConfig,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            layout: Layout::Cityscapes,
            root: PathBuf::new(),
            train: "train".into(),
            validation: "val".into(),
            centre_crop: None,
            files: FilesConfig::default(),
        }
    }
}

/// Labelled images that the finished models are scored on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluationSetConfig {
    /// Also the name of the folder of its example pictures.
    pub name: PathName,
    /// How its files are arranged.
    pub layout: Layout,
    /// A folder or a URL, as source.root.
    #[schemars(extend("format" = "path"))]
    pub root: PathBuf,
    /// Split folder (cityscapes, acdc), list file below root (gta5), or what `{split}` stands for (files).
    #[serde(default = "validation_split")]
    pub split: String,
    /// fog, night, rain or snow (acdc only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"night")]
    pub condition: Option<String>,
    /// Images of any other width and height are left out, pixels. Left out: all count; [1920, 1080] for acdc's fog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(inner(range(min = 1)), example = PUBLISHED_FOG_SIZE)]
    pub only_size: Option<[u32; 2]>,
    /// Width and height of a crop around the centre, pixels. Left out: none; [1914, 1046] for gta5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(inner(range(min = 1)), example = PUBLISHED_GTA5_CROP)]
    pub centre_crop: Option<[u32; 2]>,
    #[serde(default, skip_serializing_if = "FilesConfig::is_unset")]
    pub files: FilesConfig,
}

fn validation_split() -> String {
    "val".into()
}

/// One folder of images with what decides which of them count, and how they are framed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetConfig {
    pub layout: Layout,
    /// Folder that holds the data set.
    pub root: PathBuf,
    /// Name of the split; for GTA5 the list file: an absolute path, or a path below the root, where `val` also finds
    /// `val.txt` and `val_list.txt`.
    pub split: String,
    /// `fog`, `night`, `rain` or `snow`; for ACDC only.
    pub condition: Option<String>,
    /// Width and height. Leaves out images of any other size; the published evaluation does so for ACDC's fog, with
    /// 1920x1080.
    pub only_size: Option<[u32; 2]>,
    /// Width and height. Takes the centre of each image, padded where it is smaller; the published evaluation does so for
    /// GTA5, with 1914x1046.
    pub centre_crop: Option<[u32; 2]>,
    /// Where images and labels are; for [`Layout::Files`] only.
    #[serde(default, skip_serializing_if = "FilesConfig::is_unset")]
    pub files: FilesConfig,
    /// What its labels tell apart.
    #[serde(skip)]
    pub classes: Classes,
}

impl SourceConfig {
    /// Training images: whole, for random crops.
    #[must_use]
    pub fn training_set(&self, classes: &Classes) -> DatasetConfig {
        DatasetConfig {
            layout: self.layout,
            root: self.root.clone(),
            split: self.train.clone(),
            condition: None,
            only_size: None,
            centre_crop: None,
            files: self.files.clone(),
            classes: classes.clone(),
        }
    }

    /// Whether an evaluation set is of the source's own images: same layout, root and pattern. All others are targets.
    #[must_use]
    pub fn holds(&self, set: &EvaluationSetConfig) -> bool {
        (self.layout, &self.root, &self.files.images) == (set.layout, &set.root, &set.files.images)
    }

    /// Validation images, cropped as evaluation crops them.
    #[must_use]
    pub fn validation_set(&self, classes: &Classes) -> DatasetConfig {
        let centre_crop = match self.layout {
            Layout::Gta5 => self.centre_crop.or(Some(PUBLISHED_GTA5_CROP)),
            Layout::Cityscapes | Layout::Acdc | Layout::Files => self.centre_crop,
        };
        DatasetConfig {
            split: self.validation.clone(),
            centre_crop,
            ..self.training_set(classes)
        }
    }
}

impl EvaluationSetConfig {
    #[must_use]
    pub fn dataset(&self, classes: &Classes) -> DatasetConfig {
        let fog = self.layout == Layout::Acdc && self.condition.as_deref() == Some("fog");
        DatasetConfig {
            layout: self.layout,
            root: self.root.clone(),
            split: self.split.clone(),
            condition: self.condition.clone(),
            only_size: if fog {
                self.only_size.or(Some(PUBLISHED_FOG_SIZE))
            } else {
                self.only_size
            },
            centre_crop: match self.layout {
                Layout::Gta5 => self.centre_crop.or(Some(PUBLISHED_GTA5_CROP)),
                Layout::Cityscapes | Layout::Acdc | Layout::Files => self.centre_crop,
            },
            files: self.files.clone(),
            classes: classes.clone(),
        }
    }
}
