//! All that is wrong, and how a list of it reads.

use std::error::Error;
use std::fmt;

use serde::Serialize;
use ulda_net::Shortage;
use ulda_run::{Finding, with_causes};

use ulda_run::Exit;

use crate::config::KeyPlaces;

/// `error` with its causes as a finding; one that may pass where the system was short of something.
pub(super) fn finding(
    key: impl Into<String>,
    error: &(dyn Error + 'static),
    hint: Option<String>,
) -> Finding {
    Finding {
        is_temporary: Shortage::of(error).is_some(),
        ..Finding::new(
            key,
            with_causes(error),
            Shortage::hint_or(error, hint).unwrap_or_default(),
        )
    }
}

/// All that is wrong, once [`Findings::take_notes`] has taken the notes out; empty when nothing is.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes out what is only worth a thought.
    pub fn take_notes(&mut self) -> Vec<Finding> {
        self.0.extract_if(.., |finding| finding.is_note).collect()
    }

    /// With the lines that say so, of keys that stand in one of several files.
    #[must_use]
    pub fn placed(mut self, places: &KeyPlaces) -> Self {
        for finding in &mut self.0 {
            if let Some(place) = places.of_value(&finding.key) {
                finding.what += &format!(" (set in {place})");
            }
        }
        self
    }

    /// What the process ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.is_empty() {
            Exit::Done
        } else if self.0.iter().all(|finding| finding.is_temporary) {
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

impl Error for Findings {}
