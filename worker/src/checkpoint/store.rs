//! The folder of checkpoints of one run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ulda_files::MOST_TEXT_BYTES;
use ulda_run::clip::ClipOrigin;
use ulda_run::stage::{Cursor, Stage};

use super::beside;
use super::error::CheckpointError;
use super::manifest::{CheckpointManifest, FORMAT, FileEntry, MANIFEST_FILE};
use super::parts::{FilledParts, FormerParts, StateParts, read_file, write_files, write_synced};
use crate::state::RunState;

#[derive(Clone, Debug)]
pub struct CheckpointStore {
    folder: PathBuf,
    run: String,
    clip: ClipOrigin,
    keep: usize,
    /// The checkpoint that was written or read last.
    former: Arc<Mutex<Option<Arc<FormerParts>>>>,
}

/// A checkpoint that is on disk.
#[derive(Debug)]
pub struct Written {
    pub path: PathBuf,
    pub cursor: Cursor,
    pub digest: String,
    /// Of all its files.
    pub size_bytes: u64,
    /// Of those that it does not share with the one before.
    pub written_bytes: u64,
}

impl CheckpointStore {
    #[must_use]
    pub fn new(folder: PathBuf, run: String, clip: ClipOrigin, keep: u32) -> Self {
        Self {
            folder,
            run,
            clip,
            keep: keep as usize,
            former: Arc::default(),
        }
    }

    /// Writes the state under its position and removes all but the newest `keep`.
    ///
    /// # Errors
    /// When the disk refuses; what was there before stays.
    pub fn write(&self, state: &RunState, digest: &str) -> Result<Written, CheckpointError> {
        let (cursor, parts) = (state.cursor, StateParts::of(state));
        let name = format!("{}-{:08}", cursor.stage, cursor.step);
        let former = self.former().clone();
        let (path, filled) = self.write_folder(&name, cursor, digest, None, |folder| {
            parts.write(folder, former.as_deref())
        })?;
        *self.former() = Some(Arc::new(parts.into_former(path.clone(), &filled.entries)));
        self.prune()?;
        Ok(Written {
            path,
            cursor,
            digest: digest.to_owned(),
            size_bytes: filled.entries.values().map(|entry| entry.size_bytes).sum(),
            written_bytes: filled.written_bytes,
        })
    }

    /// Writes `files` and their manifest into the folder `name`, replacing one of that name. The manifest may also hold
    /// the digest of the run's style bank, which lies elsewhere.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_models(
        &self,
        name: &str,
        cursor: Cursor,
        digest: &str,
        files: &BTreeMap<String, Vec<u8>>,
        style_bank: Option<FileEntry>,
    ) -> Result<(), CheckpointError> {
        self.write_folder(name, cursor, digest, style_bank, |folder| {
            write_files(folder, files)
        })
        .map(drop)
    }

    fn former(&self) -> MutexGuard<'_, Option<Arc<FormerParts>>> {
        self.former.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_folder(
        &self,
        name: &str,
        cursor: Cursor,
        digest: &str,
        style_bank: Option<FileEntry>,
        fill: impl FnOnce(&Path) -> Result<FilledParts, CheckpointError>,
    ) -> Result<(PathBuf, FilledParts), CheckpointError> {
        let path = self.folder.join(name);
        let beside = self.folder.join(beside::name_for(name));
        let written = self
            .fill_folder(&beside, cursor, digest, style_bank, fill)
            .and_then(|filled| put_in_place(&beside, &path).map(|()| filled));
        match written {
            Ok(filled) => {
                sync_folder(&self.folder)?;
                Ok((path, filled))
            }
            Err(error) => {
                // What is left of it would only take the space that was too little.
                let _ = remove_folder(&beside);
                Err(error)
            }
        }
    }

    fn fill_folder(
        &self,
        beside: &Path,
        cursor: Cursor,
        digest: &str,
        style_bank: Option<FileEntry>,
        fill: impl FnOnce(&Path) -> Result<FilledParts, CheckpointError>,
    ) -> Result<FilledParts, CheckpointError> {
        remove_folder(beside)?;
        create_folder(beside)?;
        let filled = fill(beside)?;
        let manifest = CheckpointManifest {
            format: FORMAT,
            run: self.run.clone(),
            cursor,
            digest: digest.to_owned(),
            clip: self.clip.clone(),
            files: filled.entries.clone(),
            style_bank,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let json = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain values");
        write_synced(&beside.join(MANIFEST_FILE), &json)?;
        sync_folder(beside)?;
        Ok(filled)
    }

    /// The folder of the checkpoint `name`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// # Errors
    /// When it is damaged, cannot be read, or belongs to another run.
    pub fn read(&self, path: &Path) -> Result<RunState, CheckpointError> {
        let manifest = read_manifest(path)?;
        manifest.check_owner(&self.run, &self.clip, path)?;
        let state = manifest.state(path, |file, most| read_file(&path.join(file), most))?;
        let former = StateParts::of(&state).into_former(path.to_owned(), &manifest.files);
        *self.former() = Some(Arc::new(former));
        Ok(state)
    }

    /// Resume checkpoints, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn list(&self) -> Result<Vec<(Cursor, PathBuf)>, CheckpointError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(CheckpointError::io("list", &self.folder)(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(CheckpointError::io("list", &self.folder))?;
            if let Some(cursor) = entry.file_name().to_str().and_then(parse_name) {
                found.push((cursor, entry.path()));
            }
        }
        found.sort();
        Ok(found)
    }

    fn prune(&self) -> Result<(), CheckpointError> {
        let list = self.list()?;
        let (old, kept) = list.split_at(list.len().saturating_sub(self.keep));
        for (_, path) in old {
            remove_folder(path)?;
        }
        match kept.first() {
            Some((oldest, _)) => self.sweep(*oldest),
            None => Ok(()),
        }
    }

    /// Removes what killed workers left half written. Whether a writer still lives cannot be seen from another
    /// host, so only that goes which would be pruned as soon as it were whole.
    fn sweep(&self, oldest: Cursor) -> Result<(), CheckpointError> {
        let entries = fs::read_dir(&self.folder).map_err(CheckpointError::io("list", &self.folder))?;
        for entry in entries {
            let entry = entry.map_err(CheckpointError::io("list", &self.folder))?;
            let name = entry.file_name();
            let stands_for = name.to_str().and_then(beside::stands_for);
            if stands_for
                .and_then(parse_name)
                .is_some_and(|cursor| cursor < oldest)
            {
                // Another worker may be at it as well; what is left goes next time.
                let _ = remove_folder(&entry.path());
            }
        }
        Ok(())
    }
}

pub(super) fn parse_name(name: &str) -> Option<Cursor> {
    let (stage, step) = name.split_once('-')?;
    Some(Cursor {
        stage: stage.parse::<Stage>().ok()?,
        step: step.parse().ok()?,
    })
}

/// # Errors
/// When the folder has no readable manifest of a known format.
pub fn read_manifest(folder: &Path) -> Result<CheckpointManifest, CheckpointError> {
    let path = folder.join(MANIFEST_FILE);
    let bytes = ulda_files::read_file(&path, MOST_TEXT_BYTES).map_err(CheckpointError::io("read", &path))?;
    CheckpointManifest::parse(&bytes, &path)
}

/// Times that another worker may put its own folder there first.
const RACES: u32 = 8;

/// Renames `beside` to `path`; what stands there is moved out of the way first, so that a whole folder stands
/// there at every moment but one.
fn put_in_place(beside: &Path, path: &Path) -> Result<(), CheckpointError> {
    let old = beside::out_of_the_way(beside);
    let mut races = 0;
    loop {
        let renamed = fs::rename(beside, path);
        match renamed {
            Err(error) if races < RACES && is_taken(&error) => races += 1,
            renamed => return renamed.map_err(CheckpointError::io("rename into place", path)),
        }
        remove_folder(&old)?;
        match fs::rename(path, &old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(CheckpointError::io("rename out of the way", path)(error));
            }
            Ok(()) | Err(_) => {}
        }
        match fs::rename(beside, path) {
            Err(error) if is_taken(&error) => remove_folder(&old)?,
            Ok(()) => return remove_folder(&old),
            Err(error) => {
                // Better the former one than none.
                let _ = fs::rename(&old, path);
                return Err(CheckpointError::io("rename into place", path)(error));
            }
        }
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
    )
}

fn create_folder(path: &Path) -> Result<(), CheckpointError> {
    fs::create_dir_all(path).map_err(CheckpointError::io("create folder", path))
}

fn remove_folder(path: &Path) -> Result<(), CheckpointError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(CheckpointError::io("remove", path)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync_folder(path: &Path) -> Result<(), CheckpointError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(CheckpointError::io("sync folder", path))
}

#[cfg(test)]
mod tests;
