//! What a check finds wrong: the worker says it to the coordinator as JSON, and the coordinator to a person.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which key or file, what is wrong, what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub key: String,
    pub what: String,
    /// Empty where there is nothing to say.
    #[serde(default)]
    pub hint: String,
    /// It may pass by itself: the system was short of something, or a storage was away.
    #[serde(default)]
    pub is_temporary: bool,
    /// Nothing is wrong: it may not be meant, and the run is not refused for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_note: bool,
}

/// What the worker's check settles, where the run leaves it to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAdvice {
    /// `simulate.domains_at_once`.
    pub domains_at_once: u32,
}

impl Finding {
    /// Something that a person has to mend.
    #[must_use]
    pub fn new(key: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            what: what.into(),
            hint: hint.into(),
            is_temporary: false,
            is_note: false,
        }
    }

    /// Something that a person may want to know or change.
    #[must_use]
    pub fn note(key: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            is_note: true,
            ..Self::new(key, what, hint)
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
