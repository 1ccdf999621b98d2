//! Reads a run.toml and the files that it extends, and merges them.
//!
//! Sections are merged key by key; every other value, lists of sections included, replaces the one before it. A file's
//! relative paths start at its own folder.

use std::io;
use std::path::{Path, PathBuf};

use toml::{Table, Value};
use ulda_files::MOST_CONFIGURATION_BYTES;
use ulda_run::spec::{Keys, ValueKind, url_scheme};

use super::edit::start_at;
use super::error::LoadError;
use super::keys::{self, EXTENDS};
use super::places::{KeyPlaces, join};
use super::problem::{Origin, Problem};

/// Most files in a row, each of which extends the next.
const MOST_DEEP: usize = 8;
/// Most files of one configuration; a list of lists could name any number.
const MOST_FILES: usize = 64;

/// What all files come to.
#[derive(Debug, Default)]
pub(super) struct MergedFiles {
    pub tree: Table,
    pub places: KeyPlaces,
    pub problems: Vec<Problem>,
    /// How many files were read; a file that two others extend counts twice.
    pub count: usize,
}

/// Reads the file at `path`, relative to `here`. Relative paths in the files are kept as they are where `base` says what
/// they will be relative to.
pub(super) fn read(path: &Path, here: &Path, base: Option<&Path>) -> Result<MergedFiles, LoadError> {
    let mut reader = Reader {
        here,
        keeps_paths: base.is_some(),
        open: Vec::new(),
        merged: MergedFiles::default(),
    };
    let text = read_text(path, path)?;
    reader.file(path, &text)?;
    Ok(reader.merged)
}

struct Reader<'a> {
    here: &'a Path,
    keeps_paths: bool,
    /// Files from the first to the one that is read now: as they are named, and where they are.
    open: Vec<(PathBuf, PathBuf)>,
    merged: MergedFiles,
}

impl Reader<'_> {
    /// Puts the file, and before it those that it extends, over what was read before.
    fn file(&mut self, path: &Path, text: &str) -> Result<(), LoadError> {
        let mut tree: Table = text.parse().map_err(|cause: toml::de::Error| LoadError::Syntax {
            path: path.to_owned(),
            reason: cause.to_string(),
        })?;
        let place = self.here.join(path);
        let place = place.canonicalize().unwrap_or(place);
        self.enter(path, place)?;
        let mut places = KeyPlaces::of_file(path, text);
        let origin = |key: &str| {
            let place = places.nearest(key);
            place.map_or_else(
                || Origin::File(path.to_owned()),
                |place| Origin::Line(place.clone()),
            )
        };
        let named = tree.remove(EXTENDS);
        let (bases, wrong) = named.as_ref().map(bases).unwrap_or_default();
        let wrong = wrong.into_iter().chain(keys::problems(&tree));
        let wrong = wrong.map(|problem| {
            let origin = origin(&problem.key);
            problem.from(&origin)
        });
        self.merged.problems.extend(wrong);
        let folder = self.here.join(path);
        let folder = folder.parent().unwrap_or(self.here);
        if !self.keeps_paths {
            Keys::of_run().visit(&mut tree, &mut |key, _, value| {
                if matches!(key.kind, ValueKind::Path | ValueKind::Paths) {
                    start_at(value, folder);
                }
            });
        }
        for base in bases {
            let base = path.parent().unwrap_or(Path::new("")).join(base);
            let extended = read_text(&self.here.join(&base), &base).and_then(|text| self.file(&base, &text));
            extended.map_err(|source| LoadError::Extended {
                by: origin(EXTENDS),
                source: Box::new(source),
            })?;
        }
        places.remove(EXTENDS);
        let mut replaced = Vec::new();
        merge(&mut self.merged.tree, tree, "", &mut replaced);
        for key in replaced {
            self.merged.places.remove(&key);
        }
        self.merged.places.extend(places);
        self.open.pop();
        Ok(())
    }

    fn enter(&mut self, path: &Path, place: PathBuf) -> Result<(), LoadError> {
        if let Some(first) = self.open.iter().position(|(_, open)| *open == place) {
            let circle = self.open[first..].iter().map(|(shown, _)| shown.clone());
            return Err(LoadError::Circle {
                files: circle.chain([path.to_owned()]).collect(),
            });
        }
        self.merged.count += 1;
        if self.open.len() == MOST_DEEP || self.merged.count > MOST_FILES {
            return Err(LoadError::TooManyFiles {
                path: path.to_owned(),
                most_deep: MOST_DEEP,
                most: MOST_FILES,
            });
        }
        self.open.push((path.to_owned(), place));
        Ok(())
    }
}

/// The files that the value of [`EXTENDS`] names, or what is wrong with it.
fn bases(value: &Value) -> (Vec<PathBuf>, Option<Problem>) {
    let named: Option<Vec<&str>> = match value {
        Value::String(path) => Some(vec![path]),
        Value::Array(paths) => paths.iter().map(Value::as_str).collect(),
        _ => None,
    };
    let wanted = "give the path of a file in quotes, or a list of paths, [\"…\", \"…\"]";
    let problem = |what: String| (Vec::new(), Some(Problem::new(EXTENDS, what, wanted)));
    match named {
        None => problem(format!("is {}", keys::describe(value))),
        Some(named) => match named
            .iter()
            .find(|path| path.is_empty() || url_scheme(path).is_some())
        {
            Some(path) => problem(format!("names `{path}`, which is no path of a file")),
            None => (named.into_iter().map(PathBuf::from).collect(), None),
        },
    }
}

/// Puts `over` over `under`. `replaced` gets the keys whose values were replaced.
fn merge(under: &mut Table, over: Table, prefix: &str, replaced: &mut Vec<String>) {
    for (name, value) in over {
        let key = join(prefix, &name);
        // A map of values is one value.
        let is_map = || {
            let known = Keys::of_run().get(&key);
            known.is_some_and(|key| matches!(key.kind, ValueKind::Numbers { .. }))
        };
        match (under.get_mut(&name), value) {
            (Some(Value::Table(under)), Value::Table(over)) if !is_map() => {
                merge(under, over, &key, replaced);
            }
            (_, value) => {
                replaced.push(key);
                under.insert(name, value);
            }
        }
    }
}

/// `path` is what errors call it.
fn read_text(place: &Path, path: &Path) -> Result<String, LoadError> {
    ulda_files::read_text(place, MOST_CONFIGURATION_BYTES).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => LoadError::Missing {
            path: path.to_owned(),
        },
        io::ErrorKind::IsADirectory => LoadError::Folder {
            path: path.to_owned(),
        },
        io::ErrorKind::InvalidData => LoadError::NotText {
            path: path.to_owned(),
        },
        _ => LoadError::Read {
            path: path.to_owned(),
            source,
        },
    })
}
