//! `gta5/images/NNNNN.png`, `gta5/labels/NNNNN.png` (palette-indexed), `gta5/train_list.txt`, `gta5/val_list.txt`.

use std::fs;
use std::path::Path;

use crate::disk::Item;
use crate::error::StreetsError;
use crate::layout::Style;
use crate::weather::Condition;

/// The pairs, numbered from 1.
pub fn items(count: u32) -> Vec<Item> {
    (0..count)
        .map(|index| {
            let name = file_name(index);
            Item {
                style: Style::Gta,
                condition: Condition::Game,
                index,
                split_key: 60,
                image: Path::new("gta5/images").join(&name),
                label: Path::new("gta5/labels").join(&name),
            }
        })
        .collect()
}

fn file_name(index: u32) -> String {
    format!("{:05}.png", index + 1)
}

/// Every fourth scene is for validation, and the last one of fewer than four.
fn validates(index: u32, count: u32) -> bool {
    index % 4 == 3 || (count < 4 && index + 1 == count && count > 1)
}

/// Writes the two lists of file names under `out/gta5`.
pub(crate) fn write_lists(out: &Path, count: u32) -> Result<(), StreetsError> {
    for (name, wanted) in [("train_list.txt", false), ("val_list.txt", true)] {
        let lines: String = (0..count)
            .filter(|&i| validates(i, count) == wanted)
            .map(|i| file_name(i) + "\n")
            .collect();
        let path = out.join("gta5").join(name);
        fs::write(&path, lines).map_err(|source| StreetsError::Write { path, source })?;
    }
    Ok(())
}
