//! What several verbs need.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use ulda_run::spec::Host;

use super::arguments::ConfigArguments;
use crate::config::{Layers, LoadedConfig, load};
use crate::exit::Stop;
use crate::printable::printable;
use crate::remote::RemoteError;
use crate::run_directory::{RunDirectory, RunDirectoryError};

/// The configuration that the arguments, the environment and the files make together.
pub fn configuration(arguments: &ConfigArguments) -> Result<LoadedConfig, Stop> {
    configuration_below(arguments, None)
}

/// The same with all relative paths starting at `base`, for a run that reads its files elsewhere.
pub fn configuration_below(arguments: &ConfigArguments, base: Option<&Path>) -> Result<LoadedConfig, Stop> {
    let here = std::env::current_dir().context("find the current directory")?;
    let default = Path::new("run.toml");
    let file = arguments
        .config
        .clone()
        .or_else(|| default.is_file().then(|| default.to_owned()));
    let layers = Layers {
        file,
        environment: Layers::environment_edits(),
        sets: arguments.sets.clone(),
        base: base.map(Path::to_owned),
    };
    load(&layers, &here).map_err(Stop::bad_input)
}

/// What this machine offers to `workers`.
pub fn host(workers: u32) -> Host {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Host {
        workers,
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
    }
}

/// The worker's binary: as given, else the sibling of this one.
pub fn worker_binary(given: Option<&Path>) -> Result<PathBuf, Stop> {
    if let Some(path) = given {
        return Ok(std::path::absolute(path).context("find the worker binary")?);
    }
    let own = std::env::current_exe().context("find this program's own path")?;
    Ok(own.with_file_name("worker"))
}

/// The run directory that a person named, by its path or, of a run below `runs`, by its name.
pub fn run_directory(path: &Path) -> Result<RunDirectory, Stop> {
    let below_runs = Path::new("runs").join(path);
    let named = path.components().count() == 1 && !path.exists() && below_runs.is_dir();
    let path = if named { &below_runs } else { path };
    let state = std::env::var_os("ULDA_STATE").map(PathBuf::from);
    let directory = RunDirectory::at(std::path::absolute(path).context("find the run directory")?)
        .with_state(state.as_deref());
    if directory.holds_a_run() {
        return Ok(directory);
    }
    Err(Stop::bad_input(RunDirectoryError::NotARun {
        path: path.to_owned(),
    }))
}

/// "seg 0.5000 · total 1.2000".
#[must_use]
pub fn losses_text(losses: &BTreeMap<String, f64>) -> String {
    let terms: Vec<String> = losses
        .iter()
        .map(|(name, value)| format!("{name} {value:.4}"))
        .collect();
    terms.join(" · ")
}

/// Runs async work to its end on a fresh runtime.
pub fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Stop> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the async runtime")?;
    let result = runtime.block_on(work);
    // Whatever still waits (a blocked file system) must not hold the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    Ok(result)
}

/// Writes data on stdout; a reader that closed the pipe has seen enough.
pub fn print(text: &str) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => Err(cause.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Tells a person something on stderr. One that is closed, or a file on a full disk, loses it and nothing else.
pub fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(&text.to_string()));
}

/// Writes JSON on stdout.
pub fn print_json(value: &impl serde::Serialize) -> Result<(), Stop> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Rows with aligned columns.
pub fn columns(rows: &[Vec<String>]) -> String {
    let cells = |row: &Vec<String>| row.iter().map(|cell| printable(cell).into_owned()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            format!("{}\n", cells.join("  ").trim_end())
        })
        .collect()
}

/// What is wrong with a run directory, with the exit code that belongs to it.
pub fn directory_refused(cause: RunDirectoryError) -> Stop {
    match cause {
        RunDirectoryError::Served { .. } => Stop::unavailable(cause),
        RunDirectoryError::NoSpace { .. } => Stop::disk_refuses(cause),
        RunDirectoryError::Io { .. } => cause.into(),
        _ => Stop::bad_input(cause),
    }
}

/// Why a run has no place in its storage, with the exit code that belongs to it.
pub fn remote_refused(cause: RemoteError) -> Stop {
    if cause.is_passing() {
        Stop::unavailable(cause)
    } else {
        Stop::bad_input(cause)
    }
}
