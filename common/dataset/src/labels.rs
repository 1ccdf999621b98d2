//! The 19 Cityscapes classes and the table from label ids to train ids.
//!
//! Cityscapes, GTA5 and ACDC share the ids. Source: the class definitions published with the Cityscapes data set.

/// Train id of pixels that neither train nor score.
pub const IGNORE: u8 = 255;

/// Number of classes that train and score.
pub const CLASS_COUNT: usize = 19;

/// The largest label id of the Cityscapes table (licence plate); files of Cityscapes and ACDC hold nothing above it.
pub const LAST_LABEL_ID: u8 = 34;

/// One of the 19 classes; its place in [`CLASSES`] is its train id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    pub name: &'static str,
    /// Id in the `labelIds` files.
    pub label_id: u8,
    /// Red, green, blue of the Cityscapes palette.
    pub colour: [u8; 3],
}

const fn class(name: &'static str, label_id: u8, colour: [u8; 3]) -> Class {
    Class {
        name,
        label_id,
        colour,
    }
}

/// The classes in train-id order.
pub const CLASSES: [Class; CLASS_COUNT] = [
    class("road", 7, [128, 64, 128]),
    class("sidewalk", 8, [244, 35, 232]),
    class("building", 11, [70, 70, 70]),
    class("wall", 12, [102, 102, 156]),
    class("fence", 13, [190, 153, 153]),
    class("pole", 17, [153, 153, 153]),
    class("traffic light", 19, [250, 170, 30]),
    class("traffic sign", 20, [220, 220, 0]),
    class("vegetation", 21, [107, 142, 35]),
    class("terrain", 22, [152, 251, 152]),
    class("sky", 23, [70, 130, 180]),
    class("person", 24, [220, 20, 60]),
    class("rider", 25, [255, 0, 0]),
    class("car", 26, [0, 0, 142]),
    class("truck", 27, [0, 0, 70]),
    class("bus", 28, [0, 60, 100]),
    class("train", 31, [0, 80, 100]),
    class("motorcycle", 32, [0, 0, 230]),
    class("bicycle", 33, [119, 11, 32]),
];

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

const TRAIN_IDS: [u8; 256] = {
    let mut table = [IGNORE; 256];
    let mut train_id = 0;
    while train_id < CLASS_COUNT {
        table[CLASSES[train_id].label_id as usize] = train_id as u8;
        train_id += 1;
    }
    table
};

/// Train id of a label id; [`IGNORE`] for every id without a class.
pub const fn to_train_id(label_id: u8) -> u8 {
    TRAIN_IDS[label_id as usize]
}

/// Label id of a train id; 0 (unlabelled) for anything that is not a class.
pub const fn to_label_id(train_id: u8) -> u8 {
    if (train_id as usize) < CLASS_COUNT {
        CLASSES[train_id as usize].label_id
    } else {
        0
    }
}

/// Palette colour of a train id; black for anything that is not a class.
pub const fn colour_of(train_id: u8) -> [u8; 3] {
    if (train_id as usize) < CLASS_COUNT {
        CLASSES[train_id as usize].colour
    } else {
        [0, 0, 0]
    }
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

    #[test]
    fn label_ids_round_trip() {
        for train_id in 0..CLASS_COUNT as u8 {
            assert_eq!(to_train_id(to_label_id(train_id)), train_id);
        }
        assert_eq!(to_label_id(IGNORE), 0);
        assert_eq!(colour_of(IGNORE), [0, 0, 0]);
    }
}
