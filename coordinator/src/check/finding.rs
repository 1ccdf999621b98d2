//! One thing that is wrong, and how a list of them reads.

use std::fmt;

use serde::{Deserialize, Serialize};
use ulda_net::Shortage;

use crate::exit::Exit;

/// Which key or file, what is wrong, what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub key: String,
    pub what: String,
    #[serde(default)]
    pub hint: String,
    #[serde(
        skip_serializing,
        rename = "is_temporary",
        default,
        deserialize_with = "remedy_of"
    )]
    pub remedy: Remedy,
}

/// What mends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Remedy {
    #[default]
    Person,
    /// It may pass by itself.
    Time,
}

/// What mends a finding of the worker.
fn remedy_of<'de, D: serde::Deserializer<'de>>(told: D) -> Result<Remedy, D::Error> {
    bool::deserialize(told).map(|is_temporary| match is_temporary {
        true => Remedy::Time,
        false => Remedy::Person,
    })
}

impl Finding {
    /// Something that a person has to mend.
    #[must_use]
    pub fn new(key: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            what: what.into(),
            hint: hint.into(),
            remedy: Remedy::Person,
        }
    }

    /// The same finding where `error` is about the input; where the system was short of descriptors or memory, one that
    /// passes.
    #[must_use]
    pub fn caused_by(self, error: &(dyn std::error::Error + 'static)) -> Self {
        match Shortage::of(error) {
            None => self,
            Some(shortage) => Self {
                hint: shortage.hint().to_owned(),
                remedy: Remedy::Time,
                ..self
            },
        }
    }

    /// Takes an error's text apart at its `hint:`.
    #[must_use]
    pub fn of_text(key: &str, text: &str) -> Self {
        let (what, hint) = text.split_once("hint:").unwrap_or((text, ""));
        let trimmed = |part: &str| part.trim().trim_end_matches([';', ',']).to_owned();
        Self::new(key, trimmed(what), trimmed(hint))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.key, self.what)?;
        if !self.hint.is_empty() {
            write!(f, "\n  hint: {}", self.hint)?;
        }
        Ok(())
    }
}

/// All that is wrong; empty when nothing is.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the process ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.is_empty() {
            Exit::Done
        } else if self.0.iter().all(|finding| finding.remedy == Remedy::Time) {
            Exit::Unavailable
        } else {
            Exit::BadInput
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "{} problem{plural} found", self.0.len())?;
        for finding in &self.0 {
            write!(f, "\n{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Findings {}
