//! The checkpoints of one run in a storage by URL.
//!
//! A checkpoint there is whole once its manifest is there: the manifest is written last and removed first, and every
//! digest in it is checked on reading.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ulda_run::clip::ClipOrigin;
use ulda_run::stage::Cursor;
use ulda_storage::Storage;

use super::error::CheckpointError;
use super::manifest::{CheckpointManifest, FileEntry, MANIFEST_FILE};
use super::parts::read_file;
use super::store::{parse_name, read_manifest};
use crate::state::RunState;

/// As in the run directory.
const FOLDER: &str = "checkpoints";

#[derive(Clone, Debug)]
pub struct RemoteStore {
    storage: Storage,
    run: String,
    clip: ClipOrigin,
    keep: usize,
    /// Found damaged: written anew even where the manifest says that they are there.
    damaged: Arc<Mutex<BTreeSet<String>>>,
    /// The checkpoint that was brought or read last, whose files the storage can copy by itself.
    former: Arc<Mutex<Option<(String, CheckpointManifest)>>>,
}

/// What a storage holds of a run's resume checkpoints.
pub struct Listed {
    /// Those whose manifest is there, oldest first.
    pub whole: Vec<(Cursor, String)>,
    /// Those newer than these that have none.
    pub torn: Vec<CheckpointError>,
}

impl RemoteStore {
    /// `storage` is the run's own place.
    #[must_use]
    pub fn new(storage: Storage, run: String, clip: ClipOrigin, keep: u32) -> Self {
        Self {
            storage,
            run,
            clip,
            keep: keep as usize,
            damaged: Arc::default(),
            former: Arc::default(),
        }
    }

    /// The same checkpoints, asked for through another handle.
    #[must_use]
    pub fn through(&self, storage: Storage) -> Self {
        Self {
            storage,
            ..self.clone()
        }
    }

    /// URL of the checkpoint `name`, in the form in which errors name what they are about.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.storage.url(&format!("{FOLDER}/{name}")).into()
    }

    /// All resume checkpoints.
    ///
    /// # Errors
    /// When the storage cannot be asked.
    pub fn list(&self) -> Result<Listed, CheckpointError> {
        let objects = self.storage.list(FOLDER)?;
        let parts = objects.iter().filter_map(|object| {
            let (_, rest) = object.name.split_once('/')?;
            rest.split_once('/')
        });
        let (mut whole, mut seen) = (Vec::new(), Vec::new());
        for (name, file) in parts {
            let Some(cursor) = parse_name(name) else { continue };
            seen.push(name);
            if file == MANIFEST_FILE {
                whole.push((cursor, name.to_owned()));
            }
        }
        whole.sort();
        seen.dedup();
        let newest = whole.last().map(|(cursor, _)| *cursor);
        let torn = seen.into_iter().filter(|name| {
            let unlisted = whole.iter().all(|(_, other)| other != name);
            unlisted && parse_name(name) > newest
        });
        let torn = torn
            .map(|name| CheckpointError::Damaged {
                path: self.path(name),
                what: "it has no manifest.json, so its upload did not end".to_owned(),
            })
            .collect();
        Ok(Listed { whole, torn })
    }

    /// # Errors
    /// When it is damaged, cannot be read, or belongs to another run.
    pub fn read(&self, name: &str) -> Result<RunState, CheckpointError> {
        let outcome = self.read_checked(name);
        let whole = match &outcome {
            Err(CheckpointError::Damaged { .. } | CheckpointError::State { .. }) => false,
            Err(CheckpointError::Storage(error)) => !error.is_not_found(),
            Ok(_) | Err(_) => true,
        };
        if !whole {
            self.damaged().insert(name.to_owned());
        }
        outcome
    }

    fn damaged(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_checked(&self, name: &str) -> Result<RunState, CheckpointError> {
        let path = self.path(name);
        let manifest = self.storage.get(&object(name, MANIFEST_FILE))?;
        let manifest = CheckpointManifest::parse(&manifest, &path.join(MANIFEST_FILE))?;
        manifest.check_owner(&self.run, &self.clip, &path)?;
        let state = manifest.state(&path, |file, _| Ok(self.storage.get(&object(name, file))?))?;
        *self.former() = Some((name.to_owned(), manifest));
        Ok(state)
    }

    fn former(&self) -> MutexGuard<'_, Option<(String, CheckpointManifest)>> {
        self.former.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the storage copy a file from the checkpoint before, where it has the same one. Whether it did.
    fn copy_former(&self, name: &str, file: &str, entry: &FileEntry) -> bool {
        let holds_it = |(from, manifest): &(String, CheckpointManifest)| {
            let same = from != name && manifest.files.get(file) == Some(entry);
            same.then(|| from.clone())
        };
        let from = self.former().as_ref().and_then(holds_it);
        let Some(from) = from.filter(|from| !self.damaged().contains(from)) else {
            return false;
        };
        match self.storage.copy(&object(&from, file), &object(name, file)) {
            Ok(()) => true,
            // Removed meanwhile, or a storage that does not copy. Whether it is away, the next request says.
            Err(_) => false,
        }
    }

    /// Brings the whole checkpoint in `folder` there under `name`; one that is there already is left alone.
    ///
    /// # Errors
    /// When the folder is damaged, or the storage refuses.
    pub fn upload(&self, name: &str, folder: &Path) -> Result<CheckpointManifest, CheckpointError> {
        let manifest = read_manifest(folder)?;
        let there = match self.storage.get(&object(name, MANIFEST_FILE)) {
            Ok(bytes) => Some(CheckpointManifest::parse(&bytes, folder).ok()),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        match there {
            Some(Some(there)) if there == manifest && !self.damaged().contains(name) => return Ok(manifest),
            Some(_) => self.storage.delete(&object(name, MANIFEST_FILE))?,
            None => {}
        }
        manifest.check_names(folder)?;
        for (file, entry) in &manifest.files {
            if self.copy_former(name, file, entry) {
                continue;
            }
            let path = folder.join(file);
            let bytes = read_file(&path, entry.size_bytes)?;
            manifest.check_file(file, &bytes, &path)?;
            self.storage.put(&object(name, file), bytes)?;
        }
        let json = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain values");
        self.storage.put(&object(name, MANIFEST_FILE), json)?;
        self.damaged().remove(name);
        *self.former() = Some((name.to_owned(), manifest.clone()));
        Ok(manifest)
    }

    /// Removes all but the newest checkpoints and `just`, which was written last, and what torn uploads left before them.
    /// Damaged ones do not count among the newest.
    ///
    /// # Errors
    /// When the storage refuses.
    pub fn prune(&self, just: Cursor) -> Result<(), CheckpointError> {
        let whole = self.list()?.whole;
        let sound = whole.iter().filter(|(_, name)| !self.damaged().contains(name));
        let Some((oldest, _)) = sound.rev().take(self.keep).last() else {
            return Ok(());
        };
        let oldest = oldest.min(&just);
        let mut old: Vec<String> = self
            .storage
            .list(FOLDER)?
            .into_iter()
            .filter(|object| {
                let name = object.name.split('/').nth(1).and_then(parse_name);
                name.is_some_and(|cursor| cursor < *oldest)
            })
            .map(|object| object.name)
            .collect();
        old.sort_by_key(|name| !name.ends_with(MANIFEST_FILE));
        for name in old {
            self.storage.delete(&name)?;
        }
        Ok(())
    }
}

fn object(name: &str, file: &str) -> String {
    format!("{FOLDER}/{name}/{file}")
}
