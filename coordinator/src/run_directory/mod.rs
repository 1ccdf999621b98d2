//! The folder of one run: where everything lies, who may serve it, and how it is created.
//!
//! `<run.directory>/<run.name>/` holds `run.toml` (resolved), `journal.sqlite`, `logs/`, `checkpoints/`,
//! `styles/`, `examples/`, `tensorboard/`, `report/`, `credentials/`. A coordinator that serves it holds an exclusive
//! lock on `run.lock`. Where the folder is a network file system, journal, lock and key may lie in another one, on the
//! coordinator's own disk.

mod lock;

pub use lock::{RunLock, Server};

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use toml::Table;
use ulda_files::{MOST_CONFIGURATION_BYTES, MOST_CREDENTIAL_BYTES};
use ulda_run::hints;
use ulda_run::spec::{Host, RunConfig, RunSpec, SpecProblems};

use crate::config::{KeyDifference, differences};

/// What a new run begins with.
const FOLDERS: [&str; 4] = ["logs", "checkpoints", "styles", "examples"];

/// Whether this is what a coordinator leaves that was killed while it created the run.
fn is_beginning(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    let empty = || fs::read_dir(entry.path()).is_ok_and(|mut entries| entries.next().is_none());
    match name.to_str() {
        Some("data-plane.key" | "run.tmp") => true,
        Some(name) => FOLDERS.contains(&name) && empty(),
        None => false,
    }
}

/// A run's folder. Holding one says nothing about what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDirectory {
    root: PathBuf,
    /// Where journal, lock and key lie instead.
    state: Option<PathBuf>,
}

/// Why a run directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunDirectoryError {
    #[error("`{}` is not a run directory: it holds no run.toml", path.display())]
    NotARun { path: PathBuf },
    #[error("{what} `{}`", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("no space left for `{}`", path.display())]
    NoSpace { path: PathBuf },
    #[error("`{}` is damaged, or from a version with other rules: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("`{}` no longer suits this version\n{problems}", path.display())]
    Outdated { path: PathBuf, problems: SpecProblems },
    #[error("run directory `{}` holds another run:\n{}", path.display(), list(differences))]
    AnotherRun {
        path: PathBuf,
        differences: Vec<KeyDifference>,
    },
    #[error("run directory `{}` already holds this run", path.display())]
    AlreadyThere { path: PathBuf },
    #[error("`{}` is not empty and holds no run", path.display())]
    Foreign { path: PathBuf },
    #[error("run `{}` is served by another coordinator{}", path.display(), who(server))]
    Served { path: PathBuf, server: Option<Server> },
}

hints!(pub RunDirectoryError {
    Self::NotARun { .. } => "`coordinator list` shows the runs",
    Self::NoSpace { .. } => "free some, or set run.directory to another disk",
    Self::Damaged { .. } => {
        "restore it, correct in it what this version refuses (CHANGELOG.md), or remove the run \
        directory"
    },
    Self::AnotherRun { path, .. } => format!(
        "give this run its own run.name, continue the other with `coordinator resume {}`, or remove \
        the directory",
        path.display()
    ),
    Self::AlreadyThere { path } => format!(
        "continue it with `coordinator resume {}`, or give a new run its own run.name",
        path.display()
    ),
    Self::Foreign { .. } => "choose another run.name or run.directory",
    Self::Served { path, .. } => format!(
        "look at it with `coordinator status {}`, or end it with `coordinator stop {}`",
        path.display(),
        path.display()
    ),
});

fn list(differences: &[KeyDifference]) -> String {
    const SHOWN: usize = 8;
    let mut lines: Vec<String> = differences
        .iter()
        .take(SHOWN)
        .map(|difference| format!("  {difference}"))
        .collect();
    if differences.len() > SHOWN {
        lines.push(format!("  and {} more", differences.len() - SHOWN));
    }
    lines.join("\n")
}

fn who(server: &Option<Server>) -> String {
    server.as_ref().map_or_else(String::new, |server| {
        format!(" (process {}, {})", server.process_id, server.address)
    })
}

impl RunDirectory {
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            state: None,
        }
    }

    /// The same run with journal, lock and key in a folder of its name below `parent`.
    #[must_use]
    pub fn with_state(self, parent: Option<&Path>) -> Self {
        let name = self.root.file_name().map(PathBuf::from).unwrap_or_default();
        Self {
            state: parent.map(|parent| parent.join(name)),
            ..self
        }
    }

    /// Where the run of this configuration lies.
    #[must_use]
    pub fn of(config: &RunConfig) -> Self {
        Self::at(config.run.directory.join(&config.run.name))
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    #[must_use]
    pub fn spec_file(&self) -> PathBuf {
        self.root.join("run.toml")
    }

    #[must_use]
    pub fn journal_file(&self) -> PathBuf {
        self.state().join("journal.sqlite")
    }

    fn state(&self) -> &Path {
        self.state.as_deref().unwrap_or(&self.root)
    }

    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    #[must_use]
    pub fn worker_log(&self, slot: u32) -> PathBuf {
        self.logs().join(format!("worker-{slot}.log"))
    }

    #[must_use]
    pub fn final_checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints/final")
    }

    #[must_use]
    pub fn examples(&self) -> PathBuf {
        self.root.join("examples")
    }

    #[must_use]
    pub fn tensorboard(&self) -> PathBuf {
        self.root.join("tensorboard")
    }

    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.root.join("report")
    }

    /// The run's own credentials folder.
    #[must_use]
    pub fn credentials(&self) -> PathBuf {
        self.root.join("credentials")
    }

    fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// Removes what killed workers left half written beside the checkpoints. For a run that is finished: then
    /// nobody writes any more.
    pub fn sweep_checkpoints(&self) {
        let entries = fs::read_dir(self.checkpoints()).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') && (name.ends_with(".writing") || name.ends_with(".old")) {
                // It only takes space.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Held open by the coordinator that serves the run.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.state().join("run.lock")
    }

    fn secret_file(&self) -> PathBuf {
        self.state().join("data-plane.key")
    }

    /// Whether a run was ever created here.
    #[must_use]
    pub fn holds_a_run(&self) -> bool {
        self.spec_file().is_file()
    }

    /// What keeps `spec` from being served here: another run, foreign files, or, unless it is to be
    /// continued, this run itself.
    ///
    /// # Errors
    /// What lies there cannot be read.
    pub fn conflict(
        &self,
        spec: &RunSpec,
        continues: bool,
    ) -> Result<Option<RunDirectoryError>, RunDirectoryError> {
        let path = self.root.clone();
        if !self.holds_a_run() {
            let foreign = fs::read_dir(&self.root)
                .is_ok_and(|entries| !entries.flatten().all(|entry| is_beginning(&entry)));
            return Ok(foreign.then_some(RunDirectoryError::Foreign { path }));
        }
        // What was left out means the same as ever, also where it was written before the key was known.
        let there = match self.config().map(Table::try_from) {
            Ok(Ok(there)) => there,
            Ok(Err(_)) | Err(_) => self.spec_table()?,
        };
        let here: Table = spec
            .to_toml()
            .parse()
            .map_err(|cause: toml::de::Error| self.damaged(cause.message()))?;
        let differences = differences(&there, &here);
        Ok(match (differences.is_empty(), continues) {
            (false, _) => Some(RunDirectoryError::AnotherRun { path, differences }),
            (true, false) => Some(RunDirectoryError::AlreadyThere { path }),
            (true, true) => None,
        })
    }

    /// Creates the folder for a new run.
    ///
    /// # Errors
    /// Another run or foreign files are in the way, or the disk refuses.
    pub fn create(&self, spec: &RunSpec) -> Result<(), RunDirectoryError> {
        if let Some(refusal) = self.conflict(spec, false)? {
            return Err(refusal);
        }
        let state = self.state();
        fs::create_dir_all(state).map_err(|source| io_error("create", state, source))?;
        for folder in FOLDERS {
            let path = self.root.join(folder);
            fs::create_dir_all(&path).map_err(|source| io_error("create", &path, source))?;
        }
        self.secret()?;
        let text = format!(
            "# Resolved when the run was created; not to be edited.\n{}",
            spec.to_toml()
        );
        write_whole(&self.spec_file(), text.as_bytes())
    }

    fn damaged(&self, reason: &str) -> RunDirectoryError {
        RunDirectoryError::Damaged {
            path: self.spec_file(),
            reason: reason.to_owned(),
        }
    }

    fn spec_table(&self) -> Result<Table, RunDirectoryError> {
        let path = self.spec_file();
        let text =
            ulda_files::read_text(&path, MOST_CONFIGURATION_BYTES).map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => RunDirectoryError::NotARun {
                    path: self.root.clone(),
                },
                _ => io_error("read", &path, source),
            })?;
        text.parse()
            .map_err(|cause: toml::de::Error| self.damaged(cause.message()))
    }

    /// The resolved configuration of the run that lies here.
    ///
    /// # Errors
    /// No run, or a run.toml that cannot be read.
    pub fn config(&self) -> Result<RunConfig, RunDirectoryError> {
        self.spec_table()?
            .try_into()
            .map_err(|cause: toml::de::Error| self.damaged(cause.message()))
    }

    /// The resolved specification of the run that lies here.
    ///
    /// # Errors
    /// No run, or a run.toml that cannot be read.
    pub fn spec(&self, host: Host) -> Result<RunSpec, RunDirectoryError> {
        RunSpec::resolve(self.config()?, host).map_err(|problems| RunDirectoryError::Outdated {
            path: self.spec_file(),
            problems,
        })
    }

    /// The 32 bytes that key the data plane's handshake; made at the first call and kept for the run's life,
    /// so that workers of before and after a coordinator's restart understand each other.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn secret(&self) -> Result<Vec<u8>, RunDirectoryError> {
        let path = self.secret_file();
        match ulda_files::read_file(&path, MOST_CREDENTIAL_BYTES) {
            Ok(secret) if secret.len() == 32 => return Ok(secret),
            Ok(_) => {}
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(io_error("read", &path, source)),
        }
        let mut secret = vec![0; 32];
        File::open("/dev/urandom")
            .and_then(|mut source| source.read_exact(&mut secret))
            .map_err(|source| io_error("read", Path::new("/dev/urandom"), source))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options
            .open(&path)
            .and_then(|mut file| file.write_all(&secret).and_then(|()| file.sync_all()))
            .map_err(|source| io_error("write", &path, source))?;
        Ok(secret)
    }
}

/// Writes beside and renames, so that nobody ever reads half a file.
///
/// # Errors
/// The disk refuses; no space is told apart.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), RunDirectoryError> {
    let beside = path.with_extension("tmp");
    let written = ulda_files::create_file(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| io_error("write", path, source))
}

fn io_error(what: &'static str, path: &Path, source: io::Error) -> RunDirectoryError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => RunDirectoryError::NoSpace {
            path: path.to_owned(),
        },
        _ => RunDirectoryError::Io {
            what,
            path: path.to_owned(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_read_whole_whether_the_former_one_was_longer_or_shorter() {
        let folder = tempfile::tempdir().unwrap();
        let directory = RunDirectory::at(folder.path());
        let mut lock = directory.lock().unwrap();
        for (address, former_bytes) in [
            ("127.0.0.1:1", 0),
            ("127.0.0.1:65535", 0),
            ("127.0.0.1:22", 8 << 30),
            ("127.0.0.1:3", 0),
        ] {
            if former_bytes > 0 {
                let file = OpenOptions::new().write(true).open(directory.lock_file());
                file.unwrap().set_len(former_bytes).unwrap();
            }
            let server = Server {
                process_id: 7,
                address: address.into(),
                tls: false,
                page: None,
            };
            lock.announce(&server).unwrap();
            assert_eq!(directory.last_server(), Some(server));
        }
    }

    #[test]
    fn what_was_left_half_written_goes_and_checkpoints_stay() {
        let folder = tempfile::tempdir().unwrap();
        let directory = RunDirectory::at(folder.path());
        for name in [
            "final",
            "adapt-00000007",
            ".final.7-0a.writing",
            ".adapt-00000001.7-0a.old",
        ] {
            fs::create_dir_all(directory.checkpoints().join(name)).unwrap();
        }
        directory.sweep_checkpoints();
        let left = fs::read_dir(directory.checkpoints()).unwrap();
        let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["adapt-00000007", "final"]);
    }
}
