//! The borders that ARCHITECTURE.md draws: which crate may know which, and one declaration for each type name.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Type names that are declared more than once, each with the reason.
const DECLARED_TWICE: [(&str, &str); 0] = [];

/// Folders of crates, and the folders whose crates they may depend on.
const MAY_KNOW: [(&str, &[&str]); 4] = [
    ("proto", &["proto", "common"]),
    ("common", &["common", "proto"]),
    ("coordinator", &["coordinator", "common", "proto"]),
    ("worker", &["worker", "common", "proto"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// Top folder of a crate, by the path of its manifest.
fn top_folder(manifest: &str, root: &Path) -> String {
    let relative = Path::new(manifest).strip_prefix(root).unwrap();
    let first = relative.components().next().unwrap();
    first.as_os_str().to_str().unwrap().to_owned()
}

#[test]
fn neither_side_knows_the_other() {
    let root = root();
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
            "--manifest-path",
        ])
        .arg(root.join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let folders: BTreeMap<&str, String> = packages
        .iter()
        .map(|package| {
            let manifest = package["manifest_path"].as_str().unwrap();
            (package["name"].as_str().unwrap(), top_folder(manifest, &root))
        })
        .collect();
    let mut looked_at = 0;
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let Some((_, known)) = MAY_KNOW.iter().find(|(folder, _)| *folder == folders[name]) else {
            continue;
        };
        // Tests may use the fixtures and servers under tests/.
        let normal = package["dependencies"].as_array().unwrap().iter();
        for dependency in normal.filter(|dependency| dependency["kind"].is_null()) {
            let Some(folder) = folders.get(dependency["name"].as_str().unwrap()) else {
                continue;
            };
            looked_at += 1;
            if !known.contains(&folder.as_str()) {
                wrong.push(format!(
                    "{name} ({}) depends on {}",
                    folders[name], dependency["name"]
                ));
            }
        }
    }
    assert!(looked_at > 20, "only {looked_at} dependencies were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Rust files of the program: neither tests, examples and benchmarks, nor the crates under tests/.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !["tests", "examples", "benches", "target"].contains(&name) {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// The name of a type that a line declares and other files can see.
fn declared(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("pub")?;
    let rest = match rest.strip_prefix('(') {
        Some(scope) => scope.split_once(')')?.1,
        None => rest,
    };
    let (kind, name) = rest.trim_start().split_once(' ')?;
    let is_type = ["struct", "enum", "trait", "type", "union"].contains(&kind);
    let end = name
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(name.len());
    is_type.then_some(&name[..end])
}

#[test]
fn a_type_name_that_other_files_see_is_declared_once() {
    assert_eq!(declared("pub(super) struct Lane<'a> {"), Some("Lane"));
    assert_eq!(declared("    pub enum Order<M>"), Some("Order"));
    assert_eq!(declared("struct Private;"), None);
    let root = root();
    let mut files = Vec::new();
    for folder in ["proto", "common", "coordinator", "worker"] {
        sources(&root.join(folder), &mut files);
    }
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let program = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let file = file.strip_prefix(&root).unwrap().display().to_string();
        for name in program.lines().filter_map(declared) {
            places.entry(name.to_owned()).or_default().push(file.clone());
        }
    }
    assert!(places.len() > 500, "only {} names were found", places.len());
    let allowed = |name: &str| DECLARED_TWICE.iter().any(|(known, _)| *known == name);
    places.retain(|name, files| files.len() > 1 && !allowed(name));
    assert!(
        places.is_empty(),
        "give the more special one the longer name: {places:#?}"
    );
}

/// The texts of `#[error(…)]` attributes.
fn error_texts(program: &str) -> impl Iterator<Item = &str> {
    let attributes = program.split("#[error(").skip(1);
    attributes.map(|rest| rest.split(")]").next().unwrap())
}

#[test]
fn no_error_text_carries_its_hint() {
    let told = "#[error(\"no data; hint: mount it\")]\n    #[error(\"`{key}`: {what}; hint: {hint}\")]";
    assert_eq!(error_texts(told).count(), 2);
    let root = root();
    let mut files = Vec::new();
    for folder in ["proto", "common", "coordinator", "worker"] {
        sources(&root.join(folder), &mut files);
    }
    let mut looked_at = 0;
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for told in error_texts(&text) {
            looked_at += 1;
            // A field of that name is a hint that others can read without the text.
            if told.replace("hint: {hint}", "").contains("hint: ") {
                wrong.push(format!("{}: {told}", file.strip_prefix(&root).unwrap().display()));
            }
        }
    }
    assert!(looked_at > 300, "only {looked_at} texts were found");
    assert!(
        wrong.is_empty(),
        "let the method `hint` of the error return it: {wrong:#?}"
    );
}
