//! `coordinator report`.

use super::arguments::ReportArguments;
use super::common::{print, run_directory};
use crate::exit::{Exit, Stop};
use crate::report;

pub fn report(arguments: &ReportArguments) -> Result<Exit, Stop> {
    let directory = run_directory(&arguments.run)?;
    report::write(&directory)?;
    print(&format!("{}\n", directory.report().join("index.html").display()))?;
    Ok(Exit::Done)
}
