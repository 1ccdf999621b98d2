//! The run's place in its storage, as the coordinator uses it: what the run is, and what it leaves for people.
//!
//! Checkpoints and models are the workers' business. Blocking: called from plain threads only. The journal stays on
//! the coordinator's own disk.

use std::io::{self, Write};
use std::path::Path;

use toml::Table;
use ulda_files::MOST_TEXT_BYTES;
use ulda_run::hints;
use ulda_run::spec::{RunConfig, RunSpec};
use ulda_storage::{Settings, Storage, StorageCounters, StorageError};

use crate::config::{KeyDifference, differences};
use crate::run_directory::RunDirectory;

const SPEC_FILE: &str = "run.toml";
const MODELS: &str = "checkpoints/final";
const MANIFEST: &str = "manifest.json";
/// The style bank, in a run's directory and its storage.
pub const STYLE_BANK: &str = "styles/bank.safetensors";

/// A run's folder in its storage.
#[derive(Clone, Debug)]
pub struct RemoteRun {
    storage: Storage,
}

/// Why a run cannot have its place in a storage.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("storage.url: {cause}")]
    Storage { cause: StorageError },
    #[error("`{url}` is damaged, or from a version with other rules: {reason}")]
    Damaged { url: String, reason: String },
    #[error("storage `{url}` already holds this run")]
    AlreadyThere { url: String },
    #[error("storage `{url}` holds another run:\n{}", list(differences))]
    AnotherRun {
        url: String,
        differences: Vec<KeyDifference>,
    },
    #[error("copy `{path}`: {cause}")]
    Disk { path: String, cause: io::Error },
}

fn list(differences: &[KeyDifference]) -> String {
    let lines: Vec<String> = differences
        .iter()
        .map(|difference| format!("  {difference}"))
        .collect();
    lines.join("\n")
}

impl From<StorageError> for RemoteError {
    fn from(cause: StorageError) -> Self {
        Self::Storage { cause }
    }
}

hints!(pub RemoteError {
    Self::Damaged { .. } => {
        "restore it, correct in it what this version refuses (CHANGELOG.md), or remove the run's \
        folder in the storage"
    },
    Self::AlreadyThere { .. } => "continue it with `--resume`, or give a new run its own run.name",
    Self::AnotherRun { .. } => "give this run its own run.name or storage.url",
    Self::Storage { cause, .. } => cause.hint(),
});

impl RemoteError {
    /// Whether it may pass although nobody does anything.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Storage { cause } if cause.is_passing())
    }
}

impl RemoteRun {
    /// The place of a run, if it has one.
    ///
    /// # Errors
    /// Its settings are wrong.
    pub fn of(config: &RunConfig, counters: &StorageCounters) -> Result<Option<Self>, RemoteError> {
        let Some(url) = &config.storage.url else {
            return Ok(None);
        };
        let storage = Storage::open(url, &Settings::of(&config.storage), counters.clone())?;
        Ok(Some(Self {
            storage: storage.below(config.run.name.as_str()),
        }))
    }

    #[must_use]
    pub fn counters(&self) -> &StorageCounters {
        self.storage.counters()
    }

    fn url(&self) -> String {
        self.storage.url("")
    }

    /// The resolved configuration of the run that lies there.
    ///
    /// # Errors
    /// The storage cannot be asked, or what lies there is no run.toml.
    pub fn config(&self) -> Result<Option<RunConfig>, RemoteError> {
        let bytes = match self.storage.get(SPEC_FILE) {
            Ok(bytes) => bytes,
            Err(cause) if cause.is_not_found() => return Ok(None),
            Err(cause) => return Err(cause.into()),
        };
        let parsed = std::str::from_utf8(&bytes)
            .map_err(|cause| cause.to_string())
            .and_then(|text| {
                toml::from_str(text).map_err(|cause: toml::de::Error| cause.message().to_owned())
            });
        parsed.map(Some).map_err(|told| RemoteError::Damaged {
            url: self.storage.url(SPEC_FILE),
            reason: told,
        })
    }

    /// Refuses a run that is not the one that lies there.
    ///
    /// # Errors
    /// It is another one.
    pub fn compare(&self, there: &RunConfig, spec: &RunSpec) -> Result<(), RemoteError> {
        let damaged = |reason: String| RemoteError::Damaged {
            url: self.storage.url(SPEC_FILE),
            reason,
        };
        let mut there = there.clone();
        // Another host keeps its files elsewhere.
        there.run.directory.clone_from(&spec.config().run.directory);
        there.storage.cache.clone_from(&spec.config().storage.cache);
        let there = Table::try_from(there).map_err(|cause| damaged(cause.to_string()))?;
        let here = Table::try_from(spec.config()).map_err(|cause| damaged(cause.to_string()))?;
        let differences = differences(&there, &here);
        if differences.is_empty() {
            return Ok(());
        }
        Err(RemoteError::AnotherRun {
            url: self.url(),
            differences,
        })
    }

    /// Says there which run this is; refuses where one is already.
    ///
    /// # Errors
    /// The storage refuses, or holds a run of this name.
    pub fn claim(&self, spec: &RunSpec) -> Result<(), RemoteError> {
        if self.config()?.is_some() {
            return Err(RemoteError::AlreadyThere { url: self.url() });
        }
        Ok(self.storage.put(SPEC_FILE, spec.to_toml())?)
    }

    /// Brings what the report shows into the run directory, as far as it is not there: the manifest of the models
    /// and the example pictures.
    ///
    /// # Errors
    /// The storage or the disk refuses.
    pub fn bring_results(&self, directory: &RunDirectory) -> Result<(), RemoteError> {
        let examples = self.storage.list("examples")?;
        self.bring(&format!("{MODELS}/{MANIFEST}"), directory)?;
        for name in examples.into_iter().map(|object| object.name) {
            self.bring(&name, directory)?;
        }
        Ok(())
    }

    /// Brings a finished model into the run directory, if it is in the storage.
    ///
    /// # Errors
    /// The storage or the disk refuses, or the model is not what its manifest says.
    pub fn bring_model(&self, file: &str, directory: &RunDirectory) -> Result<(), RemoteError> {
        let Some(manifest) = self.manifest()? else {
            return Ok(());
        };
        let digest = manifest["files"][file]["blake3"].as_str().unwrap_or_default();
        self.bring_checked(&format!("{MODELS}/{file}"), directory, Some(digest))
    }

    /// The manifest of the finished models, if there is one.
    fn manifest(&self) -> Result<Option<serde_json::Value>, RemoteError> {
        match self.storage.get(&format!("{MODELS}/{MANIFEST}")) {
            Err(cause) if cause.is_not_found() => Ok(None),
            manifest => Ok(Some(serde_json::from_slice(&manifest?).unwrap_or_default())),
        }
    }

    /// Brings the style bank into the run directory, if it is in the storage.
    ///
    /// # Errors
    /// The storage or the disk refuses, or the bank is not the one that the run's manifest names.
    pub fn bring_style_bank(&self, directory: &RunDirectory) -> Result<(), RemoteError> {
        let manifest = self.manifest()?.unwrap_or_default();
        // Runs of earlier versions named none.
        let digest = manifest["style_bank"]["blake3"].as_str();
        match self.bring_checked(STYLE_BANK, directory, digest) {
            Err(RemoteError::Storage { cause }) if cause.is_not_found() => Ok(()),
            brought => brought,
        }
    }

    fn bring(&self, name: &str, directory: &RunDirectory) -> Result<(), RemoteError> {
        self.bring_checked(name, directory, None)
    }

    fn bring_checked(
        &self,
        name: &str,
        directory: &RunDirectory,
        digest: Option<&str>,
    ) -> Result<(), RemoteError> {
        let path = directory.root().join(name);
        let plain = Path::new(name)
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        if !plain || path.exists() {
            return Ok(());
        }
        let bytes = self.storage.get(name)?;
        if digest.is_some_and(|digest| blake3::hash(&bytes).to_hex().as_str() != digest) {
            return Err(RemoteError::Damaged {
                url: self.storage.url(name),
                reason: "its bytes do not have the digest that manifest.json names".to_owned(),
            });
        }
        let disk = |cause| RemoteError::Disk {
            path: path.display().to_string(),
            cause,
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(disk)?;
        }
        let beside = path.with_extension("part");
        ulda_files::create_file(&beside)
            .and_then(|mut file| file.write_all(&bytes))
            .and_then(|()| std::fs::rename(&beside, &path))
            .map_err(disk)
    }

    /// Keeps the report there.
    ///
    /// # Errors
    /// The storage refuses, or a file cannot be read.
    pub fn keep_report(&self, directory: &RunDirectory) -> Result<(), RemoteError> {
        let folder = directory.report();
        let disk = |cause| RemoteError::Disk {
            path: folder.display().to_string(),
            cause,
        };
        for entry in std::fs::read_dir(&folder).map_err(disk)? {
            let entry = entry.map_err(disk)?;
            let bytes = ulda_files::read_file(&entry.path(), MOST_TEXT_BYTES).map_err(disk)?;
            let name = entry.file_name();
            self.storage
                .put(&format!("report/{}", name.to_string_lossy()), bytes)?;
        }
        Ok(())
    }
}
