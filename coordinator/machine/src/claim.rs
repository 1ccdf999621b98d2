//! Claims of several workers compared: which state is the most advanced, and whether all agree on it.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use ulda_run::ids::WorkerId;
use ulda_run::stage::Cursor;
use ulda_run::{Digest, StateClaim};

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

/// The most advanced state among the claims, with its digest if any worker took one. `None` where nobody has a state.
///
/// # Errors
/// Two of the most advanced claims have different digests.
pub(super) fn most_advanced<'a>(
    claims: impl IntoIterator<Item = (WorkerId, &'a StateClaim)>,
) -> Result<Option<StateClaim>, Divergence> {
    let mut best: Vec<(WorkerId, &StateClaim)> = Vec::new();
    for (worker, claim) in claims {
        match best.first().map(|(_, top)| claim.cursor.cmp(&top.cursor)) {
            None | Some(Ordering::Greater) => best = vec![(worker, claim)],
            Some(Ordering::Equal) => best.push((worker, claim)),
            Some(Ordering::Less) => {}
        }
    }
    best.sort_by_key(|(worker, _)| *worker);
    let with_digest = best.iter().find(|(_, claim)| claim.digest.is_known());
    let Some((one, state)) = with_digest.or(best.first()).copied() else {
        return Ok(None);
    };
    let mut others = best.iter();
    match others.find(|(_, claim)| !claim.digest.agrees_with(&state.digest)) {
        None => Ok(Some(state.clone())),
        Some((other, differing)) => Err(Divergence {
            cursor: state.cursor,
            one,
            one_digest: state.digest.clone(),
            other: *other,
            other_digest: differing.digest.clone(),
        }),
    }
}
