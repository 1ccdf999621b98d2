//! What people read about the keys of a run.toml, written from their documentation: the commented file of `coordinator
//! init` and the reference page.

use std::fmt::Write;

use toml::{Table, Value};
use ulda_run::spec::{Key, Keys, RunConfig, ValueKind, Word, json_schema};

use super::keys::EXTENDS;

/// Columns of a comment.
const WIDTH: usize = 118;

/// A run.toml with every key, its documentation and its value in `config`. What has none shows an example: behind `#` where
/// it may be left out.
#[must_use]
pub fn commented_run_toml(config: &RunConfig) -> String {
    let keys = Keys::of_run();
    let mut text = comment(&keys.documentation);
    let _ = write!(
        text,
        "\n{}# {EXTENDS} = \"base.toml\"\n",
        comment(EXTENDS_MEANING)
    );
    let tree = config.to_table();
    for section in &keys.sections {
        write_section(&mut text, &section.name, section, tree.get(&section.name));
    }
    text
}

/// The JSON Schema of a run.toml's file: its keys, and the files that it extends.
#[must_use]
pub fn file_schema() -> serde_json::Value {
    let mut schema = json_schema();
    schema["properties"][EXTENDS] = serde_json::json!({
        "description": EXTENDS_MEANING,
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    });
    schema
}

const EXTENDS_MEANING: &str = "\
Files whose values this one takes over, relative to this file: one path, or a list in which later files come over earlier \
ones. This file comes over all of them.";

const PAGE_HEAD: &str = "\
# Configuration

Every key of a run.toml, as `coordinator schema --format markdown` prints it. `coordinator init` writes the same as a commented file.

Editors complete and check keys with a JSON Schema: write it with `coordinator schema > run.schema.json` and begin the
run.toml with `#:schema ./run.schema.json` (Taplo, Even Better TOML).

A name is at most 100 ASCII letters, digits, `-`, `_` and `.`, the first a letter or digit. Relative paths start at the folder
of the run.toml; a path to data or weights may be a URL (`s3://bucket/key`, `file:///folder`). A value out of range is refused
even where the run has no use for it.

## Several files

| key | value | default | meaning |
|--|--|--|--|
| `extends` | path or list of paths | | Stands before the first section. Files whose values this one takes over, relative to this file; later ones come over earlier ones, and this file over all |

What runs have in common stands in one file, and each run says what differs:

```toml
extends = \"base.toml\"

[run]
name = \"night-s2\"
seed = 2
```

Sections are merged key by key. Any other value replaces the one before it, also a list such as `[[domain]]` or `[[evaluate.set]]`, of which
a file says all items or none. What another file sets can be changed, not removed. Relative paths start at the folder of the file that
says them; with `coordinator submit` all start at the first `--data-claim`. At most 8 files extend each other in a row. Messages
name file and line. The run's directory keeps the merged configuration, and the files are not read again.
";

/// `docs/configuration.md`.
#[must_use]
pub fn reference_page() -> String {
    let keys = Keys::of_run();
    let mut page = PAGE_HEAD.to_owned();
    for (path, key) in keys.all() {
        let (heading, members) = match &key.kind {
            ValueKind::Section(members) => (format!("[{path}]"), members),
            ValueKind::List(members) => (format!("[[{path}]]"), members),
            _ => continue,
        };
        let level = "#".repeat(2 + path.matches('.').count());
        let _ = write!(page, "\n{level} `{heading}`\n\n{}\n\n", key.documentation);
        page.push_str("| key | value | default | meaning |\n|--|--|--|--|\n");
        for key in members.iter().filter(|key| key.members().is_empty()) {
            let default = match &key.default {
                Some(value) if !is_empty(value) => format!("`{value}`"),
                _ if key.required => "required".to_owned(),
                _ => String::new(),
            };
            let meaning = with_words(key, "<br>").replace('|', "\\|");
            let _ = writeln!(
                page,
                "| `{}` | {} | {default} | {meaning} |",
                key.name,
                values(&key.kind)
            );
        }
    }
    page
}

/// `set` is the section in the configuration, or the list of such sections.
fn write_section(text: &mut String, path: &str, section: &Key, set: Option<&Value>) {
    let items: Vec<&Table> = match set.filter(|set| !is_empty(set)).or(section.example.as_ref()) {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_table).collect(),
        Some(Value::Table(section)) => vec![section],
        _ => Vec::new(),
    };
    let heading = match section.kind {
        ValueKind::List(_) => format!("[[{path}]]"),
        _ => format!("[{path}]"),
    };
    let _ = write!(text, "\n{}{heading}\n", comment(&section.documentation));
    let (values, sections): (Vec<&Key>, Vec<&Key>) =
        section.members().iter().partition(|key| key.members().is_empty());
    for key in values {
        text.push_str(&comment(&with_words(key, "\n")));
        let given = items.first().and_then(|item| item.get(&key.name));
        let given = given.filter(|value| !is_empty(value));
        let default = key.default.as_ref().filter(|value| !is_empty(value));
        let value = given.or(default).or(key.example.as_ref());
        // An empty text is a value that has to be filled in.
        let left_out = given.is_none() && default.is_none() && !matches!(key.default, Some(Value::String(_)));
        let mark = if left_out { "# " } else { "" };
        if let Some(value) = value {
            let _ = writeln!(text, "{mark}{} = {value}", key.name);
        }
    }
    for item in items.iter().skip(1) {
        let _ = write!(text, "\n{heading}\n{item}");
    }
    for inner in sections {
        let set = items.first().and_then(|item| item.get(&inner.name));
        write_section(text, &format!("{path}.{}", inner.name), inner, set);
    }
}

/// What a key takes, in few words.
fn values(kind: &ValueKind) -> String {
    match kind {
        ValueKind::Text => "text".to_owned(),
        ValueKind::Name => "name".to_owned(),
        ValueKind::Path => "path".to_owned(),
        ValueKind::Paths => "list of paths".to_owned(),
        other => other.wanted().trim_start_matches("a ").to_owned(),
    }
}

/// The key's documentation and that of each word it takes.
fn with_words(key: &Key, separator: &str) -> String {
    let (ValueKind::Word(words) | ValueKind::Texts(words)) = &key.kind else {
        return key.documentation.clone();
    };
    let documented = words.iter().filter(|word| !word.documentation.is_empty());
    let lines = documented.map(|Word { name, documentation }| format!("{name}: {documentation}"));
    std::iter::once(key.documentation.clone())
        .chain(lines)
        .collect::<Vec<_>>()
        .join(separator)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Table(members) => members.is_empty(),
        _ => false,
    }
}

/// The text behind `#`, its lines broken at [`WIDTH`].
fn comment(text: &str) -> String {
    let mut lines = String::new();
    for paragraph in text.lines() {
        let mut line = "#".to_owned();
        for word in paragraph.split(' ').filter(|word| !word.is_empty()) {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                lines.push_str(&line);
                lines.push('\n');
                line = "#".to_owned();
            }
            line.push(' ');
            line.push_str(word);
        }
        lines.push_str(&line);
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::problems;

    #[test]
    fn the_commented_file_holds_every_key_and_the_defaults() {
        let text = commented_run_toml(&RunConfig::default());
        let file: Table = text.parse().unwrap();
        assert_eq!(problems(&file), []);
        for (path, key) in Keys::of_run().all() {
            let there = text.lines().any(|line| {
                let line = line.trim_start_matches("# ");
                line.starts_with(&format!("{} = ", key.name)) || line.trim_matches(['[', ']']) == path
            });
            assert!(there, "`{path}` does not appear in\n{text}");
        }
        let mut config: RunConfig = file.try_into().unwrap();
        config.clip = Default::default();
        config.source.root = Default::default();
        config.domains.clear();
        config.evaluate.sets.clear();
        assert_eq!(config, RunConfig::default());
    }

    #[test]
    fn the_reference_page_in_the_repository_is_what_the_program_writes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            there == reference_page(),
            "docs/configuration.md is not what the program writes\n  hint: coordinator schema --format markdown > docs/configuration.md"
        );
    }
}
