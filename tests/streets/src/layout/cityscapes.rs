//! The streets of a German town.

use crate::draw::building::Fashion;
use crate::draw::furniture::{SODIUM, WHITE_LAMP};
use crate::draw::plant::Growth;
use crate::layout::Taste;
use crate::rng::SceneRng;

pub fn taste(rng: &mut SceneRng) -> Taste {
    let fashion = rng.pick(&[
        Fashion::OldTown,
        Fashion::OldTown,
        Fashion::Suburb,
        Fashion::Downtown,
    ]);
    let suburb = fashion == Fashion::Suburb;
    Taste {
        fashion,
        stories: match fashion {
            Fashion::OldTown => (3, 5),
            Fashion::Suburb => (2, 3),
            Fashion::Downtown => (4, 9),
        },
        lanes: &[1, 1, 1, 2],
        lane_width: (3.0, 3.6),
        bend: 0.0016,
        junction: 0.5,
        tram: 0.12,
        parking: 0.55,
        verge: if suburb { 0.5 } else { 0.15 },
        sidewalk: (1.8, 4.0),
        built: if suburb { 0.62 } else { 0.84 },
        trees: if suburb { 0.75 } else { 0.5 },
        growth: &[
            Growth::Broadleaf,
            Growth::Broadleaf,
            Growth::Broadleaf,
            Growth::Broadleaf,
            Growth::Conifer,
            Growth::Bare,
        ],
        people: if suburb { 0.4 } else { 0.9 },
        cars: 0.8,
        heavy: 0.4,
        two_wheelers: 0.75,
        hills: 0.2,
        lamp: if rng.chance(0.5) { SODIUM } else { WHITE_LAMP },
        yellow_line: false,
        eye: (1.25, 1.45),
        focal: 1.08,
        pitch: (-0.012, 0.03),
        hood: true,
    }
}
