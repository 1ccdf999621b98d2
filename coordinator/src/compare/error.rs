//! Why runs cannot be compared.

use std::path::PathBuf;

use ulda_run::with_causes;

use crate::journal::JournalError;
use crate::report::FinalManifestError;
use crate::run_directory::RunDirectoryError;

/// Why runs cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error(transparent)]
    Directory(#[from] RunDirectoryError),
    #[error(transparent)]
    Manifest(#[from] FinalManifestError),
    #[error(
        "run `{}` cannot be compared: {}\n  hint: restore its journal, or leave the run out",
        run.display(), first_line(&with_causes(cause))
    )]
    Journal { run: PathBuf, cause: JournalError },
    #[error(
        "run `{}` is {state}: {why}\n  hint: only finished runs are compared; leave it out until it is finished",
        run.display()
    )]
    Unfinished {
        run: PathBuf,
        state: &'static str,
        why: String,
    },
    #[error(
        "run `{}` has no scores of model `{model}`; it has {}\n  hint: choose another with --model, or for these runs alone \
         with LABEL:MODEL=RUN",
        run.display(), list(known)
    )]
    NoModel {
        run: PathBuf,
        model: &'static str,
        known: Vec<String>,
    },
    #[error("run `{}` is given twice for method `{label}`\n  hint: name each run once", run.display())]
    Twice { run: PathBuf, label: String },
    #[error(
        "method `{label}` is to be scored by {first} and by {second}\n  hint: give runs that are scored by another model \
         another label"
    )]
    TwoModels {
        label: String,
        first: &'static str,
        second: &'static str,
    },
    #[error(
        "--reference `{name}` is no method; there is {}\n  hint: give the label of one",
        list(known)
    )]
    UnknownReference { name: String, known: Vec<String> },
    #[error(
        "--sets `{name}` is no evaluation set of these runs; there is {}\n  hint: give names of these, separated by commas",
        list(known)
    )]
    UnknownSet { name: String, known: Vec<String> },
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
