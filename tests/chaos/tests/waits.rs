//! Raw waiting calls stay in the files that docs/deadlines.md gives a reason for, and its table of deadlines
//! says what the program does.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ulda_run::spec::RunConfig;

/// Calls that block or suspend until something happens, without saying for how long at most.
const RAW: [&str; 6] = [
    ".recv()",
    ".join()",
    ".wait()",
    "thread::sleep(",
    "thread::park(",
    ".blocking_recv()",
];
const SOURCES: [&str; 4] = ["common", "coordinator", "worker", "tests/chaos"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn page() -> String {
    fs::read_to_string(root().join("docs/deadlines.md")).unwrap()
}

/// First cells, in code quotes, of the table under a heading.
fn cells<'a>(page: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let section = page.split(&format!("## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !["tests", "examples", "benches", "target"].contains(&name) {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "build.rs" {
            found.push(path);
        }
    }
}

/// The program's text: neither comments nor the file's own tests.
fn program(text: &str) -> impl Iterator<Item = &str> {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end]
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn raw_waiting_calls_are_where_the_page_says() {
    let root = root();
    let mut files = Vec::new();
    for folder in SOURCES {
        sources(&root.join(folder), &mut files);
    }
    let waits = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        // A call may be spread over lines.
        let dense: String = program(&text).flat_map(|line| line.trim().chars()).collect();
        RAW.iter().any(|call| dense.contains(call))
    };
    let relative = |path: &PathBuf| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    let found: BTreeSet<String> = files.iter().filter(|path| waits(path)).map(relative).collect();
    let page = page();
    let rows = cells(&page, "Calls that wait without a deadline of their own");
    let allowed: BTreeSet<String> = rows
        .iter()
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect();
    let new: Vec<_> = found.difference(&allowed).collect();
    assert!(
        new.is_empty(),
        "waits without a deadline, not in docs/deadlines.md: {new:?}"
    );
    let gone: Vec<_> = allowed.difference(&found).collect();
    assert!(
        gone.is_empty(),
        "docs/deadlines.md lists files that no longer wait: {gone:?}"
    );
}

#[test]
fn the_page_has_every_deadline_with_its_default() {
    let config = serde_json::to_value(RunConfig::default()).unwrap();
    let page = page();
    let rows = cells(&page, "Set in run.toml");
    let mut told = BTreeSet::new();
    for row in &rows {
        let key = row[0].trim_matches('`');
        let value = config.pointer(&format!("/{}", key.replace('.', "/")));
        let value = value.unwrap_or_else(|| panic!("`{key}` is not a key of a run.toml"));
        assert_eq!(value.as_f64(), row[1].parse().ok(), "{key}");
        told.insert(key.to_owned());
    }
    for key in config["deadline"].as_object().unwrap().keys() {
        assert!(
            told.contains(&format!("deadline.{key}")),
            "deadline.{key} is missing in docs/deadlines.md"
        );
    }
}
