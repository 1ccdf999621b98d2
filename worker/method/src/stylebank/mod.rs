//! The style bank: (image, domain) → (μ, σ), what stage 1 makes and stage 2 draws from.
//!
//! In memory and as bytes in the safetensors format; files and their placement are the caller's. A bank names the
//! backbone and the domains that it was made with, since its numbers mean nothing elsewhere.

mod authors;
mod file;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::error::{Result, expect_shape};
pub use authors::{authors_file_name, image_of_authors_file};

/// What a bank was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BankHeader {
    /// Digest of the CLIP weights.
    pub backbone: String,
    /// Low-level channels C₁.
    pub channels: usize,
    /// Domains in order; a style's domain number is an index into this list.
    pub domains: Vec<BankDomain>,
}

/// One target domain of a bank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BankDomain {
    pub name: String,
    pub prompt: String,
}

/// Style of one image for one domain; the σ are as stage 1 left them and may be negative.
#[derive(Debug, Clone, PartialEq)]
pub struct BankStyle {
    pub mean: Vec<f32>,
    pub std: Vec<f32>,
}

/// Styles drawn for a batch.
#[derive(Debug)]
pub struct DrawnStyles {
    /// [n, C₁, 1, 1].
    pub mean: Tensor,
    /// [n, C₁, 1, 1], used unclamped.
    pub std: Tensor,
    /// Domain number of each sample.
    pub domains: Vec<usize>,
}

/// Why a bank cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StyleBankError {
    #[error("style bank `{origin}` was made with another {what}: it has {found}, this run has {expected}")]
    Mismatch {
        origin: String,
        what: &'static str,
        found: String,
        expected: String,
    },
    #[error("style bank `{origin}` has no styles of domain `{domain}`: it has {found}")]
    MissingDomain {
        origin: String,
        domain: String,
        found: String,
    },
    #[error("style bank `{origin}` is not readable: {reason}")]
    Unreadable { origin: String, reason: String },
    #[error("style `{origin}` is not readable: {reason}")]
    UnreadableStyle { origin: String, reason: String },
    #[error("domain `{domain}` has no styles: `{folder}` {problem}")]
    NoStyles {
        domain: String,
        folder: String,
        problem: String,
    },
    #[error("style of image `{image}`, domain {domain}: {problem}")]
    BadStyle {
        image: String,
        domain: usize,
        problem: String,
    },
    #[error("style {index} was drawn, but the bank has {len}")]
    OutOfRange { index: usize, len: usize },
}

impl StyleBankError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Mismatch { .. } => "run the simulate stage again",
            Self::MissingDomain { .. } => "name the domain as the bank does, or name another bank",
            Self::Unreadable { .. } | Self::BadStyle { .. } => {
                "name the styles/bank.safetensors of another run, or a folder with the authors' styles"
            }
            Self::UnreadableStyle { .. } => {
                "is it of the authors' stage 1 and of the same CLIP model? copy it again, or remove it"
            }
            Self::NoStyles { .. } => {
                "name the folder that holds one folder of .pkl files per domain, of the domain's name; or write {domain} \
                 where that name stands, as in styles/six_{domain}"
            }
            Self::OutOfRange { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// All styles of a run, ordered by image name, then domain.
#[derive(Debug, Clone, PartialEq)]
pub struct StyleBank {
    header: BankHeader,
    styles: BTreeMap<(String, usize), BankStyle>,
}

impl StyleBank {
    /// An empty bank.
    pub fn new(header: BankHeader) -> StyleBank {
        StyleBank {
            header,
            styles: BTreeMap::new(),
        }
    }

    /// What the bank was made with.
    pub fn header(&self) -> &BankHeader {
        &self.header
    }

    /// Number of styles.
    pub fn len(&self) -> usize {
        self.styles.len()
    }

    /// Whether no style is in.
    pub fn is_empty(&self) -> bool {
        self.styles.is_empty()
    }

    /// Styles in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize, &BankStyle)> {
        self.styles
            .iter()
            .map(|((image, domain), style)| (image.as_str(), *domain, style))
    }

    /// Adds or replaces the style of (`image`, `domain`).
    ///
    /// # Errors
    /// When the domain number or the number of channels does not fit the header, or a number is not finite.
    pub fn insert(&mut self, image: &str, domain: usize, style: BankStyle) -> Result<(), StyleBankError> {
        let problem = if domain >= self.header.domains.len() {
            Some(format!("the bank has {} domains", self.header.domains.len()))
        } else if style.mean.len() != self.header.channels || style.std.len() != self.header.channels {
            Some(format!(
                "{} means and {} deviations for {} channels",
                style.mean.len(),
                style.std.len(),
                self.header.channels
            ))
        } else if style
            .mean
            .iter()
            .chain(&style.std)
            .any(|value| !value.is_finite())
        {
            Some("a value is not finite".into())
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(StyleBankError::BadStyle {
                image: image.into(),
                domain,
                problem,
            });
        }
        self.styles.insert((image.to_string(), domain), style);
        Ok(())
    }

    /// Adds all styles of `other`, which must have the same header.
    ///
    /// # Errors
    /// When the headers differ.
    pub fn merge(&mut self, other: StyleBank, origin: &str) -> Result<(), StyleBankError> {
        other.check(&self.header, origin)?;
        self.styles.extend(other.styles);
        Ok(())
    }

    /// Refuses a bank of another backbone, channel count or list of domains; `origin` names it in the message.
    ///
    /// # Errors
    /// The first difference, with both sides.
    pub fn check(&self, expected: &BankHeader, origin: &str) -> Result<(), StyleBankError> {
        self.check_backbone(expected, origin)?;
        if self.header.domains != expected.domains {
            return Err(StyleBankError::Mismatch {
                origin: origin.to_string(),
                what: "list of domains",
                found: listed(&self.header.domains),
                expected: listed(&expected.domains),
            });
        }
        Ok(())
    }

    fn check_backbone(&self, expected: &BankHeader, origin: &str) -> Result<(), StyleBankError> {
        let differs = |what, found: String, expected: String| {
            Err(StyleBankError::Mismatch {
                origin: origin.to_string(),
                what,
                found,
                expected,
            })
        };
        if self.header.channels != expected.channels {
            return differs(
                "channel count",
                self.header.channels.to_string(),
                expected.channels.to_string(),
            );
        }
        if self.header.backbone != expected.backbone {
            return differs(
                "backbone",
                format!("`{}`", self.header.backbone),
                format!("`{}`", expected.backbone),
            );
        }
        Ok(())
    }

    /// The styles of the domains of `wanted`, found by name and numbered as there; others are left out, and the prompts
    /// are those of `wanted`. `origin` names the bank in messages.
    ///
    /// # Errors
    /// When the bank is of another backbone or channel count, or has no style of one of the domains.
    pub fn select(&self, wanted: &BankHeader, origin: &str) -> Result<StyleBank, StyleBankError> {
        self.check_backbone(wanted, origin)?;
        let mut selected = StyleBank::new(wanted.clone());
        for (number, domain) in wanted.domains.iter().enumerate() {
            let known = self
                .header
                .domains
                .iter()
                .position(|known| known.name == domain.name);
            let styles = self.styles.iter().filter(|((_, of), _)| Some(*of) == known);
            let before = selected.len();
            selected
                .styles
                .extend(styles.map(|((image, _), style)| ((image.clone(), number), style.clone())));
            if selected.len() == before {
                return Err(StyleBankError::MissingDomain {
                    origin: origin.to_string(),
                    domain: domain.name.clone(),
                    found: listed(&self.header.domains),
                });
            }
        }
        Ok(selected)
    }

    /// The styles at `indices` (positions in [`StyleBank::iter`]'s order) as tensors on `device`.
    ///
    /// # Errors
    /// When an index is out of range or the device is not there.
    pub fn gather(&self, indices: &[usize], device: Device) -> Result<DrawnStyles, StyleBankError> {
        let (mut mean, mut std, mut domains) = (Vec::new(), Vec::new(), Vec::new());
        let ordered: Vec<_> = self.styles.iter().collect();
        for &index in indices {
            let ((_, domain), style) = ordered.get(index).ok_or(StyleBankError::OutOfRange {
                index,
                len: self.styles.len(),
            })?;
            mean.extend_from_slice(&style.mean);
            std.extend_from_slice(&style.std);
            domains.push(*domain);
        }
        let shape = [indices.len() as i64, self.header.channels as i64, 1, 1];
        let tensor = |values: &[f32]| {
            Tensor::f_from_slice(values)
                .and_then(|flat| flat.f_view(shape))
                .and_then(|tensor| ulda_torch::upload(&tensor, device))
                .map_err(|error| StyleBankError::Unreadable {
                    origin: "drawn styles".into(),
                    reason: error.to_string(),
                })
        };
        Ok(DrawnStyles {
            mean: tensor(&mean)?,
            std: tensor(&std)?,
            domains,
        })
    }
}

impl BankStyle {
    /// From one image's μ and σ, each [C₁, 1, 1] or `[C₁]`.
    ///
    /// # Errors
    /// When the tensors have no C₁ elements each.
    pub fn from_tensors(mean: &Tensor, std: &Tensor) -> Result<BankStyle> {
        let values = |tensor: &Tensor| -> Result<Vec<f32>> {
            let flat = tensor
                .detach()
                .f_to_kind(tch::Kind::Float)?
                .f_to_device(Device::Cpu)?
                .f_flatten(0, -1)?;
            Ok(Vec::<f32>::try_from(&flat)?)
        };
        expect_shape("style std", std, &mean.size())?;
        Ok(BankStyle {
            mean: values(mean)?,
            std: values(std)?,
        })
    }
}

fn listed(domains: &[BankDomain]) -> String {
    let names: Vec<String> = domains
        .iter()
        .map(|domain| format!("{} (\"{}\")", domain.name, domain.prompt))
        .collect();
    format!("[{}]", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(backbone: &str, prompts: &[(&str, &str)]) -> BankHeader {
        let domains = prompts.iter().map(|(name, prompt)| BankDomain {
            name: name.to_string(),
            prompt: prompt.to_string(),
        });
        BankHeader {
            backbone: backbone.into(),
            channels: 2,
            domains: domains.collect(),
        }
    }

    fn filled() -> StyleBank {
        let mut bank = StyleBank::new(header(
            "abc",
            &[("night", "driving at night"), ("fog", "driving in fog")],
        ));
        for (image, domain, value) in [("b.png", 1, 3.0f32), ("a.png", 0, 1.0), ("a.png", 1, 2.0)] {
            let style = BankStyle {
                mean: vec![value, -value],
                std: vec![-0.5, value],
            };
            bank.insert(image, domain, style).unwrap();
        }
        bank
    }

    #[test]
    fn bytes_round_trip_and_do_not_depend_on_insertion_order() {
        let bank = filled();
        let bytes = bank.to_bytes().unwrap();
        let back = StyleBank::from_bytes(&bytes, "bank").unwrap();
        assert_eq!(back, bank);
        assert_eq!(back.to_bytes().unwrap(), bytes);
        let names: Vec<_> = bank.iter().map(|(image, domain, _)| (image, domain)).collect();
        assert_eq!(names, [("a.png", 0), ("a.png", 1), ("b.png", 1)]);
    }

    #[test]
    fn gather_gives_rows_in_the_order_drawn() {
        let drawn = filled().gather(&[2, 0], Device::Cpu).unwrap();
        assert_eq!(drawn.domains, [1, 0]);
        assert_eq!(drawn.mean.size(), [2, 2, 1, 1]);
        assert_eq!(
            Vec::<f32>::try_from(drawn.std.flatten(0, -1)).unwrap(),
            [-0.5, 3.0, -0.5, 1.0]
        );
        let message = filled().gather(&[3], Device::Cpu).unwrap_err().to_string();
        assert_eq!(message, "style 3 was drawn, but the bank has 3");
    }

    #[test]
    fn another_backbone_or_other_domains_are_refused_with_both_sides() {
        let bank = filled();
        let refused = bank
            .check(&header("xyz", &[]), "runs/a/bank.safetensors")
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "style bank `runs/a/bank.safetensors` was made with another backbone: it has `abc`, this run has `xyz`"
        );
        assert_eq!(refused.hint().as_deref(), Some("run the simulate stage again"));
        let other = header("abc", &[("night", "driving at night")]);
        let message = bank.check(&other, "bank").unwrap_err().to_string();
        assert!(
            message
                .contains("list of domains: it has [night (\"driving at night\"), fog (\"driving in fog\")]")
        );
        assert!(bank.check(bank.header(), "bank").is_ok());
    }

    #[test]
    fn domains_are_selected_by_name_and_numbered_as_wanted() {
        let bank = filled();
        let wanted = header("abc", &[("fog", "driving through mist")]);
        let selected = bank.select(&wanted, "bank").unwrap();
        assert_eq!(selected.header(), &wanted);
        let names: Vec<_> = selected
            .iter()
            .map(|(image, domain, style)| (image, domain, style.mean[0]))
            .collect();
        assert_eq!(names, [("a.png", 0, 2.0), ("b.png", 0, 3.0)]);
        assert_eq!(bank.select(bank.header(), "bank").unwrap(), bank);

        let refused = |wanted: &BankHeader| bank.select(wanted, "bank").unwrap_err().to_string();
        let dusk = refused(&header("abc", &[("dusk", "driving at dusk")]));
        assert!(
            dusk.contains("no styles of domain `dusk`: it has [night"),
            "{dusk}"
        );
        let mut wide = wanted.clone();
        wide.channels = 4;
        let wide = refused(&wide);
        assert!(
            wide.contains("another channel count: it has 2, this run has 4"),
            "{wide}"
        );
        assert!(refused(&header("xyz", &[])).contains("another backbone"));
    }

    #[test]
    fn a_style_that_does_not_fit_is_refused() {
        let mut bank = filled();
        let style = BankStyle {
            mean: vec![f32::NAN, 0.0],
            std: vec![1.0, 1.0],
        };
        let message = bank.insert("c.png", 0, style).unwrap_err().to_string();
        assert_eq!(message, "style of image `c.png`, domain 0: a value is not finite");
        let style = BankStyle {
            mean: vec![0.0],
            std: vec![1.0, 1.0],
        };
        assert!(
            bank.insert("c.png", 0, style.clone())
                .unwrap_err()
                .to_string()
                .contains("1 means and 2 deviations")
        );
        assert!(
            bank.insert("c.png", 7, style)
                .unwrap_err()
                .to_string()
                .contains("the bank has 2 domains")
        );
    }

    #[test]
    fn a_damaged_file_is_named() {
        let bytes = filled().to_bytes().unwrap();
        let message = StyleBank::from_bytes(&bytes[..bytes.len() / 2], "half")
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("style bank `half` is not readable: "),
            "{message}"
        );
    }
}
