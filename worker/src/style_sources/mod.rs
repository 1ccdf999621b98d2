//! Styles that a run is given instead of learning them: images that its domains name, and a finished style bank.

mod given;

use std::path::PathBuf;

use ulda_dataset::{PicturesError, list_pictures};
use ulda_method::stylebank::{BankDomain, BankHeader};
use ulda_model::Backbone;
use ulda_run::spec::RunConfig;

pub use given::{given_bank, read_bank};

/// An image whose statistics are a style.
#[derive(Clone, Debug)]
pub struct StyleImage {
    /// Index of the domain that names it.
    pub domain: usize,
    /// Its name in the style bank: the index of the entry of `images`, and its place below that entry.
    pub name: String,
    pub path: PathBuf,
}

impl StyleImage {
    /// Lists the images of every domain, in order of domain and entry.
    ///
    /// # Errors
    /// When an entry does not exist or cannot be read, with its key.
    pub fn list(config: &RunConfig) -> Result<Vec<Self>, (String, PicturesError)> {
        let mut images = Vec::new();
        if !config.needs_styles() {
            return Ok(images);
        }
        for (domain, named) in config.domains.iter().enumerate() {
            for (index, entry) in named.images.iter().enumerate() {
                let refused = |error| (format!("domain[{domain}].images[{index}]"), error);
                let pictures = list_pictures(entry).map_err(refused)?;
                if pictures.is_empty() {
                    return Err(refused(PicturesError::Empty(entry.clone())));
                }
                images.extend(pictures.into_iter().map(|picture| Self {
                    domain,
                    name: format!("{index}/{}", picture.name),
                    path: picture.path,
                }));
            }
        }
        Ok(images)
    }
}

/// Fewer styles than a step of adapt draws different ones.
#[derive(Debug, thiserror::Error)]
#[error(
    "{source_of_styles} gives {styles} styles, and adapt.batch asks for {needed} different ones per step"
)]
pub struct TooFewStyles {
    /// A key of run.toml, or the bank that simulate made.
    source_of_styles: &'static str,
    styles: usize,
    needed: usize,
}

impl TooFewStyles {
    /// What a person can do about it.
    pub const HINT: &str = "lower adapt.batch or give more styles";

    /// # Errors
    /// When `styles` are fewer than a step of adapt needs.
    pub fn check(config: &RunConfig, source_of_styles: &'static str, styles: usize) -> Result<(), Self> {
        let needed = config.least_styles();
        match styles < needed {
            true => Err(Self {
                source_of_styles,
                styles,
                needed,
            }),
            false => Ok(()),
        }
    }
}

/// What the bank of a run is made with.
#[must_use]
pub fn bank_header(config: &RunConfig, clip: &Backbone) -> BankHeader {
    BankHeader {
        backbone: clip.digest().to_owned(),
        channels: clip.config().low_channels() as usize,
        domains: config
            .domains
            .iter()
            .map(|domain| BankDomain {
                name: domain.name.to_string(),
                prompt: domain.prompt.to_string(),
            })
            .collect(),
    }
}
