//! Finds unknown keys, values of a wrong type and missing keys in a tree of TOML.

use toml::{Table, Value};
use ulda_run::spec::{Key, Keys, PathName, ValueKind};

use super::nearest::nearest;
use super::places::join;
use super::problem::Problem;

/// Names the files that a file extends; stands before its first section.
pub const EXTENDS: &str = "extends";

/// All that is wrong with the keys and types of a whole tree.
#[must_use]
pub fn problems(tree: &Table) -> Vec<Problem> {
    let mut problems = Vec::new();
    section(&Keys::of_run().sections, "", "", tree, &mut problems);
    problems
}

/// All that is wrong with one value, which may be a section. `shown` is the key as it was written.
pub fn check(key: &Key, plain: &str, shown: &str, value: &Value, problems: &mut Vec<Problem>) {
    if !key.kind.accepts(value) {
        let no_name = match (&key.kind, value) {
            (ValueKind::Name, Value::String(name)) => name.parse::<PathName>().err(),
            _ => None,
        };
        let what = no_name.map_or_else(|| format!("is {}", describe(value)), |why| why.to_string());
        problems.push(Problem::new(shown, what, format!("give {}", key.kind.wanted())));
        return;
    }
    match (&key.kind, value) {
        (ValueKind::Section(members), Value::Table(inner)) => section(members, plain, shown, inner, problems),
        (ValueKind::List(members), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                let Value::Table(inner) = item else { continue };
                let shown = format!("{shown}[{index}]");
                section(members, plain, &shown, inner, problems);
                for key in members
                    .iter()
                    .filter(|key| key.required && !inner.contains_key(&key.name))
                {
                    let hint = format!("give {}", key.kind.wanted());
                    problems.push(Problem::new(&join(&shown, &key.name), "is missing", hint));
                }
            }
        }
        _ => {}
    }
}

fn section(keys: &[Key], plain: &str, shown: &str, table: &Table, problems: &mut Vec<Problem>) {
    for (name, value) in table {
        let (plain, shown) = (join(plain, name), join(shown, name));
        match keys.iter().find(|key| key.name == *name) {
            Some(key) => check(key, &plain, &shown, value, problems),
            None => problems.push(unknown(&shown, &plain)),
        }
    }
}

/// The problem with a key that does not exist.
#[must_use]
pub fn unknown(shown: &str, plain: &str) -> Problem {
    let keys = Keys::of_run();
    let all = keys.all();
    let last = plain.rsplit('.').next();
    let hint = match nearest(plain, all.iter().map(|(path, _)| path.as_str())) {
        _ if last == Some(EXTENDS) => {
            format!("`{EXTENDS}` stands in a file, before its first section")
        }
        Some(near) => format!("the nearest known key is `{near}`"),
        None => {
            let section = plain.rsplit_once('.').map_or("", |(section, _)| section);
            match keys.get(section) {
                Some(key) => format!("`{section}` has {}", names(key.members())),
                None => format!("the sections are {}", names(&keys.sections)),
            }
        }
    };
    Problem::new(shown, "is not a key of a run.toml", hint)
}

fn names(keys: &[Key]) -> String {
    let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
    names.join(", ")
}

pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the text \"{text}\""),
        Value::Integer(number) => format!("{number}"),
        Value::Float(number) => format!("{number}"),
        Value::Boolean(switch) => format!("{switch}"),
        Value::Datetime(moment) => format!("the date {moment}"),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Table(_) => "a section".to_owned(),
    }
}
