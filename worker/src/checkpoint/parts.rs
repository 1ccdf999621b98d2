//! The files of a checkpoint: `state.safetensors` for cursor, facts and what each step changes, and one for each section
//! of the state that seldom does.
//!
//! A file whose tensors are those of the checkpoint before is not written again but linked: it is another name of the
//! same bytes on disk. So each folder is whole by itself, and whoever removes an old one need not know what the others
//! use. Invariant: a file is linked only if its bytes still have their digest.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tch::Tensor;

use super::error::CheckpointError;
use super::manifest::{EXTENSION, FileEntry, STATE_FILE, section_of};
use crate::state::names::is_settled;
use crate::state::{RunState, digest_of_tensors, write_tensors};

/// A state as the files that hold it. Shares the state's tensors.
pub(super) struct StateParts {
    changing: RunState,
    /// By file name.
    settled: BTreeMap<String, SettledPart>,
}

/// A section that seldom changes.
struct SettledPart {
    tensors: BTreeMap<String, Tensor>,
    digest: blake3::Hash,
}

/// A checkpoint that this process wrote or read, whose files the next one may link.
#[derive(Debug)]
pub(super) struct FormerParts {
    folder: PathBuf,
    /// Digest of the tensors in a file, and of the file, by its name.
    files: BTreeMap<String, (blake3::Hash, FileEntry)>,
}

/// The files of a folder that was filled.
#[derive(Debug, Default)]
pub(super) struct FilledParts {
    pub entries: BTreeMap<String, FileEntry>,
    /// Bytes of those that were not linked.
    pub written_bytes: u64,
}

impl StateParts {
    pub fn of(state: &RunState) -> Self {
        let mut changing = RunState::new(state.cursor);
        changing.facts.clone_from(&state.facts);
        let mut sections: BTreeMap<String, BTreeMap<String, Tensor>> = BTreeMap::new();
        for (name, tensor) in &state.tensors {
            let section = section_of(name);
            let home = match is_settled(section) {
                true => sections.entry(format!("{section}{EXTENSION}")).or_default(),
                false => &mut changing.tensors,
            };
            home.insert(name.clone(), tensor.shallow_clone());
        }
        let settled = sections.into_iter().map(|(file, tensors)| {
            let digest = digest_of_tensors(&tensors);
            (file, SettledPart { tensors, digest })
        });
        Self {
            settled: settled.collect(),
            changing,
        }
    }

    /// Fills a new folder, from `former` where its files hold the same.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, folder: &Path, former: Option<&FormerParts>) -> Result<FilledParts, CheckpointError> {
        let mut filled = FilledParts::default();
        for (file, part) in &self.settled {
            let same = former.and_then(|former| former.same(file, part.digest));
            if let Some((from, entry)) = same
                && link_whole(&from, &folder.join(file), entry)
            {
                filled.entries.insert(file.clone(), entry.clone());
                continue;
            }
            let bytes = write_tensors(&part.tensors, std::collections::HashMap::new());
            filled.add(folder, file, &bytes.map_err(CheckpointError::Encode)?)?;
        }
        let bytes = self.changing.to_bytes().map_err(CheckpointError::Encode)?;
        filled.add(folder, STATE_FILE, &bytes)?;
        Ok(filled)
    }

    /// What the next checkpoint may link of the one in `folder`, whose files are `entries`.
    pub fn into_former(self, folder: PathBuf, entries: &BTreeMap<String, FileEntry>) -> FormerParts {
        let files = self.settled.into_iter().filter_map(|(file, part)| {
            let entry = entries.get(&file)?.clone();
            Some((file, (part.digest, entry)))
        });
        FormerParts {
            folder,
            files: files.collect(),
        }
    }
}

impl FormerParts {
    fn same(&self, file: &str, digest: blake3::Hash) -> Option<(PathBuf, &FileEntry)> {
        let (found, entry) = self.files.get(file)?;
        (*found == digest).then(|| (self.folder.join(file), entry))
    }
}

impl FilledParts {
    fn add(&mut self, folder: &Path, file: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        write_synced(&folder.join(file), bytes)?;
        self.written_bytes += bytes.len() as u64;
        self.entries.insert(file.to_owned(), FileEntry::of(bytes));
        Ok(())
    }
}

/// Gives the file a second name, if it is whole. It may be gone with its folder, or the file system knows no links.
fn link_whole(from: &Path, to: &Path, entry: &FileEntry) -> bool {
    if fs::hard_link(from, to).is_err() {
        return false;
    }
    let whole = entry_of(to).is_ok_and(|found| found == *entry);
    if !whole {
        tracing::warn!(path = %from.display(), "damaged on disk; the new checkpoint has it anew");
        let _ = fs::remove_file(to);
    }
    whole
}

fn entry_of(path: &Path) -> io::Result<FileEntry> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(ulda_files::open_file(path)?)?;
    Ok(FileEntry {
        blake3: hasher.finalize().to_hex().to_string(),
        size_bytes: hasher.count(),
    })
}

/// Writes `files` as they are.
pub(super) fn write_files(
    folder: &Path,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<FilledParts, CheckpointError> {
    let mut filled = FilledParts::default();
    for (file, bytes) in files {
        filled.add(folder, file, bytes)?;
    }
    Ok(filled)
}

pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let mut file = File::create_new(path).map_err(CheckpointError::io("create", path))?;
    file.write_all(bytes)
        .map_err(CheckpointError::io("write", path))?;
    file.sync_all().map_err(CheckpointError::io("sync", path))
}

/// The bytes of a file in a checkpoint's folder, at most `most`.
pub(super) fn read_file(path: &Path, most: u64) -> Result<Vec<u8>, CheckpointError> {
    ulda_files::read_file(path, most).map_err(CheckpointError::io("read", path))
}
