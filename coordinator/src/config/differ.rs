//! In what two resolved configurations differ, for the sentence that refuses a run directory.

use std::collections::BTreeMap;
use std::fmt;

use toml::{Table, Value};

/// One key with both of its values; `None` where it is not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDifference {
    pub key: String,
    pub there: Option<String>,
    pub here: Option<String>,
}

impl fmt::Display for KeyDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        write!(
            f,
            "`{}` is {} there and {} here",
            self.key,
            shown(&self.there),
            shown(&self.here)
        )
    }
}

/// The keys whose values differ, in order of name.
#[must_use]
pub fn differences(there: &Table, here: &Table) -> Vec<KeyDifference> {
    let (there, here) = (flat(there), flat(here));
    let mut keys: Vec<&String> = there.keys().chain(here.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| there.get(*key) != here.get(*key))
        .map(|key| KeyDifference {
            key: key.clone(),
            there: there.get(key).cloned(),
            here: here.get(key).cloned(),
        })
        .collect()
}

fn flat(table: &Table) -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    for (key, value) in table {
        collect(key, value, &mut leaves);
    }
    leaves
}

fn collect(path: &str, value: &Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) => {
            for (key, inner) in table {
                collect(&format!("{path}.{key}"), inner, leaves);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_table) => {
            for (index, inner) in items.iter().enumerate() {
                collect(&format!("{path}[{index}]"), inner, leaves);
            }
        }
        leaf => {
            leaves.insert(path.to_owned(), leaf.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_each_key_once() {
        let there: Table = "a = 1\n[b]\nc = \"x\"\n[[d]]\ne = 1".parse().unwrap();
        let here: Table = "a = 2\n[b]\nc = \"x\"\n[[d]]\ne = 1\n[[d]]\ne = 3"
            .parse()
            .unwrap();
        let lines: Vec<String> = differences(&there, &here)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            lines,
            [
                "`a` is 1 there and 2 here",
                "`d[1].e` is not set there and 3 here"
            ]
        );
    }
}
