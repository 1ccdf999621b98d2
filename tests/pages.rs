//! The pages in Markdown: links lead somewhere, examples of a run.toml have keys that exist, and the book lists every page.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What builds and runs leave in the repository's folder, as .gitignore lists it.
const NOT_OURS: [&str; 5] = ["target", "demo", "runs", "bench", "evidence"];

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap().to_owned()
}

fn find_pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap_or(".");
        let kind = fs::symlink_metadata(&path).unwrap();
        let theirs = name.starts_with('.') || folder == root() && NOT_OURS.contains(&name);
        if kind.is_dir() && !theirs {
            find_pages(&path, found);
        } else if kind.is_file() && name.ends_with(".md") {
            found.push(path);
        }
    }
}

fn pages() -> BTreeMap<PathBuf, String> {
    let mut found = Vec::new();
    find_pages(&root(), &mut found);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    found.into_iter().map(read).collect()
}

/// A page cut at its fences: (language, text), with no language for what lies outside.
fn pieces(page: &str) -> Vec<(Option<&str>, String)> {
    let mut pieces = vec![(None, String::new())];
    for line in page.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let opens = pieces.last().unwrap().0.is_none();
            pieces.push((opens.then_some(language), String::new()));
        } else {
            let text = &mut pieces.last_mut().unwrap().1;
            text.push_str(line);
            text.push('\n');
        }
    }
    pieces
}

/// Text outside fences and `code`.
fn prose(page: &str) -> String {
    let outside = pieces(page)
        .into_iter()
        .filter(|(language, _)| language.is_none());
    let text: Vec<String> = outside.map(|(_, text)| text).collect();
    text.join("\n").split('`').step_by(2).collect()
}

/// Targets of `[text](target)`.
fn links(page: &str) -> Vec<String> {
    let text = prose(page);
    let after = text.split("](").skip(1);
    after
        .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
        .collect()
}

/// Anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, text) in pieces(page).iter().filter(|(language, _)| language.is_none()) {
        for heading in text.lines().filter(|line| line.starts_with('#')) {
            let title = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            let anchor = kept.collect::<String>().replace(' ', "-");
            let again = (1..).map(|number| format!("{anchor}-{number}"));
            let free = std::iter::once(anchor.clone())
                .chain(again)
                .find(|name| !anchors.contains(name));
            anchors.insert(free.unwrap());
        }
    }
    anchors
}

fn broken(from: &Path, link: &str, pages: &BTreeMap<PathBuf, String>) -> Option<String> {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match file {
        "" => from.to_owned(),
        file => from.parent().unwrap().join(file),
    };
    let Ok(target) = target.canonicalize() else {
        return Some("no such file".to_owned());
    };
    if !target.starts_with(root().canonicalize().unwrap()) {
        return Some("it leaves the repository".to_owned());
    }
    let known = pages
        .iter()
        .find(|(path, _)| path.canonicalize().unwrap() == target);
    match known {
        _ if anchor.is_empty() => None,
        Some((_, text)) if anchors(text).contains(anchor) => None,
        Some(_) => Some(format!("no heading makes the anchor `{anchor}`")),
        None => Some("only a page has anchors".to_owned()),
    }
}

#[test]
fn links_lead_to_files_and_headings() {
    let page = "# A `b` (c), d\n[x](y.md#z) `[no](link)`\n```\n[no](link)\n# no\n```\n## A b c d\n";
    assert_eq!(links(page), ["y.md#z"]);
    let made: Vec<String> = anchors(page).into_iter().collect();
    assert_eq!(made, ["a-b-c-d", "a-b-c-d-1"]);

    let pages = pages();
    let mut checked = 0;
    let mut wrong = Vec::new();
    for (path, text) in &pages {
        for link in links(text).iter().filter(|link| !link.contains("://")) {
            checked += 1;
            if let Some(why) = broken(path, link, &pages) {
                wrong.push(format!("{}: ({link}): {why}", path.display()));
            }
        }
    }
    assert!(checked > 150, "only {checked} links were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Keys of each section, as docs/configuration.md lists them.
fn known_keys(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut section = String::new();
    for line in page.lines() {
        if let Some(heading) = line.trim_start_matches('#').trim().strip_prefix("`[") {
            section = heading.trim_matches(['[', ']', '`']).to_owned();
        } else if let Some(key) = line.strip_prefix("| `").and_then(|row| row.split('`').next()) {
            keys.entry(section.clone()).or_default().insert(key.to_owned());
        }
    }
    keys
}

/// (section, key) of each line `key = value`, and (section, "") of each header.
fn used_keys(block: &str) -> Vec<(String, String)> {
    let mut used = Vec::new();
    let mut section = String::new();
    for line in block.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            section = header
                .split(']')
                .next()
                .unwrap()
                .trim_start_matches('[')
                .to_owned();
            used.push((section.clone(), String::new()));
        } else if let Some((key, _)) = line.split_once(" = ") {
            used.push((section.clone(), key.to_owned()));
        }
    }
    used
}

#[test]
fn examples_of_a_run_toml_have_keys_that_exist() {
    let pages = pages();
    let known = known_keys(&pages[&root().join("docs/configuration.md")]);
    assert!(known["adapt"].contains("steps") && known["evaluate.set"].contains("root"));
    let mut checked = 0;
    let mut wrong = Vec::new();
    for (path, text) in &pages {
        let blocks = pieces(text)
            .into_iter()
            .filter(|(language, _)| *language == Some("toml"));
        for (section, key) in blocks.flat_map(|(_, block)| used_keys(&block)) {
            checked += 1;
            let keys = known.get(&section);
            if keys.is_none_or(|keys| !key.is_empty() && !keys.contains(&key)) {
                wrong.push(format!("{}: [{section}] {key}", path.display()));
            }
        }
    }
    assert!(checked > 50, "only {checked} keys were found");
    assert!(
        wrong.is_empty(),
        "not in docs/configuration.md, or without a section: {wrong:#?}"
    );
}

#[test]
fn the_book_lists_every_page_of_docs_once() {
    let docs = root().join("docs");
    let pages = pages();
    let summary = docs.join("SUMMARY.md");
    let listed = links(&pages[&summary]);
    let once: BTreeSet<&String> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "docs/SUMMARY.md lists a page twice");
    let missing: Vec<String> = pages
        .keys()
        .filter(|path| **path != summary)
        .filter_map(|path| Some(path.strip_prefix(&docs).ok()?.display().to_string()))
        .filter(|page| !once.contains(page))
        .collect();
    assert!(missing.is_empty(), "add to docs/SUMMARY.md: {missing:#?}");
}
