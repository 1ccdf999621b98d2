//! Which worker serves which shard: as even as possible, moving as few shards as possible.

use std::collections::{BTreeMap, BTreeSet};

use ulda_run::ids::{Slot, WorkerId};

/// A worker that is to serve. Ordered by slot, so that slot 0 comes first whoever joined first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seat {
    pub slot: Slot,
    pub worker: WorkerId,
}

/// The worker of each shard, by shard number. `last` is the previous answer (empty at the first forming).
///
/// Numbers of shards differ by at most one between workers, no even assignment keeps more shards where
/// they were, and the first one gives each worker neighbouring shards. Empty if there is no seat; where
/// there are more seats than shards, the last ones stay empty-handed.
#[must_use]
pub fn assign(shards: u32, seats: &BTreeSet<Seat>, last: &[WorkerId]) -> Vec<WorkerId> {
    let shards = shards as usize;
    if seats.is_empty() {
        return Vec::new();
    }
    let mut held: BTreeMap<WorkerId, usize> = seats.iter().map(|seat| (seat.worker, 0)).collect();
    for owner in last.iter().take(shards) {
        if let Some(count) = held.get_mut(owner) {
            *count += 1;
        }
    }

    let base = shards / seats.len();
    let larger = shards % seats.len();
    let mut by_holding: Vec<Seat> = seats.iter().copied().collect();
    // Who holds more than the base keeps one more; stable, so that seat order decides between equals.
    by_holding.sort_by_key(|seat| std::cmp::Reverse(held[&seat.worker]));
    let mut room: BTreeMap<WorkerId, usize> = by_holding
        .iter()
        .enumerate()
        .map(|(index, seat)| (seat.worker, base + usize::from(index < larger)))
        .collect();

    let mut owners: Vec<Option<WorkerId>> = (0..shards)
        .map(|shard| {
            let owner = last.get(shard)?;
            let room = room.get_mut(owner).filter(|room| **room > 0)?;
            *room -= 1;
            Some(*owner)
        })
        .collect();
    let mut vacancies = seats
        .iter()
        .flat_map(|seat| std::iter::repeat_n(seat.worker, room[&seat.worker]))
        .collect::<Vec<_>>();
    vacancies.reverse();
    for owner in owners.iter_mut().filter(|owner| owner.is_none()) {
        *owner = vacancies.pop();
    }
    owners.into_iter().flatten().collect()
}
