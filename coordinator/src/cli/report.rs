//! `coordinator report`.

use super::arguments::ReportArguments;
use super::common::{print, run_directory};
use super::conclusion::write_report;
use crate::exit::{Exit, Stop};

pub fn report(arguments: &ReportArguments) -> Result<Exit, Stop> {
    let directory = run_directory(&arguments.run)?;
    write_report(&directory)?;
    print(&format!("{}\n", directory.report().join("index.html").display()))?;
    Ok(Exit::Done)
}
