//! Which worker serves which shard.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use ulda_machine::{Seat, assign};
use ulda_run::ids::{Slot, WorkerId};

fn seats(workers: &BTreeSet<u64>) -> BTreeSet<Seat> {
    workers
        .iter()
        .map(|worker| Seat {
            slot: Slot(u32::try_from(worker * 7 % 64).expect("below 64")),
            worker: WorkerId(*worker),
        })
        .collect()
}

fn counts(owners: &[WorkerId]) -> BTreeMap<WorkerId, usize> {
    let mut counts = BTreeMap::new();
    for owner in owners {
        *counts.entry(*owner).or_default() += 1;
    }
    counts
}

/// The most shards any even assignment can leave where they are, by trying all choices of the larger shares.
fn most_kept(shards: usize, seats: &BTreeSet<Seat>, last: &[WorkerId]) -> usize {
    let held = counts(last);
    let held: Vec<usize> = seats
        .iter()
        .map(|seat| held.get(&seat.worker).copied().unwrap_or(0))
        .collect();
    let (base, larger) = (shards / seats.len(), shards % seats.len());
    (0_u32..1 << seats.len())
        .filter(|choice| choice.count_ones() as usize == larger)
        .map(|choice| {
            let quota = |index: usize| base + usize::from(choice >> index & 1 == 1);
            held.iter()
                .enumerate()
                .map(|(index, held)| *held.min(&quota(index)))
                .sum()
        })
        .max()
        .unwrap_or(0)
}

proptest! {
    #[test]
    fn even_complete_and_with_as_few_moves_as_possible(
        shards in 1_u32..24,
        before in prop::collection::btree_set(0_u64..12, 1..8),
        after in prop::collection::btree_set(0_u64..12, 1..8),
    ) {
        let first = assign(shards, &seats(&before), &[]);
        let second = assign(shards, &seats(&after), &first);
        for (owners, workers) in [(&first, &before), (&second, &after)] {
            prop_assert_eq!(owners.len(), shards as usize);
            let counts = counts(owners);
            let each = workers.iter().map(|worker| counts.get(&WorkerId(*worker)).copied().unwrap_or(0));
            let least = each.clone().min().unwrap_or(0);
            let most = each.clone().max().unwrap_or(0);
            prop_assert!(most - least <= 1);
            prop_assert_eq!(each.sum::<usize>(), shards as usize, "only members own shards");
        }
        let kept = first.iter().zip(&second).filter(|(one, other)| one == other).count();
        prop_assert_eq!(kept, most_kept(shards as usize, &seats(&after), &first));
        prop_assert_eq!(assign(shards, &seats(&after), &second), second, "nothing moves without need");
    }

    #[test]
    fn the_first_assignment_is_contiguous_in_slot_order(
        shards in 1_u32..24,
        workers in prop::collection::btree_set(0_u64..12, 1..8),
    ) {
        let seats = seats(&workers);
        let owners = assign(shards, &seats, &[]);
        let mut runs = owners.clone();
        runs.dedup();
        let in_order: Vec<WorkerId> = seats.iter().map(|seat| seat.worker).take(shards as usize).collect();
        prop_assert_eq!(runs, in_order);
    }
}

#[test]
fn without_seats_nobody_owns_anything() {
    assert!(assign(4, &BTreeSet::new(), &[WorkerId(1)]).is_empty());
}
