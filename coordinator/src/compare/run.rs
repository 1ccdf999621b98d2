//! One finished run, as far as a comparison needs it.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use ulda_run::clip::ClipOrigin;
use ulda_run::spec::{Host, RunConfig};
use ulda_run::variant_names;

use super::CompareError;
use crate::history::History;
use crate::journal::{JournalError, JournalReader};
use crate::report::{SetScores, clip_origin, set_scores};
use crate::run_directory::RunDirectory;

/// A model that evaluation scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScoredModel {
    Adapted,
    AdaptedBest,
    SourceOnly,
}

// As journals and reports call them.
variant_names!(ScoredModel {
    Adapted = "adapted",
    AdaptedBest = "adapted-best",
    SourceOnly = "source-only",
});

/// A finished run and its scores.
#[derive(Clone, Debug)]
pub struct ComparedRun {
    /// As a person named it.
    pub path: PathBuf,
    /// Its one name on this host, by which a run that was named twice is recognised.
    pub place: PathBuf,
    /// The resolved run.toml.
    pub config: RunConfig,
    pub clip: ClipOrigin,
    pub sets: Vec<SetScores>,
}

impl ComparedRun {
    /// Reads the run in `directory`, which a person named as `path`.
    ///
    /// # Errors
    /// It cannot be read, or it is not finished.
    pub fn read(directory: &RunDirectory, path: &Path) -> Result<Self, CompareError> {
        let unreadable = |cause: JournalError| CompareError::Journal {
            run: path.to_owned(),
            cause,
        };
        let spec = directory.spec(Host { workers: 1, cores: 1 })?;
        let journal = JournalReader::open(&directory.journal_file()).map_err(unreadable)?;
        let standing = History::read(directory, &journal).map_err(unreadable)?.standing;
        if !standing.is_finished() {
            return Err(CompareError::Unfinished {
                run: path.to_owned(),
                state: standing.name(),
                why: standing.why().to_owned(),
            });
        }
        let evaluations = journal.evaluations().map_err(unreadable)?;
        Ok(Self {
            path: path.to_owned(),
            place: std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
            config: spec.config().clone(),
            clip: clip_origin(directory, &journal.facts().map_err(unreadable)?)?,
            sets: set_scores(spec.config(), &evaluations),
        })
    }

    /// The model whose scores count: the wanted one, else the adapted one, else the source-only one.
    pub(super) fn model(&self, wanted: Option<ScoredModel>) -> Result<ScoredModel, CompareError> {
        let has = |model: ScoredModel| self.sets.iter().any(|set| set.model(model.name()).is_some());
        let found = match wanted {
            Some(model) => Some(model).filter(|model| has(*model)),
            None => [ScoredModel::Adapted, ScoredModel::SourceOnly]
                .into_iter()
                .find(|model| has(*model)),
        };
        found.ok_or_else(|| CompareError::NoModel {
            run: self.path.clone(),
            model: wanted.unwrap_or(ScoredModel::Adapted).name(),
            known: ScoredModel::ALL
                .into_iter()
                .filter(|model| has(*model))
                .map(|model| model.name().to_owned())
                .collect(),
        })
    }
}
