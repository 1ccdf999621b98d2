//! `cityscapes/leftImg8bit/<split>/<city>/*_leftImg8bit.png` and `cityscapes/gtFine/.../*_gtFine_labelIds.png`.

use std::path::Path;

use crate::disk::Item;
use crate::layout::Style;
use crate::weather::Condition;

const TRAIN: [&str; 6] = ["aachen", "bochum", "bremen", "cologne", "hamburg", "jena"];
const VAL: [&str; 3] = ["frankfurt", "lindau", "munster"];

/// The pairs of both splits.
pub fn items(train: u32, val: u32) -> Vec<Item> {
    let split = |name: &str, cities: &[&str], key: u64, count: u32| -> Vec<Item> {
        (0..count)
            .map(|index| {
                let city = cities[index as usize % cities.len()];
                let stem = format!("{city}_{:06}_000019", index as usize / cities.len());
                let folder = |kind: &str| Path::new("cityscapes").join(kind).join(name).join(city);
                Item {
                    style: Style::Cityscapes,
                    condition: Condition::Clear,
                    index,
                    split_key: key,
                    image: folder("leftImg8bit").join(format!("{stem}_leftImg8bit.png")),
                    label: folder("gtFine").join(format!("{stem}_gtFine_labelIds.png")),
                }
            })
            .collect()
    };
    let mut items = split("train", &TRAIN, 0, train);
    items.extend(split("val", &VAL, 1, val));
    items
}
