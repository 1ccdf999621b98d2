//! Swiss towns, villages and roads between them: fewer houses, more green, hills behind.

use crate::draw::building::Fashion;
use crate::draw::furniture::{SODIUM, WHITE_LAMP};
use crate::draw::plant::Growth;
use crate::layout::Taste;
use crate::rng::SceneRng;

pub fn taste(rng: &mut SceneRng) -> Taste {
    let fashion = rng.pick(&[
        Fashion::OldTown,
        Fashion::Suburb,
        Fashion::Suburb,
        Fashion::Downtown,
    ]);
    let suburb = fashion == Fashion::Suburb;
    Taste {
        fashion,
        stories: match fashion {
            Fashion::OldTown => (3, 5),
            Fashion::Suburb => (2, 4),
            Fashion::Downtown => (4, 7),
        },
        lanes: &[1, 1, 2],
        lane_width: (3.2, 3.9),
        bend: 0.0024,
        junction: 0.4,
        tram: 0.2,
        parking: 0.25,
        verge: 0.55,
        sidewalk: (1.6, 3.0),
        built: if suburb { 0.5 } else { 0.75 },
        trees: 0.7,
        growth: &[
            Growth::Broadleaf,
            Growth::Broadleaf,
            Growth::Conifer,
            Growth::Conifer,
            Growth::Bare,
            Growth::Bare,
        ],
        people: 0.45,
        cars: 0.7,
        heavy: 0.4,
        two_wheelers: 0.35,
        hills: 0.8,
        lamp: if rng.chance(0.6) { SODIUM } else { WHITE_LAMP },
        yellow_line: false,
        eye: (1.3, 1.6),
        focal: 0.95,
        pitch: (-0.01, 0.035),
        hood: false,
    }
}
