//! What a run leaves, for the verbs that hand it over to the worker, which owns the network.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ulda_run::spec::RunConfig;
use ulda_storage::StorageCounters;

use super::common::remote_refused;
use super::common::{run_directory, say, worker_binary};
use crate::compare::ScoredModel;
use crate::exit::{Stop, StopCause};
use crate::remote::{RemoteError, RemoteRun, STYLE_BANK};
use crate::run_directory::RunDirectory;

#[derive(Debug, thiserror::Error)]
enum FinishedError {
    #[error(
        "run `{}` has no {what}: `{}` does not exist", run.display(), path.display()
    )]
    NotThere {
        run: PathBuf,
        what: String,
        path: PathBuf,
    },
    #[error("start worker `{}`", path.display())]
    Start { path: PathBuf, source: std::io::Error },
}

impl StopCause for FinishedError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotThere { run, .. } => {
                format!("see how far it is with `coordinator status {}`", run.display())
            }
            Self::Start { .. } => "build it with `make`, or name it with --worker-binary".into(),
        })
    }
}

/// A run whose results are asked for. They are brought from its storage where they are not on this host.
pub struct FinishedRun {
    /// As a person named it.
    run: PathBuf,
    pub directory: RunDirectory,
    config: RunConfig,
}

impl FinishedRun {
    pub fn open(run: &Path) -> Result<Self, Stop> {
        let directory = run_directory(run)?;
        let config = directory.config().map_err(Stop::bad_input)?;
        Ok(Self {
            run: run.to_owned(),
            directory,
            config,
        })
    }

    /// The resolved configuration of the run.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// The model to use where none is named: the adapted one, and that of a run that ends before adapt.
    pub fn main_model(&self) -> ScoredModel {
        if self.config.has_adapted_model() {
            return ScoredModel::Adapted;
        }
        say(format_args!(
            "this run ends before adapt: its source-only model is used"
        ));
        ScoredModel::SourceOnly
    }

    /// The file of a model.
    pub fn model(&self, model: ScoredModel) -> Result<PathBuf, Stop> {
        let file = format!("{}.safetensors", stem(model));
        let path = self.directory.final_checkpoints().join(&file);
        self.bring(path, format!("{} model", model.name()), |remote, directory| {
            remote.bring_model(&file, directory)
        })
    }

    /// The file of the style bank.
    pub fn style_bank(&self) -> Result<PathBuf, Stop> {
        let path = self.directory.root().join(STYLE_BANK);
        self.bring(path, "style bank".to_owned(), RemoteRun::bring_style_bank)
    }

    fn bring(
        &self,
        path: PathBuf,
        what: String,
        bring: impl FnOnce(&RemoteRun, &RunDirectory) -> Result<(), RemoteError>,
    ) -> Result<PathBuf, Stop> {
        if !path.is_file()
            && let Some(remote) =
                RemoteRun::of(&self.config, &StorageCounters::default()).map_err(remote_refused)?
        {
            bring(&remote, &self.directory).map_err(remote_refused)?;
        }
        if path.is_file() {
            return Ok(path);
        }
        Err(Stop::bad_input(FinishedError::NotThere {
            run: self.run.clone(),
            what,
            path,
        }))
    }
}

/// The name of a model's files, without extension.
pub fn stem(model: ScoredModel) -> &'static str {
    match model {
        ScoredModel::SourceOnly => "source",
        ScoredModel::Adapted | ScoredModel::AdaptedBest => model.name(),
    }
}

/// Lets the worker take this process's place, and with it signals and exit code; comes back only if it cannot.
pub fn become_worker(binary: Option<&Path>, arguments: impl FnOnce(&mut Command)) -> Stop {
    let path = match worker_binary(binary) {
        Ok(path) => path,
        Err(stop) => return stop,
    };
    let mut command = Command::new(&path);
    arguments(&mut command);
    let source = command.exec();
    FinishedError::Start { path, source }.into()
}
