//! In every generation each shard has one owner, which is a member; no member is idle; numbers of shards
//! differ by at most one.

use std::collections::BTreeMap;

use ulda_machine::{Effect, Record};

use super::{Promise, Seen};

pub struct Owned {
    pub shards: u32,
}

impl Promise for Owned {
    fn see(&mut self, seen: &Seen<'_>) {
        let Seen::Ordered {
            effect: Effect::Journal(Record::GenerationFormed { formation, .. }),
            ..
        } = seen
        else {
            return;
        };
        assert_eq!(formation.shard_owner.len(), self.shards as usize);
        let mut served: BTreeMap<_, u32> = formation
            .members
            .iter()
            .map(|member| (member.worker, 0))
            .collect();
        for owner in &formation.shard_owner {
            *served.get_mut(owner).expect("the owner is a member") += 1;
        }
        let (least, most) = (served.values().min(), served.values().max());
        assert!(least >= Some(&1), "a member is idle: {formation:?}");
        assert!(
            most.zip(least).is_some_and(|(most, least)| most - least <= 1),
            "uneven: {formation:?}"
        );
        assert_eq!(formation.shard_owner_indices().len(), formation.shard_owner.len());
    }
}
