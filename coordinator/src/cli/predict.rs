//! `coordinator predict`: hands over to `worker predict`, which owns the network.

use std::path::PathBuf;

use super::arguments::PredictArguments;
use super::finished::{FinishedRun, become_worker};
use crate::exit::{Exit, Stop, StopCause};

#[derive(Debug, thiserror::Error)]
#[error("input `{}` does not exist", path.display())]
struct NoInput {
    path: PathBuf,
}

impl StopCause for NoInput {
    fn hint(&self) -> Option<String> {
        Some("give PNG or JPEG images, folders that hold some, or videos".into())
    }
}

pub fn predict(arguments: &PredictArguments) -> Result<Exit, Stop> {
    let model = match &arguments.run {
        Some(run) => {
            let finished = FinishedRun::open(run)?;
            finished.model(finished.main_model())?
        }
        None => arguments.model.clone().unwrap_or_default(),
    };
    if let Some(path) = arguments.inputs.iter().find(|path| !path.exists()) {
        return Err(Stop::bad_input(NoInput { path: path.clone() }));
    }
    Err(become_worker(arguments.worker_binary.as_deref(), |command| {
        command.arg("predict").arg("--model").arg(model);
        if let Some(side) = arguments.crop {
            command.arg("--crop").arg(side.to_string());
        }
        if arguments.confidence {
            command.arg("--confidence");
        }
        if arguments.overlay_video {
            command.arg("--overlay-video");
        }
        command.arg("--out").arg(&arguments.out).args(&arguments.inputs);
    }))
}
