//! All places where a run's checkpoints lie, as one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ulda_run::stage::Cursor;

use super::error::CheckpointError;
use super::manifest::FileEntry;
use super::remote::RemoteStore;
use super::store::{CheckpointStore, Written};
use super::uploads::{Upload, Uploads};
use crate::state::RunState;

/// A checkpoint that was read, and those that were passed over on the way to it.
pub struct Found {
    pub state: RunState,
    pub path: PathBuf,
    pub passed_over: Vec<CheckpointError>,
}

/// The disk, and the storage that it is a cache of, if there is one.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    local: CheckpointStore,
    remote: Option<Remote>,
}

#[derive(Clone, Debug)]
struct Remote {
    store: RemoteStore,
    uploads: Arc<Uploads>,
}

/// One of them, where it lies. At one position the nearer one is the greater.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Candidate {
    Remote(String),
    Local(PathBuf),
}

impl Checkpoints {
    /// On disk only.
    #[must_use]
    pub fn local(local: CheckpointStore) -> Self {
        Self { local, remote: None }
    }

    /// On disk and in a storage, to which `uploads` brings what is written.
    #[must_use]
    pub fn with_storage(local: CheckpointStore, store: RemoteStore, uploads: Arc<Uploads>) -> Self {
        Self {
            local,
            remote: Some(Remote { store, uploads }),
        }
    }

    /// What brings files to the storage, if the run has one.
    #[must_use]
    pub fn uploads(&self) -> Option<&Arc<Uploads>> {
        self.remote.as_ref().map(|remote| &remote.uploads)
    }

    /// Writes the state under its position, and has it brought to the storage.
    ///
    /// # Errors
    /// When the disk refuses; what was there before stays.
    pub fn write(&self, state: &RunState, digest: &str) -> Result<Written, CheckpointError> {
        let written = self.local.write(state, digest)?;
        if let (Some(remote), Some(name)) = (&self.remote, written.path.file_name()) {
            let name = name.to_string_lossy().into_owned();
            remote.uploads.offer(Upload::checkpoint(state.cursor, name));
        }
        Ok(written)
    }

    /// Writes the folder of the finished models, and has it brought to the storage. Its manifest also has the digest of
    /// the run's style bank, if there is one.
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
        self.local.write_models(name, cursor, digest, files, style_bank)?;
        if let Some(remote) = &self.remote {
            remote.uploads.offer(Upload::Models(name.to_owned()));
        }
        Ok(())
    }

    /// The newest whole checkpoint, or `None` where there is none, with those that were passed over.
    ///
    /// # Errors
    /// When a checkpoint belongs to another run, the disk cannot be listed, or nothing but the storage can have
    /// one and it cannot be asked.
    pub fn newest(&self) -> Result<(Option<Found>, Vec<CheckpointError>), CheckpointError> {
        let local = self.local.list()?;
        let mut all: Vec<(Cursor, Candidate)> = local
            .into_iter()
            .map(|(cursor, path)| (cursor, Candidate::Local(path)))
            .collect();
        let mut passed_over = Vec::new();
        match self.remote.as_ref().map(|remote| remote.store.list()) {
            None => {}
            Some(Ok(listed)) => {
                let remote = listed
                    .whole
                    .into_iter()
                    .map(|(cursor, name)| (cursor, Candidate::Remote(name)));
                all.extend(remote);
                passed_over.extend(listed.torn);
            }
            Some(Err(error)) if all.is_empty() => return Err(error),
            Some(Err(error)) => passed_over.push(error),
        }
        all.sort();
        for (_, candidate) in all.into_iter().rev() {
            match self.read(&candidate) {
                Ok((state, path)) => {
                    let found = Found {
                        state,
                        path,
                        passed_over,
                    };
                    return Ok((Some(found), Vec::new()));
                }
                Err(error @ CheckpointError::OtherRun { .. }) => return Err(error),
                // One that is not there any more may be passed over; a storage that refuses hides one that is whole.
                Err(CheckpointError::Storage(error)) if !error.is_about_the_object() => {
                    return Err(error.into());
                }
                Err(error) => passed_over.push(error),
            }
        }
        Ok((None, passed_over))
    }

    fn read(&self, candidate: &Candidate) -> Result<(RunState, PathBuf), CheckpointError> {
        match (candidate, &self.remote) {
            (Candidate::Local(path), _) => Ok((self.local.read(path)?, path.clone())),
            (Candidate::Remote(name), Some(remote)) => {
                Ok((remote.store.read(name)?, remote.store.path(name)))
            }
            (Candidate::Remote(name), None) => Err(CheckpointError::Damaged {
                path: name.into(),
                what: "its storage is gone".to_owned(),
            }),
        }
    }
}
