//! What is wrong with a key, and where it came from.

use std::fmt;
use std::path::PathBuf;

use super::places::KeyPlace;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    Line(KeyPlace),
    Environment,
    Set,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Line(place) => place.fmt(f),
            Self::Environment => f.write_str("environment"),
            Self::Set => f.write_str("--set"),
        }
    }
}

/// One key that is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    pub what: String,
    pub hint: String,
    pub origin: Option<Origin>,
}

impl Problem {
    #[must_use]
    pub fn new(key: &str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            what: what.into(),
            hint: hint.into(),
            origin: None,
        }
    }

    pub(super) fn from(mut self, origin: &Origin) -> Self {
        self.origin = Some(origin.clone());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        write!(f, "`{}` {}\n  hint: {}", self.key, self.what, self.hint)
    }
}

/// All keys that are wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}
