//! Complete training states as they are spoken of: where they stand and what they hash to.

use std::fmt;

use serde::{Deserialize, Serialize};

use ulda_run::ids::WorkerId;
use ulda_run::stage::Cursor;

/// Hash of a complete state, as the workers write it; empty where none was computed.
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

/// Two workers that should hold the same state do not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{one} and {other} disagree at {cursor}: digest {one_digest} against {other_digest}")]
pub struct Divergence {
    pub cursor: Cursor,
    pub one: WorkerId,
    pub one_digest: Digest,
    pub other: WorkerId,
    pub other_digest: Digest,
}

impl Divergence {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some("compare their hosts' CPU type, library versions and data files".to_owned())
    }
}

/// The most advanced state among claims, and the lowest worker that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    pub state: StateClaim,
    pub holder: WorkerId,
}

/// Picks the most advanced of the claims. `None` where nobody has a state.
///
/// # Errors
/// Two of the most advanced claims have different digests.
pub fn lead<'a>(
    claims: impl IntoIterator<Item = (WorkerId, &'a StateClaim)>,
) -> Result<Option<Lead>, Divergence> {
    let mut best: Vec<(WorkerId, &StateClaim)> = Vec::new();
    for (worker, claim) in claims {
        match best.first().map(|(_, top)| claim.cursor.cmp(&top.cursor)) {
            None | Some(std::cmp::Ordering::Greater) => best = vec![(worker, claim)],
            Some(std::cmp::Ordering::Equal) => best.push((worker, claim)),
            Some(std::cmp::Ordering::Less) => {}
        }
    }
    best.sort_by_key(|(worker, _)| *worker);
    let Some((holder, _)) = best.first().copied() else {
        return Ok(None);
    };
    let named = best
        .iter()
        .find(|(_, claim)| claim.digest.is_known())
        .or(best.first())
        .copied();
    let Some((one, state)) = named else {
        return Ok(None);
    };
    if let Some((other, differing)) = best
        .iter()
        .find(|(_, claim)| !claim.digest.agrees_with(&state.digest))
    {
        return Err(Divergence {
            cursor: state.cursor,
            one,
            one_digest: state.digest.clone(),
            other: *other,
            other_digest: differing.digest.clone(),
        });
    }
    Ok(Some(Lead {
        state: state.clone(),
        holder,
    }))
}
