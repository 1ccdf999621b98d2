//! Label ids of Cityscapes, and their train ids.
//!
//! Cityscapes, GTA5 and ACDC share the ids. Source: the class definitions published with the Cityscapes data set.

use ulda_run::CITYSCAPES;

/// Train id of pixels that neither train nor score.
pub const IGNORE: u8 = 255;

/// The largest label id of the Cityscapes table (licence plate); files of Cityscapes and ACDC hold nothing above it.
pub const LAST_LABEL_ID: u8 = 34;

/// Colour of what has no class.
pub const BLACK: [u8; 3] = [0; 3];

/// Colours of labels without a class. Two such labels share the colour of one: polegroup that of pole, licence plate that of car.
pub const IGNORED_COLOURS: [[u8; 3]; 10] = [
    [0, 0, 0],
    [111, 74, 0],
    [81, 0, 81],
    [250, 170, 160],
    [230, 150, 140],
    [180, 165, 180],
    [150, 100, 100],
    [150, 120, 90],
    [0, 0, 90],
    [0, 0, 110],
];

/// Train id of a label id; [`IGNORE`] for every id without a class.
pub fn to_train_id(label_id: u8) -> u8 {
    let mut classes = CITYSCAPES.iter().zip(0..);
    let found = classes.find(|(class, _)| class.label_id == label_id);
    found.map_or(IGNORE, |(_, train_id)| train_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_the_published_one() {
        let ids = [
            7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33,
        ];
        for id in 0..=255u8 {
            let expected = ids
                .iter()
                .position(|&known| known == id)
                .map_or(IGNORE, |place| place as u8);
            assert_eq!(to_train_id(id), expected, "label id {id}");
        }
    }
}
