//! Cityscapes label ids, their palette and their train ids.

/// A Cityscapes *label id* (not a train id).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Label {
    Unlabeled = 0,
    EgoVehicle = 1,
    Static = 4,
    Dynamic = 5,
    Ground = 6,
    Road = 7,
    Sidewalk = 8,
    Parking = 9,
    RailTrack = 10,
    Building = 11,
    Wall = 12,
    Fence = 13,
    Pole = 17,
    TrafficLight = 19,
    TrafficSign = 20,
    Vegetation = 21,
    Terrain = 22,
    Sky = 23,
    Person = 24,
    Rider = 25,
    Car = 26,
    Truck = 27,
    Bus = 28,
    Train = 31,
    Motorcycle = 32,
    Bicycle = 33,
}

/// How many label ids Cityscapes has (0 to 33).
pub const LABEL_COUNT: usize = 34;

/// The label ids that are evaluated, in train-id order.
pub const TRAIN_CLASSES: [u8; 19] = [
    7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33,
];

/// The published colour of each label id (RGB).
pub const PALETTE: [[u8; 3]; LABEL_COUNT] = [
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [111, 74, 0],
    [81, 0, 81],
    [128, 64, 128],
    [244, 35, 232],
    [250, 170, 160],
    [230, 150, 140],
    [70, 70, 70],
    [102, 102, 156],
    [190, 153, 153],
    [180, 165, 180],
    [150, 100, 100],
    [150, 120, 90],
    [153, 153, 153],
    [153, 153, 153],
    [250, 170, 30],
    [220, 220, 0],
    [107, 142, 35],
    [152, 251, 152],
    [70, 130, 180],
    [220, 20, 60],
    [255, 0, 0],
    [0, 0, 142],
    [0, 0, 70],
    [0, 60, 100],
    [0, 0, 90],
    [0, 0, 110],
    [0, 80, 100],
    [0, 0, 230],
    [119, 11, 32],
];
