//! Where the styles come from that adapt draws.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::variant_names;

/// Stands for a domain's name in the path of simulate.bank.
pub const DOMAIN_IN_BANK: &str = "{domain}";

/// Whether the path of simulate.bank names a folder per domain.
#[must_use]
pub fn names_each_domain(bank: &Path) -> bool {
    bank.to_string_lossy().contains(DOMAIN_IN_BANK)
}

/// Source of the style bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StyleSource {
    /// From the domains' sentences, as published.
    #[default]
    Learned,
    /// The statistics of the source crops themselves, for every domain: a control.
    Content,
    /// One style from each of the images that the domains name.
    Images,
    /// What the key bank names; the stage is then skipped.
    Bank,
}

/// Which styles the images of an adapt step get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StyleDraw {
    /// Any of the bank's, no two images of a step the same, as ULDA does.
    #[default]
    Different,
    /// Any of the bank's, as PODA does.
    Any,
    /// One that was made from the image itself, of any domain. All training images need styles.
    Own,
}

// As run.toml writes them.
variant_names!(StyleSource { Learned = "learned", Content = "content", Images = "images", Bank = "bank" });

impl StyleSource {
    /// Whether styles are made from batches of source crops.
    #[must_use]
    pub fn reads_source(self) -> bool {
        match self {
            Self::Learned | Self::Content => true,
            Self::Images | Self::Bank => false,
        }
    }
}
