//! `coordinator predict`: hands over to `worker predict`, which owns the network.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use ulda_run::stage::Stage;
use ulda_storage::StorageCounters;

use super::arguments::PredictArguments;
use super::common::{run_directory, say, worker_binary};
use super::train::remote_refused;
use crate::exit::{Exit, Stop, StopCause};
use crate::remote::RemoteRun;

#[derive(Debug, thiserror::Error)]
enum PredictError {
    #[error("run `{}` has no {kind} model yet: `{}` does not exist", run.display(), model.display())]
    NotFinished {
        run: PathBuf,
        kind: &'static str,
        model: PathBuf,
    },
    #[error("input `{}` does not exist", path.display())]
    NoInput { path: PathBuf },
    #[error("start worker `{}`", path.display())]
    Start { path: PathBuf, source: std::io::Error },
}

impl StopCause for PredictError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotFinished { run, .. } => {
                format!("see how far it is with `coordinator status {}`", run.display())
            }
            Self::NoInput { .. } => "give PNG or JPEG images, or folders that hold some".into(),
            Self::Start { .. } => "build it with `make`, or name it with --worker-binary".into(),
        })
    }
}

pub fn predict(arguments: &PredictArguments) -> Result<Exit, Stop> {
    let model = match &arguments.run {
        Some(run) => {
            let directory = run_directory(run)?;
            let config = directory.config().map_err(Stop::bad_input)?;
            let adapts = config.includes(Stage::Adapt);
            let (kind, file) = match adapts {
                true => ("adapted", "adapted.safetensors"),
                false => ("source-only", "source.safetensors"),
            };
            let model = directory.final_checkpoints().join(file);
            if !model.is_file()
                && let Some(remote) =
                    RemoteRun::of(&config, &StorageCounters::default()).map_err(remote_refused)?
            {
                remote.bring_model(file, &directory).map_err(remote_refused)?;
            }
            if !model.is_file() {
                return Err(Stop::bad_input(PredictError::NotFinished {
                    run: run.clone(),
                    kind,
                    model,
                }));
            }
            if !adapts {
                say(format_args!(
                    "this run ends before adapt: predicting with its source-only model"
                ));
            }
            model
        }
        None => arguments.model.clone().unwrap_or_default(),
    };
    if let Some(path) = arguments.inputs.iter().find(|path| !path.exists()) {
        return Err(Stop::bad_input(PredictError::NoInput { path: path.clone() }));
    }
    let binary = worker_binary(arguments.worker_binary.as_deref())?;
    let mut command = Command::new(&binary);
    command
        .arg("predict")
        .arg("--model")
        .arg(model)
        .arg("--out")
        .arg(&arguments.out);
    command.args(&arguments.inputs);
    // Nothing is left to do here: the worker takes this process's place, and with it signals and exit code.
    Err(PredictError::Start {
        path: binary,
        source: command.exec(),
    }
    .into())
}
