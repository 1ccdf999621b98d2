//! The borders that ARCHITECTURE.md draws: which crate may know which, no circles between modules, and one declaration for
//! each type name.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::{BTreeMap, BTreeSet};
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

/// Modules of one folder that import each other, each with the reason.
const CIRCLES: [(&str, &[&str], &str); 2] = [
    (
        "worker/src/stages/simulate",
        &["bank", "pieces"],
        "a bank is kept in pieces, and pieces are written as a bank's header and bytes",
    ),
    (
        "coordinator/src/cli",
        &["arguments", "common", "finished", "stages"],
        "an argument's type is in the file of its verb: to be broken by giving `ChosenStages` a file, as `Since` has",
    ),
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

/// What a crate's program is, without comments and tests, by the path of each module.
fn modules(sources_of: &Path) -> BTreeMap<Vec<String>, String> {
    let mut files = Vec::new();
    sources(sources_of, &mut files);
    let module = |file: &PathBuf| {
        let path = file.strip_prefix(sources_of).unwrap().with_extension("");
        let mut names: Vec<String> = path
            .iter()
            .map(|name| name.to_str().unwrap().to_owned())
            .collect();
        names.pop_if(|last| ["mod", "lib", "main"].contains(&last.as_str()));
        let text = fs::read_to_string(file).unwrap();
        let program = text.split("#[cfg(test)]\nmod ").next().unwrap().lines();
        let code = program.map(|line| line.split("//").next().unwrap());
        (names, code.collect::<Vec<_>>().join("\n"))
    };
    let program = files.iter().filter(|file| !file.ends_with("tests.rs"));
    program.map(module).collect()
}

/// The paths that begin with `crate`, `super` or `self`, with the braces of imports resolved.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut prefixes: Vec<Vec<String>> = Vec::new();
    let mut word = String::new();
    for c in code.chars().chain([';']) {
        match c {
            c if c.is_alphanumeric() || c == '_' => word.push(c),
            ':' => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            '{' if !words.is_empty() => {
                let mut prefix = prefixes.last().cloned().unwrap_or_default();
                prefix.append(&mut words);
                prefixes.push(prefix);
            }
            c if c.is_whitespace() && !prefixes.is_empty() && word.is_empty() => {}
            c => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                let mut path = prefixes.last().cloned().unwrap_or_default();
                path.append(&mut words);
                if path.len() > 1 && ["crate", "super", "self"].contains(&path[0].as_str()) {
                    found.push(path);
                }
                if c == '}' {
                    prefixes.pop();
                }
                if c == ';' {
                    prefixes.clear();
                }
            }
        }
    }
    found
}

/// The module that `path` names inside `here`.
fn target(here: &[String], path: &[String], known: &BTreeMap<Vec<String>, String>) -> Option<Vec<String>> {
    let ups = path.iter().take_while(|word| *word == "super").count();
    let (from, rest) = match path[0].as_str() {
        "crate" => (0, &path[1..]),
        "self" => (here.len(), &path[1..]),
        _ => (here.len().checked_sub(ups)?, &path[ups..]),
    };
    let full = [&here[..from], rest].concat();
    (1..=full.len())
        .rev()
        .map(|length| full[..length].to_vec())
        .find(|module| known.contains_key(module))
}

/// Modules beside each other, by folder, that reach each other over imports.
fn circles(modules: &BTreeMap<Vec<String>, String>) -> BTreeSet<(Vec<String>, Vec<String>)> {
    let mut imports: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for (here, code) in modules {
        for path in paths(code) {
            let Some(there) = target(here, &path, modules) else {
                continue;
            };
            let common = here.iter().zip(&there).take_while(|(a, b)| a == b).count();
            if common < here.len() && common < there.len() {
                let entry = imports.entry(here[..=common].to_vec()).or_default();
                entry.insert(there[..=common].to_vec());
            }
        }
    }
    let reached = |from: &Vec<String>| {
        let mut seen: BTreeSet<Vec<String>> = BTreeSet::new();
        let mut left = vec![from.clone()];
        while let Some(module) = left.pop() {
            let next = imports.get(&module).into_iter().flatten();
            left.extend(next.filter(|next| seen.insert((*next).clone())).cloned());
        }
        seen
    };
    let all: BTreeMap<_, _> = imports.keys().map(|from| (from, reached(from))).collect();
    let circle = |from: &Vec<String>| {
        let back = |to: &&Vec<String>| all.get(to).is_some_and(|reach| reach.contains(from));
        let names = all[from].iter().filter(back);
        let names: Vec<String> = names.filter_map(|module| module.last().cloned()).collect();
        (from[..from.len() - 1].to_vec(), names)
    };
    let circles = imports.keys().map(circle);
    circles.filter(|(_, names)| names.len() > 1).collect()
}

#[test]
fn modules_do_not_import_each_other_in_circles() {
    let code = "use super::{a::{B, c}, d}; fn f() -> crate::e::F { (g, h) } use std::{i, j};";
    let read: Vec<String> = paths(code).iter().map(|path| path.join("::")).collect();
    assert_eq!(read, ["super::a::B", "super::a::c", "super::d", "crate::e::F"]);
    let program = |files: [(&str, &str); 3]| {
        let split = |(name, code): (&str, &str)| {
            let names = name.split('/').map(str::to_owned).collect::<Vec<_>>();
            (names, code.to_owned())
        };
        circles(&files.map(split).into_iter().collect())
    };
    let one_way = program([("a", "use crate::b;"), ("b", "use crate::c;"), ("c", "")]);
    assert!(one_way.is_empty(), "{one_way:?}");
    let round = program([
        ("x/a", "use super::b::B;"),
        ("x/b", "fn f(c: crate::x::c::C)"),
        ("x/c", "use super::a;"),
    ]);
    let names = ["a", "b", "c"].map(str::to_owned).to_vec();
    assert_eq!(round, BTreeSet::from([(vec!["x".to_owned()], names)]));

    let mut found = BTreeSet::new();
    for folder in ["worker/src", "coordinator/src"] {
        let modules = modules(&root().join(folder));
        assert!(modules.len() > 40, "only {} modules were found", modules.len());
        for (path, names) in circles(&modules) {
            let place = [folder.to_owned()].into_iter().chain(path);
            found.insert((place.collect::<Vec<_>>().join("/"), names));
        }
    }
    let known = CIRCLES.map(|(place, names, _)| {
        let names = names.iter().map(|name| (*name).to_owned());
        (place.to_owned(), names.collect::<Vec<_>>())
    });
    assert_eq!(found, known.into(), "found, and listed in CIRCLES");
}

#[test]
fn the_stages_know_nothing_of_the_agent() {
    let modules = modules(&root().join("worker/src"));
    let stages = modules
        .iter()
        .filter(|(module, _)| module.first().is_some_and(|first| first == "stages"));
    let knows = |(here, code): (&Vec<String>, &String)| {
        let targets = paths(code)
            .into_iter()
            .filter_map(|path| target(here, &path, &modules));
        let mut agents = targets.filter(|module| module[0] == "agent");
        agents.next().map(|_| here.join("/"))
    };
    assert!(stages.clone().count() > 15);
    let wrong: Vec<String> = stages.filter_map(knows).collect();
    assert!(wrong.is_empty(), "the trainer stands between them: {wrong:?}");
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
