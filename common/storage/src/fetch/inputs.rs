//! The inputs of a run.toml that are named by URL.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use ulda_run::spec::{RunConfig, is_image_name, is_url};

use super::cache::{Cache, CacheEntry};
use crate::archive::Format;
use crate::{Object, Settings, Storage, StorageCounters, StorageError, StorageLocation};

/// Folders that lie right below a data set's root; an archive may hold them in a folder of its own.
const DATA_FOLDERS: [&str; 8] = [
    "leftImg8bit",
    "gtFine",
    "gtCoarse",
    "images",
    "labels",
    "rgb_anon",
    "gt",
    "gt_trainval",
];

/// What is wrong with one of them.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {cause}")]
pub struct InputError {
    /// As in run.toml.
    pub key: String,
    pub cause: Box<StorageError>,
}

/// What a look at a URL finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It lies on this host.
    Here(PathBuf),
    /// It can be fetched.
    There { objects: usize, bytes: u64 },
}

/// What is to become of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    File,
    Folder,
}

/// Fetches what a run.toml names by URL.
#[derive(Clone, Debug)]
pub struct Inputs {
    settings: Settings,
    counters: StorageCounters,
    cache: Cache,
}

/// An input as it lies in its storage.
enum Source {
    /// A plain path after all.
    Path(PathBuf),
    LocalArchive(StorageLocation, PathBuf, Format, CacheEntry),
    Object(Storage, Object, CacheEntry),
    Archive(Storage, Object, Format, CacheEntry),
    Tree(Storage, Vec<Object>, CacheEntry),
}

impl Inputs {
    /// `cache` is the folder that keeps what was fetched; by default what the run.toml says, or one in the home
    /// folder.
    #[must_use]
    pub fn new(config: &RunConfig, cache: Option<PathBuf>, counters: StorageCounters) -> Self {
        let settings = Settings::of(&config.storage);
        let folder = cache
            .or_else(|| config.storage.cache.clone())
            .unwrap_or_else(default_cache);
        Self {
            cache: Cache::new(folder, settings.deadline),
            settings,
            counters,
        }
    }

    /// The configuration with every input that the run reads on this host.
    ///
    /// # Errors
    /// When one cannot be fetched; those before it stay in the cache.
    pub fn bring(&self, config: &RunConfig) -> Result<RunConfig, InputError> {
        let mut config = config.clone();
        for (key, path) in config.inputs_read_mut() {
            if is_url(path) {
                let brought = self.bring_one(path, wanted(&key, path));
                *path = brought.map_err(|cause| InputError {
                    key,
                    cause: Box::new(cause),
                })?;
            }
        }
        Ok(config)
    }

    /// The configuration with those inputs on this host that are there already; others stay URLs.
    #[must_use]
    pub fn already_here(&self, config: &RunConfig) -> RunConfig {
        let mut config = config.clone();
        for (key, path) in config.inputs_mut() {
            if is_url(path)
                && let Ok(Probe::Here(here)) = self.probe(&key, path)
            {
                *path = here;
            }
        }
        config
    }

    /// One input, by the key that names it, on this host.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub fn bring_input(&self, key: &str, path: &Path) -> Result<PathBuf, InputError> {
        if !is_url(path) {
            return Ok(path.to_owned());
        }
        let brought = self.bring_one(path, wanted(key, path));
        brought.map_err(|cause| InputError {
            key: key.to_owned(),
            cause: Box::new(cause),
        })
    }

    /// Looks whether an input can be had, and fetches nothing.
    ///
    /// # Errors
    /// When there is none, or the storage cannot be asked.
    pub fn probe(&self, key: &str, url: &Path) -> Result<Probe, StorageError> {
        let found = self.locate(&url.to_string_lossy(), wanted(key, url))?;
        let cached = |entry: &CacheEntry| self.cache.find(entry);
        Ok(match found {
            Source::Path(path) => Probe::Here(path),
            Source::LocalArchive(_, archive, _, entry) => match cached(&entry) {
                Some(path) => Probe::Here(data_root(path)),
                None => Probe::There {
                    objects: 1,
                    bytes: archive.metadata().map_or(0, |file| file.len()),
                },
            },
            Source::Object(_, object, entry) => match cached(&entry) {
                Some(path) => Probe::Here(path),
                None => Probe::There {
                    objects: 1,
                    bytes: object.size_bytes,
                },
            },
            Source::Archive(_, object, _, entry) => match cached(&entry) {
                Some(path) => Probe::Here(data_root(path)),
                None => Probe::There {
                    objects: 1,
                    bytes: object.size_bytes,
                },
            },
            Source::Tree(_, objects, entry) => match cached(&entry) {
                Some(path) => Probe::Here(data_root(path)),
                None => Probe::There {
                    objects: objects.len(),
                    bytes: objects.iter().map(|object| object.size_bytes).sum(),
                },
            },
        })
    }

    fn bring_one(&self, url: &Path, wanted: Wanted) -> Result<PathBuf, StorageError> {
        match self.locate(&url.to_string_lossy(), wanted)? {
            Source::Path(path) => Ok(path),
            Source::LocalArchive(place, archive, format, entry) => {
                let unpacked = self.cache.unpacked_file(&entry, format, &place, &archive);
                unpacked.map(data_root)
            }
            Source::Object(storage, object, entry) => self.cache.file(&entry, &storage, &object),
            Source::Archive(storage, object, format, entry) => self
                .cache
                .unpacked(&entry, format, &storage, &object)
                .map(data_root),
            Source::Tree(storage, objects, entry) => {
                self.cache.tree(&entry, &storage, &objects).map(data_root)
            }
        }
    }

    fn locate(&self, url: &str, wanted: Wanted) -> Result<Source, StorageError> {
        let place = StorageLocation::parse(url)?;
        let format = Format::of(place.name()).filter(|_| wanted == Wanted::Folder);
        match (&place, format) {
            (StorageLocation::File { path }, None) => Ok(Source::Path(path.clone())),
            (StorageLocation::File { path }, Some(format)) => {
                let meta = path.metadata().map_err(StorageError::disk("read", path))?;
                let content = format!("{} {:?}", meta.len(), meta.modified().ok());
                let entry = CacheEntry::of(&place, &content);
                Ok(Source::LocalArchive(place.clone(), path.clone(), format, entry))
            }
            (StorageLocation::S3 { .. }, None) if wanted == Wanted::Folder => {
                let storage = Storage::at(place.clone(), &self.settings, self.counters.clone())?;
                let objects = without_markers(storage.list("")?);
                if objects.is_empty() {
                    return Err(StorageError::Content {
                        url: url.to_owned(),
                        what: "holds no objects".into(),
                        hint: "name the prefix right above the data set's folders, or a .tar, .tar.gz or .zip of it",
                    });
                }
                let entry = CacheEntry::of(&place, &listing(&objects));
                Ok(Source::Tree(storage, objects, entry))
            }
            (StorageLocation::S3 { bucket, prefix }, format) => {
                let (folder, name) = prefix.rsplit_once('/').unwrap_or(("", prefix));
                let above = StorageLocation::S3 {
                    bucket: bucket.clone(),
                    prefix: folder.to_owned(),
                };
                let storage = Storage::at(above, &self.settings, self.counters.clone())?;
                let object = storage.look(name)?;
                let entry = CacheEntry::of(&place, &format!("{} {}", object.size_bytes, object.etag));
                Ok(match format {
                    Some(format) => Source::Archive(storage, object, format, entry),
                    None => Source::Object(storage, object, entry),
                })
            }
        }
    }
}

fn wanted(key: &str, path: &Path) -> Wanted {
    let holds_images = key.starts_with("domain[") && !is_image_name(path);
    // A bank is a file, and the authors' styles are a folder.
    let holds_styles = key == "simulate.bank" && path.extension() != Some(OsStr::new("safetensors"));
    let is_data = key.ends_with(".root") || key.starts_with("source.") || key.starts_with("evaluate.");
    if is_data || holds_images || holds_styles {
        Wanted::Folder
    } else {
        Wanted::File
    }
}

/// Leaves out the empty objects by which some tools say that there is a folder. `objects` are in order of name.
fn without_markers(objects: Vec<Object>) -> Vec<Object> {
    let folders: BTreeSet<String> = objects
        .iter()
        .flat_map(|object| {
            let name = object.name.as_str();
            name.match_indices('/').map(|(end, _)| name[..end].to_owned())
        })
        .collect();
    let is_marker = |object: &Object| {
        object.size_bytes == 0 && (object.name.is_empty() || folders.contains(&object.name))
    };
    objects.into_iter().filter(|object| !is_marker(object)).collect()
}

/// What identifies the content of a tree.
fn listing(objects: &[Object]) -> String {
    let lines = objects
        .iter()
        .map(|object| format!("{} {} {}\n", object.name, object.size_bytes, object.etag));
    lines.collect()
}

/// The data set's root in what was unpacked: a folder that holds only one other is not it.
fn data_root(folder: PathBuf) -> PathBuf {
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return folder;
    };
    let names: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .collect();
    match names.as_slice() {
        [only] if DATA_FOLDERS.iter().all(|name| *name != only.as_os_str()) && folder.join(only).is_dir() => {
            folder.join(only)
        }
        _ => folder,
    }
}

fn default_cache() -> PathBuf {
    // Never a folder that other users may write to: what lies in the cache is taken for the input itself.
    let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let caches = caches.unwrap_or_else(|| std::env::home_dir().unwrap_or_default().join(".cache"));
    caches.join("ulda/inputs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_objects_that_stand_for_folders_are_left_out_and_empty_files_are_not() {
        let object = |(name, size_bytes): (&str, u64)| Object {
            name: name.into(),
            size_bytes,
            etag: String::new(),
        };
        let listed = [
            ("", 0),
            ("empty.txt", 0),
            ("gtFine", 0),
            ("gtFine/a.png", 3),
            ("gtFiner", 0),
        ];
        let kept = without_markers(listed.map(object).into());
        let names: Vec<&str> = kept.iter().map(|object| object.name.as_str()).collect();
        assert_eq!(names, ["empty.txt", "gtFine/a.png", "gtFiner"]);
    }
}
