//! All numbers of a comparison. Scores are mIoU as shares in 0..1.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ulda_run::clip::ClipTraining;

use super::sets::ComparedSets;
use super::statistics::mean;
use super::{CompareError, ComparedMethod, ComparedRun, Estimate, ScoredModel, warnings};

/// What is compared, as far as it was chosen.
#[derive(Clone, Debug, Default)]
pub struct CompareChoices {
    /// Scored in every run, unless its label says otherwise.
    pub model: Option<ScoredModel>,
    /// Label of the method that the others are compared with; the first one otherwise.
    pub reference: Option<String>,
    /// Evaluation sets in their order; all of the runs otherwise.
    pub sets: Vec<String>,
}

/// Scores side by side.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The evaluation sets and, if there is a target set among them, the mean over the target sets.
    pub columns: Vec<String>,
    pub methods: Vec<MethodScores>,
    /// Label of the method that the others are compared with.
    pub reference: String,
    /// Of every method but the reference.
    pub differences: Vec<MethodDifferences>,
    /// Kinds of CLIP weights with the labels of the methods that stand on them.
    pub clip: BTreeMap<ClipTraining, BTreeSet<String>>,
    /// What makes the scores hard to compare.
    pub warnings: Vec<String>,
}

/// One method, with one value per column in each list.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodScores {
    pub label: String,
    /// The scored model; several where runs lack an adapted one.
    pub model: String,
    /// In order of seeds.
    pub seeds: Vec<SeedScores>,
    /// Mean and standard deviation over the seeds.
    pub estimates: Vec<Option<Estimate>>,
}

/// All runs of one method and seed, taken as one.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedScores {
    pub seed: u64,
    pub runs: Vec<PathBuf>,
    /// The mean over the runs that scored the set; `None` where none did.
    pub values: Vec<Option<f64>>,
}

/// A method above the reference, seed by seed.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodDifferences {
    pub label: String,
    /// Seeds of both.
    pub common_seeds: usize,
    /// Mean and standard error over the common seeds.
    pub estimates: Vec<Option<Estimate>>,
}

/// A run and the model whose scores count.
pub(super) struct ScoredRun<'a> {
    pub(super) run: &'a ComparedRun,
    pub(super) model: ScoredModel,
}

impl ScoredRun<'_> {
    fn score(&self, set: &str) -> Option<f64> {
        let found = self.run.sets.iter().find(|found| found.set == set)?;
        found.mean_iou(self.model.name())
    }
}

impl Comparison {
    /// Compares `methods`, of which there is at least one.
    ///
    /// # Errors
    /// A run has no scores of the model, or a chosen name is unknown.
    pub fn of(methods: &[ComparedMethod], choices: &CompareChoices) -> Result<Self, CompareError> {
        let sets = ComparedSets::of(methods, &choices.sets)?;
        let scores = methods
            .iter()
            .map(|method| method_scores(method, choices.model, &sets))
            .collect::<Result<Vec<_>, _>>()?;
        let reference = match &choices.reference {
            None => &scores[0],
            Some(name) => scores
                .iter()
                .find(|method| method.label == *name)
                .ok_or_else(|| CompareError::UnknownReference {
                    name: name.clone(),
                    known: scores.iter().map(|method| method.label.clone()).collect(),
                })?,
        };
        let others = scores.iter().filter(|method| method.label != reference.label);
        let differences: Vec<_> = others.map(|method| differences(method, reference)).collect();
        let mut clip: BTreeMap<ClipTraining, BTreeSet<String>> = BTreeMap::new();
        for method in methods {
            for run in &method.runs {
                let labels = clip.entry(run.clip.training).or_default();
                labels.insert(method.label.clone());
            }
        }
        let mut warnings = warnings::of_runs(methods, &sets);
        warnings.extend(warnings::of_scores(&scores, &differences, &sets));
        Ok(Self {
            columns: sets.columns(),
            reference: reference.label.clone(),
            methods: scores,
            differences,
            clip,
            warnings,
        })
    }
}

fn method_scores(
    method: &ComparedMethod,
    wanted: Option<ScoredModel>,
    sets: &ComparedSets,
) -> Result<MethodScores, CompareError> {
    let mut replicates: BTreeMap<u64, Vec<ScoredRun<'_>>> = BTreeMap::new();
    let mut models: Vec<&str> = Vec::new();
    for run in &method.runs {
        let model = run.model(method.model.or(wanted))?;
        if !models.contains(&model.name()) {
            models.push(model.name());
        }
        let runs = replicates.entry(run.config.run.seed).or_default();
        runs.push(ScoredRun { run, model });
    }
    let seeds: Vec<SeedScores> = replicates
        .into_iter()
        .map(|(seed, runs)| seed_scores(seed, &runs, sets))
        .collect();
    let estimates = (0..sets.columns().len())
        .map(|column| {
            let values: Vec<f64> = seeds.iter().filter_map(|seed| seed.values[column]).collect();
            Estimate::with_deviation(&values)
        })
        .collect();
    Ok(MethodScores {
        label: method.label.clone(),
        model: models.join(", "),
        seeds,
        estimates,
    })
}

fn seed_scores(seed: u64, runs: &[ScoredRun<'_>], sets: &ComparedSets) -> SeedScores {
    let score = |set: &String| {
        let scores: Vec<f64> = runs.iter().filter_map(|run| run.score(set)).collect();
        mean(&scores)
    };
    let mut values: Vec<Option<f64>> = sets.names.iter().map(score).collect();
    if !sets.targets.is_empty() {
        let targets: Option<Vec<f64>> = sets.targets.iter().map(score).collect();
        values.push(targets.and_then(|targets| mean(&targets)));
    }
    SeedScores {
        seed,
        runs: runs.iter().map(|scored| scored.run.path.clone()).collect(),
        values,
    }
}

fn differences(method: &MethodScores, reference: &MethodScores) -> MethodDifferences {
    let common: Vec<(&SeedScores, &SeedScores)> = method
        .seeds
        .iter()
        .filter_map(|seed| {
            let other = reference.seeds.iter().find(|other| other.seed == seed.seed)?;
            Some((seed, other))
        })
        .collect();
    let estimates = (0..method.estimates.len())
        .map(|column| {
            let gains: Vec<f64> = common
                .iter()
                .filter_map(|(seed, other)| Some(seed.values[column]? - other.values[column]?))
                .collect();
            Estimate::with_error(&gains)
        })
        .collect();
    MethodDifferences {
        label: method.label.clone(),
        common_seeds: common.len(),
        estimates,
    }
}
