//! `coordinator export-tensorboard`.

use super::arguments::ExportTensorBoardArguments;
use super::common::{host, print, run_directory};
use crate::exit::{Exit, Stop};
use crate::observe::tensorboard::{ExportError, export};

pub fn export_tensorboard(arguments: &ExportTensorBoardArguments) -> Result<Exit, Stop> {
    let directory = run_directory(&arguments.run)?;
    let spec = directory.spec(host(1)).map_err(Stop::bad_input)?;
    let folder = arguments.out.clone().unwrap_or_else(|| directory.tensorboard());
    export(&directory, &spec, &folder).map_err(|cause| match cause {
        ExportError::AlreadyThere { .. } | ExportError::Journal(_) => Stop::bad_input(cause),
        ExportError::File(_) => cause.into(),
    })?;
    print(&format!("{}\n", folder.display()))?;
    Ok(Exit::Done)
}
