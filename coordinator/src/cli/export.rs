//! `coordinator export`: finds what a run left, and hands over to `worker export`.

use ulda_run::ExportFormat;

use super::arguments::ExportArguments;
use super::finished::{FinishedRun, become_worker, stem};
use crate::exit::{Exit, Stop, StopCause};

#[derive(Debug, thiserror::Error)]
#[error("--model does not go with pickle-styles")]
struct StylesOfNoModel;

impl StopCause for StylesOfNoModel {
    fn hint(&self) -> Option<String> {
        Some("leave it out; a run has one style bank for all its models".into())
    }
}

pub fn export(arguments: &ExportArguments) -> Result<Exit, Stop> {
    let finished = FinishedRun::open(&arguments.run)?;
    let extension = match arguments.format {
        ExportFormat::PickleStyles => None,
        ExportFormat::Pth => Some("pth"),
        ExportFormat::Onnx => Some("onnx"),
        ExportFormat::TorchScript => Some("pt"),
    };
    let (from, name) = match (extension, arguments.model) {
        (None, Some(_)) => return Err(Stop::bad_input(StylesOfNoModel)),
        (None, None) => (finished.style_bank()?, "styles".to_owned()),
        (Some(extension), model) => {
            let model = model.unwrap_or_else(|| finished.main_model());
            (finished.model(model)?, format!("{}.{extension}", stem(model)))
        }
    };
    let folder = finished.directory.root().join("export");
    let out = arguments.out.clone().unwrap_or_else(|| folder.join(name));
    Err(become_worker(arguments.worker_binary.as_deref(), |command| {
        command.args(["export", "--format", arguments.format.name()]);
        command.arg("--from").arg(from).arg("--out").arg(out);
    }))
}
