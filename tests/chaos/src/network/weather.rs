//! What becomes of a packet: decided from the state of links and sides, and from rng where it storms.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::rng::FaultRng;

/// Where a host stands while the network is parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
    /// Reaches both, and is reached by both.
    Both,
}

/// A network at its worst. Chances are out of a hundred; packets overtake each other by the spread of delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storm {
    pub loses: u64,
    pub doubles: u64,
    pub delay: (Duration, Duration),
}

/// When a packet arrives: so long after it was sent, once for each entry; never where there is none.
pub type Fate = Vec<Duration>;

/// Hosts are numbered.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    down: BTreeSet<usize>,
    sides: BTreeMap<usize, Side>,
    storm: Option<Storm>,
}

impl Weather {
    pub fn set_link(&mut self, host: usize, up: bool) {
        if up {
            self.down.remove(&host);
        } else {
            self.down.insert(host);
        }
    }

    /// Hosts that are not named stand on both sides.
    pub fn part(&mut self, sides: BTreeMap<usize, Side>) {
        self.sides = sides;
    }

    pub fn storm(&mut self, storm: Option<Storm>) {
        self.storm = storm;
    }

    pub fn fate(&self, from: usize, to: usize, rng: &mut FaultRng) -> Fate {
        if self.down.contains(&from) || self.down.contains(&to) || self.parted(from, to) {
            return Vec::new();
        }
        let Some(storm) = self.storm else {
            return vec![Duration::ZERO];
        };
        if rng.chance(storm.loses) {
            return Vec::new();
        }
        let copies = if rng.chance(storm.doubles) { 2 } else { 1 };
        let (least, most) = storm.delay;
        let spread = u64::try_from((most - least).as_micros()).unwrap_or(0);
        (0..copies)
            .map(|_| least + Duration::from_micros(rng.below(spread + 1)))
            .collect()
    }

    fn parted(&self, from: usize, to: usize) -> bool {
        let side = |host| self.sides.get(&host).copied().unwrap_or(Side::Both);
        matches!(
            (side(from), side(to)),
            (Side::Left, Side::Right) | (Side::Right, Side::Left)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrives(weather: &Weather, from: usize, to: usize) -> bool {
        !weather.fate(from, to, &mut FaultRng::new(1)).is_empty()
    }

    #[test]
    fn a_link_that_is_down_carries_nothing_in_either_direction() {
        let mut weather = Weather::default();
        weather.set_link(1, false);
        assert!(!arrives(&weather, 0, 1) && !arrives(&weather, 1, 0) && arrives(&weather, 0, 2));
        weather.set_link(1, true);
        assert!(arrives(&weather, 0, 1));
    }

    #[test]
    fn sides_do_not_hear_each_other_and_who_stands_on_both_hears_all() {
        let mut weather = Weather::default();
        weather.part(BTreeMap::from([
            (1, Side::Left),
            (2, Side::Left),
            (3, Side::Right),
        ]));
        assert!(arrives(&weather, 1, 2) && !arrives(&weather, 1, 3) && !arrives(&weather, 3, 2));
        assert!(
            [1, 2, 3]
                .iter()
                .all(|host| arrives(&weather, 0, *host) && arrives(&weather, *host, 0))
        );
        weather.part(BTreeMap::new());
        assert!(arrives(&weather, 1, 3));
    }

    #[test]
    fn a_storm_loses_doubles_and_delays_as_often_as_it_says() {
        let mut weather = Weather::default();
        let (least, most) = (Duration::from_millis(2), Duration::from_millis(9));
        weather.storm(Some(Storm {
            loses: 20,
            doubles: 10,
            delay: (least, most),
        }));
        let mut rng = FaultRng::new(3);
        let fates: Vec<Fate> = (0..2000).map(|_| weather.fate(0, 1, &mut rng)).collect();
        let count = |copies: usize| fates.iter().filter(|fate| fate.len() == copies).count();
        assert!((300..500).contains(&count(0)), "{}", count(0));
        assert!((100..220).contains(&count(2)), "{}", count(2));
        assert!(fates.iter().flatten().all(|delay| (least..=most).contains(delay)));
    }
}
