//! Where the styles come from that adapt draws.

use serde::{Deserialize, Serialize};

/// Source of the style bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StyleSource {
    /// Stage 1 as published: what the domains' sentences describe.
    #[default]
    Learned,
    /// The statistics of the source crops themselves, for every domain: a control.
    Content,
    /// The statistics of the images that each domain names.
    Images,
    /// The file `simulate.bank`; the stage is then skipped.
    Bank,
}

impl StyleSource {
    /// As run.toml writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Learned => "learned",
            Self::Content => "content",
            Self::Images => "images",
            Self::Bank => "bank",
        }
    }

    /// Whether styles are made from batches of source crops.
    #[must_use]
    pub fn reads_source(self) -> bool {
        match self {
            Self::Learned | Self::Content => true,
            Self::Images | Self::Bank => false,
        }
    }
}
