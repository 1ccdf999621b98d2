//! One thing that is wrong, and how a list of them reads.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::exit::Exit;

/// Which key or file, what is wrong, what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub key: String,
    pub what: String,
    #[serde(default)]
    pub hint: String,
}

impl Finding {
    /// Takes an error's text apart at its `hint:`.
    #[must_use]
    pub fn of_text(key: &str, text: &str) -> Self {
        let (what, hint) = text.split_once("hint:").unwrap_or((text, ""));
        let trimmed = |part: &str| part.trim().trim_end_matches([';', ',']).to_owned();
        Self {
            key: key.to_owned(),
            what: trimmed(what),
            hint: trimmed(hint),
        }
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

/// What mends a list of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Remedy {
    #[default]
    Person,
    /// All of them may pass by themselves.
    Time,
}

/// All that is wrong; empty when nothing is.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Findings(pub Vec<Finding>, #[serde(skip)] pub Remedy);

impl Findings {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the process ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match (self.is_empty(), self.1) {
            (true, _) => Exit::Done,
            (false, Remedy::Person) => Exit::BadInput,
            (false, Remedy::Time) => Exit::Unavailable,
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
