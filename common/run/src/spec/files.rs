//! Data sets in an arrangement of one's own: where images and labels are, how they pair up, and what the labels hold.
//!
//! A pattern is parsed here alone, so that the rules of a run.toml and the listing of files read it alike.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::path_pattern::PathPattern;
use crate::classes::Classes;

/// Train id of pixels that neither train nor score.
const IGNORED: u8 = 255;
/// How the name of a list file ends.
const LIST: &str = ".txt";
/// Stands for the split in patterns and names of list files.
const SPLIT: &str = "{split}";
/// Stands in `label_values` for all values that it does not list.
const OTHER: &str = "other";

/// For layout = "files" only: where its images and labels are, and what the labels hold. docs/data.md has this section for
/// common data sets.
///
/// `images` and `labels` are patterns of paths below root. `*` stands for any part of a name, `**/` for any folders or none,
/// `{split}` for the split; no wildcard matches a name that begins with a dot. The label of an image is `labels` with what the
/// wildcards of `images` matched, filled in in order; the last ones may be left out.
///
/// Or both are list files, which end in .txt and name one path below root per line. The nth label belongs to the nth image.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FilesConfig {
    /// Pattern or list file of the images, PNG or JPEG.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"images/10k/{split}/*.jpg")]
    pub images: Option<String>,
    /// Pattern or list file of the labels, PNG.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"labels/sem_seg/masks/{split}/*.png")]
    pub labels: Option<String>,
    /// What the pixels of labels are, unless label_values says it.
    pub label_encoding: LabelEncoding,
    /// Train id of a class, or 255 for ignored pixels, of each id (`7 = 0`) or of each colour (`"#804080" = 0`) in the labels.
    /// `other` stands for all that are not listed; without it they are errors.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(example = example_values())]
    pub label_values: BTreeMap<String, u8>,
}

fn example_values() -> BTreeMap<String, u8> {
    [("7", 0), ("8", 1), (OTHER, IGNORED)]
        .map(|(value, train_id)| (value.to_owned(), train_id))
        .into()
}

/// What the pixels of label files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LabelEncoding {
    /// Label ids of Cityscapes, 0 to 34.
    #[default]
    LabelIds,
    /// Train ids: the places of the classes from 0, and 255 for ignored pixels.
    TrainIds,
    /// Colours of the classes. Those of Cityscapes' other labels are ignored with its palette, black with any other.
    Colours,
}

/// A value of label files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LabelValue {
    Id(u8),
    /// Red, green, blue.
    Colour([u8; 3]),
    /// Every value that is not listed.
    Other,
}

/// How images find their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pairing {
    Patterns {
        images: PathPattern,
        labels: PathPattern,
    },
    /// Names of list files below the root.
    Lists { images: String, labels: String },
}

/// What is wrong with a key of `files`, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`files.{key}` {what}")]
pub struct FilesProblem {
    pub key: &'static str,
    pub what: String,
    pub hint: Cow<'static, str>,
}

impl FilesProblem {
    fn new(key: &'static str, what: impl Into<String>, hint: impl Into<Cow<'static, str>>) -> Self {
        let (what, hint) = (what.into(), hint.into());
        Self { key, what, hint }
    }
}

impl FilesConfig {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_unset(&self) -> bool {
        *self == Self::default()
    }

    /// Whether another split may have other images.
    #[must_use]
    pub fn depends_on_split(&self) -> bool {
        self.images.as_ref().is_some_and(|images| images.contains(SPLIT))
    }

    /// Where images and labels of a split are.
    ///
    /// # Errors
    /// When a key is not set, a pattern is none, or the two do not go together.
    pub fn pairing(&self, split: &str) -> Result<Pairing, FilesProblem> {
        let read = |key, text: &Option<String>| {
            let text = text.as_deref().unwrap_or_default();
            match text.is_empty() {
                true => Err(FilesProblem::new(
                    key,
                    "is not set",
                    "give a pattern such as \"images/{split}/*.jpg\", or a list file",
                )),
                false => Ok(text.replace(SPLIT, split)),
            }
        };
        let (images, labels) = (read("images", &self.images)?, read("labels", &self.labels)?);
        match (images.ends_with(LIST), labels.ends_with(LIST)) {
            (true, true) => Ok(Pairing::Lists { images, labels }),
            (false, false) => Self::patterns(&images, &labels),
            (true, false) | (false, true) => Err(FilesProblem::new(
                "labels",
                "and `files.images` are a list file and a pattern",
                "make both list files (.txt) or both patterns",
            )),
        }
    }

    fn patterns(images: &str, labels: &str) -> Result<Pairing, FilesProblem> {
        let parse = |key, text: &str| {
            PathPattern::parse(text).map_err(|wrong| {
                FilesProblem::new(key, format!("is `{text}`, and {}", wrong.what), wrong.hint)
            })
        };
        let (images, labels) = (parse("images", images)?, parse("labels", labels)?);
        if images.wildcards().is_empty() {
            return Err(FilesProblem::new(
                "images",
                "has no wildcard and names one file",
                "write * for the part of the path that differs between images",
            ));
        }
        if labels.wildcards().is_empty() || !images.wildcards().starts_with(&labels.wildcards()) {
            return Err(FilesProblem::new(
                "labels",
                "has other wildcards than `files.images`",
                "write the wildcards of `images` in the same order; only the last ones may be left out",
            ));
        }
        Ok(Pairing::Patterns { images, labels })
    }

    /// The values of labels that `label_values` lists, with their train ids.
    ///
    /// # Errors
    /// When one is neither an id nor a colour, has no such train id, or ids and colours are mixed.
    pub fn values(&self, classes: &Classes) -> Result<Vec<(LabelValue, u8)>, FilesProblem> {
        let wrong = |what: String, hint: &str| FilesProblem::new("label_values", what, hint.to_owned());
        if !self.label_values.is_empty() && self.label_encoding != LabelEncoding::default() {
            return Err(wrong(
                "is set, and `files.label_encoding` too".into(),
                "remove one of them",
            ));
        }
        let mut values = Vec::with_capacity(self.label_values.len());
        for (text, &train_id) in &self.label_values {
            let Some(value) = LabelValue::parse(text) else {
                return Err(wrong(
                    format!("lists `{text}`"),
                    "list ids of 0 to 255, colours such as \"#804080\", or `other`",
                ));
            };
            if classes.get(train_id).is_none() && train_id != IGNORED {
                let what = format!("gives `{text}` the train id {train_id}");
                return Err(wrong(what, &train_id_rule(classes)));
            }
            values.push((value, train_id));
        }
        let kinds: BTreeSet<bool> = values
            .iter()
            .filter(|(value, _)| *value != LabelValue::Other)
            .map(|(value, _)| matches!(value, LabelValue::Colour(_)))
            .collect();
        match (values.is_empty(), kinds.len()) {
            (true, _) | (false, 1) => Ok(values),
            (false, 0) => Err(wrong("lists `other` alone".into(), "list ids or colours as well")),
            (false, _) => Err(wrong(
                "lists both ids and colours".into(),
                "label files hold either: list only those",
            )),
        }
    }
}

impl LabelValue {
    fn parse(text: &str) -> Option<Self> {
        if text == OTHER {
            return Some(Self::Other);
        }
        match text.starts_with('#') {
            true => parse_colour(text).map(Self::Colour),
            false => text.parse().ok().map(Self::Id),
        }
    }
}

/// Red, green and blue of a text such as `#804080`.
#[must_use]
pub fn parse_colour(text: &str) -> Option<[u8; 3]> {
    let digits = text.strip_prefix('#')?;
    let is_hexadecimal = digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let channel = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
    is_hexadecimal.then_some(())?;
    Some([channel(0)?, channel(2)?, channel(4)?])
}

/// Which train ids there are, for a message.
#[must_use]
pub fn train_id_rule(classes: &Classes) -> String {
    format!(
        "train ids are 0 to {}, and 255 for ignored pixels",
        classes.len() - 1
    )
}

/// Whether the name of a file is one of a PNG or JPEG image.
#[must_use]
pub fn is_image_name(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    ["png", "jpg", "jpeg"]
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(images: &str, labels: &str) -> FilesConfig {
        FilesConfig {
            images: Some(images.to_owned()),
            labels: Some(labels.to_owned()),
            ..FilesConfig::default()
        }
    }

    #[test]
    fn a_pairing_is_of_two_patterns_with_the_same_wildcards_or_of_two_lists() {
        let pairing = |images, labels| files(images, labels).pairing("val");
        assert_eq!(
            pairing("{split}_rgb.txt", "{split}_gt.txt").unwrap(),
            Pairing::Lists {
                images: "val_rgb.txt".into(),
                labels: "val_gt.txt".into()
            }
        );
        for (images, labels) in [("a/{split}/*.jpg", "b/*.png"), ("**/*_rgb.*", "**/*_gt.png")] {
            assert!(pairing(images, labels).is_ok(), "{images} {labels}");
        }
        for (images, labels, key, what) in [
            ("", "b/*.png", "images", "is not set"),
            ("a/*.jpg", "", "labels", "is not set"),
            ("a/*.jpg", "b.txt", "labels", "a list file and a pattern"),
            ("a/b.jpg", "b/*.png", "images", "has no wildcard"),
            ("a/*.jpg", "b/c.png", "labels", "other wildcards"),
            ("a/*.jpg", "b/*/*.png", "labels", "other wildcards"),
            ("**/*.jpg", "*/*.png", "labels", "other wildcards"),
            ("/a/*.jpg", "b/*.png", "images", "is `/a/*.jpg`, and"),
        ] {
            let problem = pairing(images, labels).unwrap_err();
            assert_eq!(problem.key, key, "{problem}");
            assert!(problem.what.contains(what), "{problem}");
        }
    }

    #[test]
    fn label_values_are_ids_or_colours_with_train_ids() {
        let values = |listed: &[(&str, u8)]| {
            let label_values = listed.iter().map(|(value, id)| ((*value).to_owned(), *id));
            FilesConfig {
                label_values: label_values.collect(),
                ..FilesConfig::default()
            }
            .values(&Classes::default())
        };
        assert_eq!(values(&[]).unwrap(), []);
        assert_eq!(
            values(&[("13", 0), ("other", 255)]).unwrap(),
            [(LabelValue::Id(13), 0), (LabelValue::Other, 255)]
        );
        assert_eq!(
            values(&[("#80a0ff", 18)]).unwrap(),
            [(LabelValue::Colour([0x80, 0xa0, 0xff]), 18)]
        );
        for (listed, what) in [
            (&[("road", 0)][..], "lists `road`"),
            (&[("256", 0)], "lists `256`"),
            (&[("#80a0f", 0)], "lists `#80a0f`"),
            (&[("#80a0+f", 0)], "lists `#80a0+f`"),
            (&[("7", 19)], "gives `7` the train id 19"),
            (&[("7", 0), ("#000000", 255)], "both ids and colours"),
            (&[("other", 255)], "`other` alone"),
        ] {
            let problem = values(listed).unwrap_err();
            assert!(problem.what.contains(what), "{problem}");
        }
    }
}
