//! Where keys stand in files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// The places of keys, sections and items of lists, by paths such as `domain[0].name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPlaces(BTreeMap<String, KeyPlace>);

impl KeyPlaces {
    /// Of the TOML in `text`; none where it is no TOML.
    pub(super) fn of_file(file: &Path, text: &str) -> Self {
        let mut lines = Lines {
            text,
            found: Vec::new(),
        };
        if let Ok(tree) = DeTable::parse(text) {
            lines.table("", tree.get_ref());
        }
        let placed = lines.found.into_iter().map(|(key, line)| {
            let file = file.to_owned();
            (key, KeyPlace { file, line })
        });
        Self(placed.collect())
    }

    /// The place of a key; of one that is not there, that of the section or item which lacks it.
    #[must_use]
    pub fn nearest(&self, key: &str) -> Option<&KeyPlace> {
        let mut key = key;
        loop {
            if let Some(place) = self.0.get(key) {
                return Some(place);
            }
            key = &key[..key.rfind(['.', '['])?];
        }
    }

    /// The place of the value of a key, or of the list that has it as an item.
    #[must_use]
    pub fn of_value(&self, key: &str) -> Option<&KeyPlace> {
        let list = || self.0.get(key.strip_suffix(']')?.rsplit_once('[')?.0);
        self.0.get(key).or_else(list)
    }

    /// Forgets the places of a key and of all below it.
    pub(super) fn remove(&mut self, key: &str) {
        let below = |place: &str| {
            let rest = place.strip_prefix(key);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.0.retain(|place, _| !below(place));
    }

    /// Takes over all places of `other`.
    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

/// "a.b".
pub(super) fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}

struct Lines<'a> {
    text: &'a str,
    found: Vec<(String, usize)>,
}

impl Lines<'_> {
    fn note(&mut self, key: &str, start: usize) {
        let before = self.text.get(..start).unwrap_or_default();
        self.found
            .push((key.to_owned(), 1 + before.matches('\n').count()));
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = join(prefix, name.get_ref());
            self.note(&key, name.span().start);
            self.value(&key, value);
        }
    }

    fn value(&mut self, key: &str, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(inner) => self.table(key, inner),
            DeValue::Array(items) => self.items(key, items),
            _ => {}
        }
    }

    fn items(&mut self, key: &str, items: &DeArray<'_>) {
        for (index, item) in items.iter().enumerate() {
            let key = format!("{key}[{index}]");
            if let DeValue::Table(_) = item.get_ref() {
                self.note(&key, item.span().start);
            }
            self.value(&key, item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "run.name = \"a\"\n[adapt]\nsteps = 3\n\n[[domain]]\nname = \"x\"\n[[domain]]\n\nname = \"y\"\n\
                        images = [\n  \"a\",\n]\n[evaluate]\nset = [{ name = \"z\" }]\n";

    fn line(key: &str) -> Option<usize> {
        let places = KeyPlaces::of_file(Path::new("run.toml"), TEXT);
        places.nearest(key).map(|place| place.line)
    }

    #[test]
    fn keys_sections_and_items_have_lines() {
        let lines = [
            ("run.name", 1),
            ("adapt", 2),
            ("adapt.steps", 3),
            ("domain[0]", 5),
            ("domain[0].name", 6),
            ("domain[1]", 7),
            ("domain[1].name", 9),
            ("domain[1].images", 10),
            ("evaluate.set[0].name", 14),
            // Not there.
            ("adapt.batch", 2),
            ("domain[1].prompt", 7),
            ("domain[1].images[0]", 10),
        ];
        for (key, wanted) in lines {
            assert_eq!(line(key), Some(wanted), "{key}");
        }
        assert_eq!(line("clip.checkpoint"), None);
    }

    #[test]
    fn a_replaced_value_takes_its_places_with_it_and_no_others() {
        let mut places = KeyPlaces::of_file(Path::new("run.toml"), TEXT);
        places.remove("domain");
        assert_eq!(places.nearest("domain[1].name"), None);
        assert!(places.of_value("adapt.steps").is_some());
        assert_eq!(places.of_value("adapt.batch"), None);
        places.remove("adapt.step");
        assert!(places.of_value("adapt.steps").is_some());
    }
}
