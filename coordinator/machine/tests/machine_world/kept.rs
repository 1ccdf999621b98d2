//! Lives as files.

use std::fs;
use std::path::PathBuf;

use super::Life;

fn folder() -> PathBuf {
    // Asked for when the tests run: they may have been built in another copy of the tree.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(here).join("tests/machine_world/lives")
}

/// Every life that was kept, by name.
pub fn all() -> Vec<(String, Life)> {
    let entries = fs::read_dir(folder()).expect("the folder of kept lives is there");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut lives: Vec<(String, Life)> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a kept life can be read");
            let life =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let name = path
                .file_stem()
                .expect("a file has a name")
                .to_string_lossy()
                .into_owned();
            (name, life)
        })
        .collect();
    lives.sort_by(|(one, _), (other, _)| one.cmp(other));
    lives
}

/// Writes a life under a name made of what went wrong in it.
pub fn keep(life: &Life, reason: &str) -> String {
    let words = reason
        .split(|letter: char| !letter.is_ascii_alphabetic())
        .filter(|word| !word.is_empty());
    let what = words.take(6).collect::<Vec<_>>().join("-").to_lowercase();
    let name = format!("{what}-{:x}", life.seed & 0xffff);
    let text = serde_json::to_string_pretty(life).expect("a life is plain values");
    fs::write(folder().join(format!("{name}.json")), text + "\n").expect("the life can be kept");
    name
}
