//! `coordinator list`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::arguments::{ListArguments, OutputFormat};
use super::common::{columns, host, print, print_json};
use crate::exit::{Exit, Stop, StopCause};
use crate::history::{History, RunStanding};
use crate::journal::JournalReader;
use crate::run_directory::RunDirectory;

#[derive(Debug, thiserror::Error)]
enum ListError {
    #[error("folder `{}` does not exist", path.display())]
    NoFolder { path: PathBuf },
}

impl StopCause for ListError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoFolder { .. } => Some("name the folder that run.directory names".to_owned()),
        }
    }
}

#[derive(Debug, Serialize)]
struct Line {
    path: PathBuf,
    #[serde(flatten)]
    standing: RunStanding,
    share_done: f64,
}

pub fn list(arguments: &ListArguments) -> Result<Exit, Stop> {
    let folder = &arguments.folder;
    if !folder.is_dir() {
        return Err(Stop::bad_input(ListError::NoFolder { path: folder.clone() }));
    }
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    let lines: Vec<Line> = paths.iter().filter_map(|path| line(path)).collect();
    match arguments.output {
        OutputFormat::Json => print_json(&lines)?,
        OutputFormat::Table => {
            let mut rows = vec![["RUN", "STATE", "DONE", "WHY"].map(str::to_owned).to_vec()];
            rows.extend(lines.iter().map(|line| {
                let done = format!("{:.1} %", line.share_done * 100.0);
                let why = line.standing.why().lines().next().unwrap_or_default().to_owned();
                vec![
                    line.path.display().to_string(),
                    line.standing.name().to_owned(),
                    done,
                    why,
                ]
            }));
            print(&columns(&rows))?;
        }
    }
    Ok(Exit::Done)
}

/// A folder that holds no run, or one that cannot be read, is not listed.
fn line(path: &Path) -> Option<Line> {
    let directory = RunDirectory::at(path);
    let spec = directory.spec(host(1)).ok()?;
    let Ok(journal) = JournalReader::open(&directory.journal_file()) else {
        return Some(Line {
            path: path.to_owned(),
            standing: RunStanding::New,
            share_done: 0.0,
        });
    };
    let history = History::read(&directory, &journal).ok()?;
    Some(Line {
        path: path.to_owned(),
        share_done: history.share_done(&spec),
        standing: history.standing,
    })
}
