//! How the domains' sentences become texts for CLIP.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is done to every prompt before CLIP encodes it.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextSettings {
    /// Sentences that every prompt is put into, at {}; a prompt's embedding is the mean over them. Or a list of one's own,
    /// such as ["{}."].
    pub templates: Templates,
}

/// Sentences with `{}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Templates {
    Published(TemplateSet),
    Own(Vec<String>),
}

impl Default for Templates {
    fn default() -> Self {
        Self::Published(TemplateSet::Ulda)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TemplateSet {
    /// The 44 of ULDA.
    Ulda,
    /// CLIP's 80 for ImageNet, which PODA uses.
    Imagenet,
}

/// The sentences that stand for one domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Prompts {
    One(String),
    Several(Vec<String>),
}

impl Prompts {
    #[must_use]
    pub fn all(&self) -> Vec<&str> {
        match self {
            Self::One(prompt) => vec![prompt],
            Self::Several(prompts) => prompts.iter().map(String::as_str).collect(),
        }
    }
}

impl From<&str> for Prompts {
    fn from(prompt: &str) -> Self {
        Self::One(prompt.to_owned())
    }
}

impl fmt::Display for Prompts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.all().join(" / "))
    }
}
