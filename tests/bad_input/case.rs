//! One row of the tables, and what holds for all rows.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use ulda_tests::World;

/// Wrong configuration, data or checkpoints.
pub const BAD_INPUT: i32 = 78;
/// The command line itself is wrong.
pub const USAGE: i32 = 2;
/// The run directory's disk is full.
pub const DISK_REFUSES: i32 = 74;
/// Cannot be served now.
pub const UNAVAILABLE: i32 = 75;

/// One way in which a world can be wrong.
pub struct Case {
    pub name: &'static str,
    pub breaks: fn(&World),
    pub command: &'static [&'static str],
    pub code: i32,
    /// Words that must be said: what is meant, what is wrong, what to do.
    pub says: &'static [&'static str],
}

/// Leaves the world whole; the command line is what is wrong.
pub fn nothing(_: &World) {}

/// Runs every row, and tells of all that fail.
pub fn hold(cases: &[Case], make_world: fn() -> World) {
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| failure(case, &make_world()))
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} cases failed:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n\n")
    );
}

fn failure(case: &Case, world: &World) -> Option<String> {
    (case.breaks)(world);
    let before = contents(&world.path(""));
    let ended = world.start(case.command).finish();
    let said = ended.said();
    let mut wrong: Vec<String> = case
        .says
        .iter()
        .filter(|words| !said.contains(**words))
        .map(|words| format!("does not say `{words}`"))
        .collect();
    if ended.code != Some(case.code) {
        wrong.push(format!("exit code {:?}, expected {}", ended.code, case.code));
    }
    if case.code != USAGE && !said.contains("hint:") {
        wrong.push("no hint".to_owned());
    }
    for noise in ["panicked", "RUST_BACKTRACE", ", column: "] {
        if said.contains(noise) {
            wrong.push(format!("says `{noise}`"));
        }
    }
    wrong.extend(changed(&before, &contents(&world.path(""))));
    (!wrong.is_empty()).then(|| format!("{}: {}\nit said:\n{said}", case.name, wrong.join("; ")))
}

/// Every file and folder below, each file with a hash of its bytes.
pub fn contents(folder: &Path) -> BTreeMap<PathBuf, Option<u64>> {
    let mut found = BTreeMap::new();
    collect(folder, folder, &mut found);
    found
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, Option<u64>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_owned();
        if path.is_dir() {
            found.insert(name, None);
            collect(root, &path, found);
        } else if !is_journal(&path) {
            let mut hasher = DefaultHasher::new();
            std::fs::read(&path).unwrap().hash(&mut hasher);
            found.insert(name, Some(hasher.finish()));
        }
    }
}

/// SQLite's own files change when they are read.
fn is_journal(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("journal.sqlite")
}

fn changed(
    before: &BTreeMap<PathBuf, Option<u64>>,
    after: &BTreeMap<PathBuf, Option<u64>>,
) -> Option<String> {
    let names = |this: &BTreeMap<PathBuf, Option<u64>>, other: &BTreeMap<PathBuf, Option<u64>>| {
        let differ = this.iter().filter(|(name, hash)| other.get(*name) != Some(hash));
        differ
            .map(|(name, _)| name.display().to_string())
            .collect::<Vec<_>>()
    };
    let mut all = names(before, after);
    all.extend(names(after, before));
    all.dedup();
    (!all.is_empty()).then(|| format!("a refusal changed the disk: {}", all.join(", ")))
}
