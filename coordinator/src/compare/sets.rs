//! The evaluation sets of a comparison.

use std::collections::BTreeSet;

use super::{CompareError, ComparedMethod};
use crate::report::MEAN_OF_TARGETS;

/// The evaluation sets that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ComparedSets {
    pub(super) names: Vec<String>,
    /// Those of other domains than the source.
    pub(super) targets: BTreeSet<String>,
}

impl ComparedSets {
    pub(super) fn of(methods: &[ComparedMethod], chosen: &[String]) -> Result<Self, CompareError> {
        let scored = || {
            let runs = methods.iter().flat_map(|method| &method.runs);
            runs.flat_map(|run| &run.sets)
        };
        let mut names: Vec<String> = Vec::new();
        for set in scored() {
            if !names.contains(&set.set) {
                names.push(set.set.clone());
            }
        }
        if let Some(name) = chosen.iter().find(|name| !names.contains(name)) {
            return Err(CompareError::UnknownSet {
                name: name.clone(),
                known: names,
            });
        }
        if !chosen.is_empty() {
            names = chosen.to_vec();
        }
        let is_target = |name: &&String| scored().all(|set| set.set != **name || set.target);
        let targets = names.iter().filter(is_target).cloned().collect();
        Ok(Self { names, targets })
    }

    pub(super) fn columns(&self) -> Vec<String> {
        let mut columns = self.names.clone();
        if !self.targets.is_empty() {
            columns.push(MEAN_OF_TARGETS.to_owned());
        }
        columns
    }
}
