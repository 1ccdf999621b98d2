//! `acdc/rgb_anon/<condition>/<split>/<sequence>/*_rgb_anon.png` and `acdc/gt/.../*_gt_labelIds.png`.

use std::path::Path;

use crate::disk::Item;
use crate::layout::Style;
use crate::weather::Condition;

/// Scenes of one drive share a folder.
const PER_SEQUENCE: u32 = 20;

/// The pairs of one condition, `count` in each split.
pub fn items(condition: Condition, count: u32) -> Vec<Item> {
    let (first_drive, key) = match condition {
        Condition::Fog => (475, 10),
        Condition::Night => (351, 20),
        Condition::Rain => (400, 30),
        Condition::Snow => (122, 40),
        Condition::Clear | Condition::Game => (600, 50),
    };
    let mut items = Vec::new();
    for (split, offset) in [("train", 0), ("val", 1)] {
        for index in 0..count {
            let sequence = format!("GOPR{:04}", first_drive + offset * 50 + index / PER_SEQUENCE);
            let stem = format!("{sequence}_frame_{:06}", (index % PER_SEQUENCE + 1) * 30);
            let folder = |kind: &str| {
                Path::new("acdc")
                    .join(kind)
                    .join(condition.name())
                    .join(split)
                    .join(&sequence)
            };
            items.push(Item {
                style: Style::Acdc,
                condition,
                index,
                split_key: key + u64::from(offset),
                image: folder("rgb_anon").join(format!("{stem}_rgb_anon.png")),
                label: folder("gt").join(format!("{stem}_gt_labelIds.png")),
            });
        }
    }
    items
}
