//! The folder of checkpoints of one run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ulda_run::clip::ClipOrigin;
use ulda_run::stage::{Cursor, Stage};

use super::beside;
use super::error::CheckpointError;
use super::manifest::{CheckpointManifest, FORMAT, FileEntry, MANIFEST_FILE, STATE_FILE};
use crate::state::RunState;

#[derive(Clone, Debug)]
pub struct CheckpointStore {
    folder: PathBuf,
    run: String,
    clip: ClipOrigin,
    keep: usize,
}

impl CheckpointStore {
    #[must_use]
    pub fn new(folder: PathBuf, run: String, clip: ClipOrigin, keep: u32) -> Self {
        Self {
            folder,
            run,
            clip,
            keep: keep as usize,
        }
    }

    /// Writes the state under its position and removes all but the newest `keep`.
    ///
    /// # Errors
    /// When the disk refuses; what was there before stays.
    pub fn write(&self, state: &RunState, digest: &str) -> Result<(PathBuf, u64), CheckpointError> {
        let bytes = state.to_bytes().map_err(CheckpointError::Encode)?;
        let size = bytes.len() as u64;
        let name = format!("{}-{:08}", state.cursor.stage, state.cursor.step);
        let path = self.write_folder(
            &name,
            state.cursor,
            digest,
            &BTreeMap::from([(STATE_FILE.to_owned(), bytes)]),
        )?;
        self.prune()?;
        Ok((path, size))
    }

    /// Writes `files` and their manifest into the folder `name`, replacing one of that name.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_folder(
        &self,
        name: &str,
        cursor: Cursor,
        digest: &str,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<PathBuf, CheckpointError> {
        let path = self.folder.join(name);
        let beside = self.folder.join(beside::name_for(name));
        let written = self
            .fill_folder(&beside, cursor, digest, files)
            .and_then(|()| put_in_place(&beside, &path));
        if let Err(error) = written {
            // What is left of it would only take the space that was too little.
            let _ = remove_folder(&beside);
            return Err(error);
        }
        sync_folder(&self.folder)?;
        Ok(path)
    }

    fn fill_folder(
        &self,
        beside: &Path,
        cursor: Cursor,
        digest: &str,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), CheckpointError> {
        remove_folder(beside)?;
        create_folder(beside)?;
        let mut entries = BTreeMap::new();
        for (file, bytes) in files {
            write_synced(&beside.join(file), bytes)?;
            entries.insert(file.clone(), FileEntry::of(bytes));
        }
        let manifest = CheckpointManifest {
            format: FORMAT,
            run: self.run.clone(),
            cursor,
            digest: digest.to_owned(),
            clip: self.clip.clone(),
            files: entries,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let json = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain values");
        write_synced(&beside.join(MANIFEST_FILE), &json)?;
        sync_folder(beside)
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
        let file = path.join(STATE_FILE);
        let bytes = fs::read(&file).map_err(io_error("read", &file))?;
        manifest.state(&bytes, &file)
    }

    /// Resume checkpoints, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn list(&self) -> Result<Vec<(Cursor, PathBuf)>, CheckpointError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error("list", &self.folder)(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io_error("list", &self.folder))?;
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
        let entries = fs::read_dir(&self.folder).map_err(io_error("list", &self.folder))?;
        for entry in entries {
            let entry = entry.map_err(io_error("list", &self.folder))?;
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
    let bytes = fs::read(&path).map_err(io_error("read", &path))?;
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
            renamed => return renamed.map_err(io_error("rename into place", path)),
        }
        remove_folder(&old)?;
        match fs::rename(path, &old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("rename out of the way", path)(error));
            }
            Ok(()) | Err(_) => {}
        }
        match fs::rename(beside, path) {
            Err(error) if is_taken(&error) => remove_folder(&old)?,
            Ok(()) => return remove_folder(&old),
            Err(error) => {
                // Better the former one than none.
                let _ = fs::rename(&old, path);
                return Err(io_error("rename into place", path)(error));
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

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> CheckpointError + 'a {
    move |source| CheckpointError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

fn create_folder(path: &Path) -> Result<(), CheckpointError> {
    fs::create_dir_all(path).map_err(io_error("create folder", path))
}

fn remove_folder(path: &Path) -> Result<(), CheckpointError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let mut file = File::create(path).map_err(io_error("create", path))?;
    file.write_all(bytes).map_err(io_error("write", path))?;
    file.sync_all().map_err(io_error("sync", path))
}

fn sync_folder(path: &Path) -> Result<(), CheckpointError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(io_error("sync folder", path))
}

#[cfg(test)]
mod tests {
    use tch::Tensor;
    use ulda_run::clip::ClipTraining;

    use super::super::checkpoints::{Checkpoints, Found};
    use super::*;

    fn clip() -> ClipOrigin {
        ClipOrigin {
            digest: "c".into(),
            training: ClipTraining::Untrained,
        }
    }

    fn store(folder: &Path) -> CheckpointStore {
        CheckpointStore::new(folder.join("checkpoints"), "a".into(), clip(), 2)
    }

    fn newest(store: &CheckpointStore) -> Result<Option<Found>, CheckpointError> {
        Ok(Checkpoints::local(store.clone()).newest()?.0)
    }

    fn state(step: u64) -> RunState {
        let mut state = RunState::new(Cursor {
            stage: Stage::Adapt,
            step,
        });
        state
            .tensors
            .insert("w".into(), Tensor::from_slice(&[step as f32, 1.0]));
        state
    }

    fn write(store: &CheckpointStore, step: u64) -> PathBuf {
        let state = state(step);
        store.write(&state, &state.digest()).unwrap().0
    }

    #[test]
    fn the_newest_is_read_and_the_oldest_pruned() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        assert!(newest(&store).unwrap().is_none());
        let first = write(&store, 1);
        write(&store, 2);
        write(&store, 10);
        assert!(!first.exists());
        assert_eq!(newest(&store).unwrap().unwrap().state.cursor.step, 10);
    }

    #[test]
    fn what_killed_workers_left_goes_once_it_is_older_than_all_that_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let checkpoints = folder.path().join("checkpoints");
        let left = [
            ".pretrain-00000090.7-0a.writing",
            ".adapt-00000002.7-0a.writing",
            ".adapt-00000002.7-0a.old",
        ];
        let maybe_alive = [
            ".adapt-00000003.7-0a.writing",
            ".adapt-00000004.7-0a.old",
            ".final.7-0a.writing",
        ];
        for name in left.iter().chain(&maybe_alive) {
            fs::create_dir_all(checkpoints.join(name)).unwrap();
            fs::write(checkpoints.join(name).join(STATE_FILE), "half").unwrap();
        }
        write(&store, 3);
        write(&store, 4);
        for name in left {
            assert!(!checkpoints.join(name).exists(), "{name}");
        }
        for name in maybe_alive {
            assert!(checkpoints.join(name).join(STATE_FILE).exists(), "{name}");
        }
        write(&store, 5);
        assert!(
            !checkpoints.join(maybe_alive[0]).exists(),
            "older than the 4 and 5 that are kept"
        );
    }

    #[test]
    fn several_writers_and_their_pruning_leave_the_newest_whole_and_nothing_half() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for step in 1..=20 {
                        // Another one may have swept this step away as too old.
                        let _ = store.write(&state(step), &state(step).digest());
                    }
                });
            }
        });
        write(&store, 21);
        write(&store, 22);
        let found = newest(&store).unwrap().unwrap();
        assert_eq!(found.state.cursor.step, 22);
        let names = fs::read_dir(folder.path().join("checkpoints")).unwrap();
        let hidden = names.filter(|name| {
            name.as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with('.')
        });
        assert_eq!(hidden.count(), 0);
    }

    #[test]
    fn torn_cut_and_flipped_files_are_passed_over_for_the_one_before() {
        for damage in [cut as fn(&Path), flip, drop_manifest] {
            let folder = tempfile::tempdir().unwrap();
            let store = store(folder.path());
            write(&store, 1);
            damage(&write(&store, 2));
            let found = newest(&store).unwrap().unwrap();
            assert_eq!(found.state.cursor.step, 1);
            assert_eq!(found.passed_over.len(), 1, "loudly");
        }
    }

    fn cut(path: &Path) {
        let file = path.join(STATE_FILE);
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    }

    fn flip(path: &Path) {
        let file = path.join(STATE_FILE);
        let mut bytes = fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&file, bytes).unwrap();
    }

    fn drop_manifest(path: &Path) {
        fs::remove_file(path.join(MANIFEST_FILE)).unwrap();
    }

    #[test]
    fn workers_may_write_one_state_at_the_same_time() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = folder.path().join("checkpoints");
        fs::create_dir_all(checkpoints.join("adapt-00000007")).unwrap();
        fs::write(checkpoints.join("adapt-00000007/theirs"), "x").unwrap();
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let checkpoints = &checkpoints;
                scope.spawn(move || {
                    for _ in 0..20 {
                        let beside = checkpoints.join(format!(".adapt-00000007.{worker}.writing"));
                        fs::create_dir_all(&beside).unwrap();
                        fs::write(beside.join("whose"), "same").unwrap();
                        put_in_place(&beside, &checkpoints.join("adapt-00000007")).unwrap();
                    }
                });
            }
        });
        let whose = fs::read_to_string(checkpoints.join("adapt-00000007/whose")).unwrap();
        assert_eq!(whose, "same");
        assert_eq!(fs::read_dir(&checkpoints).unwrap().count(), 1);
    }

    #[test]
    fn another_runs_checkpoint_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        write(&store(folder.path()), 1);
        let other = CheckpointStore::new(folder.path().join("checkpoints"), "b".into(), clip(), 2);
        let error = newest(&other).err().unwrap().to_string();
        assert!(error.contains("belongs to run `a`, not `b`"), "{error}");
    }

    #[test]
    fn a_checkpoint_of_other_clip_weights_is_refused_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        write(&store(folder.path()), 1);
        let weights = ClipOrigin {
            digest: "d".into(),
            training: ClipTraining::Untrained,
        };
        let other = CheckpointStore::new(folder.path().join("checkpoints"), "a".into(), weights, 2);
        let error = newest(&other).err().unwrap();
        assert!(error.to_string().contains("other CLIP weights (c)"), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.starts_with("put the former file back"), "{hint}");
    }
}
