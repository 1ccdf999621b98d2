//! A game's city by the sea: boulevards, towers and palms, seen from higher up with a wider lens.

use crate::draw::building::Fashion;
use crate::draw::furniture::WHITE_LAMP;
use crate::draw::plant::Growth;
use crate::layout::Taste;
use crate::rng::SceneRng;

pub fn taste(rng: &mut SceneRng) -> Taste {
    let fashion = rng.pick(&[Fashion::Downtown, Fashion::Downtown, Fashion::Suburb]);
    let suburb = fashion == Fashion::Suburb;
    Taste {
        fashion,
        stories: if suburb { (1, 3) } else { (3, 16) },
        lanes: &[2, 2, 3],
        lane_width: (3.3, 3.8),
        bend: 0.0014,
        junction: 0.55,
        tram: 0.06,
        parking: 0.3,
        verge: 0.4,
        sidewalk: (2.5, 4.5),
        built: if suburb { 0.65 } else { 0.85 },
        trees: 0.6,
        growth: &[Growth::Palm, Growth::Palm, Growth::Palm, Growth::Broadleaf],
        people: 0.6,
        cars: 0.9,
        heavy: 0.5,
        two_wheelers: 0.35,
        hills: 0.6,
        lamp: WHITE_LAMP,
        yellow_line: true,
        eye: (1.9, 2.9),
        focal: 0.82,
        pitch: (0.02, 0.07),
        hood: false,
    }
}
