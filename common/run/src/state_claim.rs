//! A complete training state as both sides speak of it: its position and what it hashes to.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::stage::Cursor;

/// Hash of a complete state, as the workers write it; empty where none was computed, since that would cost a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub String);

impl Digest {
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.0.is_empty()
    }

    /// Two states can be the same one: equal digests, or one of them was not computed.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        !self.is_known() || !other.is_known() || self == other
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_known() { &self.0 } else { "(no digest)" })
    }
}

/// A complete state: all steps before `cursor` are applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateClaim {
    pub cursor: Cursor,
    pub digest: Digest,
}

impl fmt::Display for StateClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.cursor, self.digest)
    }
}
