//! The classes of a run as a run.toml writes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::classes::CITYSCAPES;

/// What the run tells apart. Its source and all its evaluation sets have these classes, or are mapped to them by
/// files.label_values. Left out: the 19 classes of Cityscapes.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClassesConfig {
    /// Names in the order of their train ids, 2 to 255, each of 1 to 64 letters; prompts are made from them. Left out: the 19
    /// of Cityscapes. With other names, data sets have layout = "files", and their labels train ids, colours or label_values.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = example_names())]
    pub names: Option<Vec<String>>,
    /// Colours in pictures, and in labels with label_encoding = "colours", one for each class in order. Left out: those of
    /// Cityscapes for its names, generated ones for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = example_colours())]
    pub colours: Option<Vec<String>>,
}

fn example_names() -> [&'static str; 3] {
    ["sky", "water", "shore"]
}

fn example_colours() -> [&'static str; 3] {
    ["#4682b4", "#003c64", "#6b8e23"]
}

impl ClassesConfig {
    /// Number of classes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.names.as_ref().map_or(CITYSCAPES.len(), Vec::len)
    }

    /// Whether nothing is set.
    #[must_use]
    pub fn is_unset(&self) -> bool {
        *self == Self::default()
    }
}
