//! Everything a report tells, as values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use ulda_run::{Classes, RunEnd};

use serde::Serialize;
use ulda_dataset::Scores;
use ulda_run::clip::ClipOrigin;
use ulda_run::spec::{DomainConfig, EndAfter, Host, PathName, RunConfig, StyleSource};
use ulda_run::stage::{Cursor, Stage};
use ulda_run::style_health::StyleHealth;

use super::RunReadError;
use super::manifest::{FinalManifest, clip_origin};
use crate::history::{History, RunStanding};
use crate::journal::{EvaluationRow, JournalReader, MetricPoint, PhaseRow, StageRow, styles_of};
use crate::remote::STYLE_BANK;
use crate::run_directory::RunDirectory;

/// The model that the adapted ones are compared with.
pub(crate) const SOURCE_ONLY: &str = "source-only";
/// The model names of a report, in the order in which they are shown.
const MODELS: [&str; 3] = [SOURCE_ONLY, "adapted", "adapted-best"];
/// The model name of scores taken while training.
const VALIDATION: &str = "validation";

/// Place of a phase among those of a step; phases of other names follow.
pub(crate) fn phase_place(name: &str) -> usize {
    const PHASES: [&str; 5] = ["data", "forward", "backward", "reduce", "optimise"];
    let place = PHASES.iter().position(|known| *known == name);
    place.unwrap_or(PHASES.len())
}

/// A whole report.
#[derive(Clone, Debug, Serialize)]
pub struct ReportData {
    pub run: String,
    pub standing: RunStanding,
    /// The CLIP weights that the scores stand on.
    pub clip: ClipOrigin,
    pub began_at: Option<i64>,
    pub last_at: Option<i64>,
    pub domains: Vec<DomainConfig>,
    /// The last stage in which the run trains; before adapt there is no adapted model.
    pub end_after: EndAfter,
    /// Whether the run scores an adapted model that it was given, and trains none.
    pub given_model: bool,
    /// Whether there is a source-only model beside it, as every run that trains has.
    pub source_model: bool,
    pub styles: StyleSource,
    /// What the scores are of.
    #[serde(skip_serializing_if = "Classes::is_cityscapes")]
    pub classes: Classes,
    pub sets: Vec<SetScores>,
    /// Each model's mean over the target sets; empty where there is none.
    pub target_means: Vec<TargetMean>,
    pub validation: Vec<Validation>,
    /// Health of the learned styles, of the domains that have some.
    pub style_health: Vec<DomainStyles>,
    pub curves: BTreeMap<Stage, BTreeMap<String, Vec<MetricPoint>>>,
    pub stages: Vec<StageTime>,
    pub examples: Vec<ExampleStrip>,
    pub shards: u32,
    pub workers: Option<String>,
    /// What identifies the run's inputs and outputs, by name.
    pub digests: BTreeMap<String, String>,
    pub versions: BTreeMap<String, String>,
    /// The resolved run.toml.
    pub config_toml: String,
}

impl ReportData {
    /// Whether the run has an adapted model; scores and pictures are of the source-only one alone otherwise.
    #[must_use]
    pub fn adapts(&self) -> bool {
        self.end_after >= EndAfter::Adapt
    }

    /// What the panels of an example strip show, from left to right.
    #[must_use]
    pub fn panels(&self) -> &'static [&'static str] {
        match (self.source_model, self.adapts()) {
            (true, true) => &["image", "truth", "source-only", "adapted"],
            (true, false) => &["image", "truth", "source-only"],
            (false, _) => &["image", "truth", "adapted"],
        }
    }
}

/// Health of a domain's learned styles, over all rounds so far.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DomainStyles {
    pub domain: String,
    #[serde(flatten)]
    pub health: StyleHealth,
}

/// All models on one evaluation set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SetScores {
    pub set: String,
    pub images: u64,
    /// Whether its images are of another domain than the source.
    pub target: bool,
    pub models: Vec<ModelScores>,
}

impl SetScores {
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&ModelScores> {
        self.models.iter().find(|model| model.model == name)
    }

    #[must_use]
    pub fn mean_iou(&self, model: &str) -> Option<f64> {
        self.model(model)?.scores.mean_iou
    }

    /// mIoU of a model above that of the source-only one.
    #[must_use]
    pub fn gain(&self, model: &str) -> Option<f64> {
        Some(self.mean_iou(model)? - self.mean_iou(SOURCE_ONLY)?)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelScores {
    pub model: String,
    pub scores: Scores,
    pub confusion: Vec<u64>,
}

/// mIoU of one model over all target sets, each counted alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetMean {
    pub model: String,
    /// `None` where a target set has no score of the model.
    pub mean_iou: Option<f64>,
    /// Above the source-only model's.
    pub gain: Option<f64>,
}

/// Scores on the source while training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Validation {
    pub place: Cursor,
    pub set: String,
    pub mean_iou: Option<f64>,
}

/// Where the time of a stage went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageTime {
    pub stage: Stage,
    pub steps: u64,
    /// Wall time, once the stage is done.
    pub seconds: Option<f64>,
    pub digest: Option<String>,
    pub images: f64,
    /// Over all workers, in the order of a step.
    pub phases: Vec<PhaseTime>,
}

impl StageTime {
    #[must_use]
    pub fn images_per_second(&self) -> Option<f64> {
        self.seconds
            .filter(|seconds| *seconds > 0.0 && self.images > 0.0)
            .map(|seconds| self.images / seconds)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseTime {
    pub name: String,
    pub seconds: f64,
}

/// A picture made by the worker: the panels of [`ReportData::panels`] side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExampleStrip {
    pub set: String,
    pub file: PathBuf,
}

/// Reads the run in `directory`.
///
/// # Errors
/// The run.toml or the journal cannot be read.
pub fn gather(directory: &RunDirectory) -> Result<ReportData, RunReadError> {
    let spec = directory.spec(Host { workers: 1, cores: 1 })?;
    let journal = JournalReader::open(&directory.journal_file())?;
    let history = History::read(directory, &journal)?;
    let facts = journal.facts()?;
    let evaluations = journal.evaluations()?;
    let manifest = FinalManifest::read(directory)?;
    let config = spec.config();
    let sets = set_scores(config, &evaluations);
    let curves = journal.curves()?;
    let names: Vec<&PathName> = config.evaluate.sets.iter().map(|set| &set.name).collect();
    let lengths: Vec<(Stage, u64)> = spec
        .course()
        .stages()
        .iter()
        .map(|length| (length.stage, length.steps))
        .collect();
    Ok(ReportData {
        run: config.run.name.to_string(),
        clip: clip_origin(directory, &facts)?,
        began_at: history.began_at,
        last_at: history.last_at,
        domains: config.domains.clone(),
        end_after: config.run.end_after,
        given_model: config.given_model().is_some(),
        source_model: config.has_source_model(),
        styles: config.simulate.styles,
        classes: spec.classes(),
        target_means: target_means(&sets),
        sets,
        validation: validation(&evaluations),
        style_health: style_health(config, &curves),
        curves,
        stages: stage_times(&lengths, &journal.stages()?, &journal.phases()?),
        examples: examples(&directory.examples(), &names),
        shards: spec.shards(),
        workers: facts.get("workers").cloned(),
        digests: digests(&manifest, &history.standing, &facts),
        versions: versions(&manifest, &facts),
        config_toml: spec.to_toml(),
        standing: history.standing,
    })
}

/// The last scores of every model on every evaluation set of the run, in the order of its configuration.
pub(crate) fn set_scores(config: &RunConfig, evaluations: &[EvaluationRow]) -> Vec<SetScores> {
    config
        .evaluate
        .sets
        .iter()
        .filter_map(|set| {
            let models: Vec<(u64, ModelScores)> = MODELS
                .iter()
                .filter_map(|model| {
                    let row = evaluations
                        .iter()
                        .rfind(|row| row.set == set.name && row.model == *model)?;
                    let scores = row.confusion.scores();
                    let confusion = row.confusion.counts().to_vec();
                    Some((
                        row.images,
                        ModelScores {
                            model: (*model).to_owned(),
                            scores,
                            confusion,
                        },
                    ))
                })
                .collect();
            let images = models.first()?.0;
            Some(SetScores {
                set: set.name.to_string(),
                images,
                target: !config.source.holds(set),
                models: models.into_iter().map(|(_, model)| model).collect(),
            })
        })
        .collect()
}

fn target_means(sets: &[SetScores]) -> Vec<TargetMean> {
    let targets: Vec<&SetScores> = sets.iter().filter(|set| set.target).collect();
    let of = |model: &str| {
        let scores = targets.iter().map(|set| set.mean_iou(model));
        let sum = scores.sum::<Option<f64>>()?;
        Some(sum / targets.len() as f64)
    };
    MODELS
        .iter()
        .filter(|model| targets.iter().any(|set| set.model(model).is_some()))
        .map(|model| TargetMean {
            model: (*model).to_owned(),
            mean_iou: of(model),
            gain: of(model).zip(of(SOURCE_ONLY)).map(|(mean, source)| mean - source),
        })
        .collect()
}

fn style_health(
    config: &RunConfig,
    curves: &BTreeMap<Stage, BTreeMap<String, Vec<MetricPoint>>>,
) -> Vec<DomainStyles> {
    let domains = config.domains.iter().filter_map(|domain| {
        let health = styles_of(domain.name.as_str(), curves.get(&Stage::Simulate)?)?;
        Some(DomainStyles {
            domain: domain.name.to_string(),
            health,
        })
    });
    domains.collect()
}

fn validation(evaluations: &[EvaluationRow]) -> Vec<Validation> {
    let rows = evaluations.iter().filter(|row| row.model == VALIDATION);
    rows.map(|row| Validation {
        place: row.place,
        set: row.set.to_string(),
        mean_iou: row.mean_iou,
    })
    .collect()
}

fn stage_times(lengths: &[(Stage, u64)], done: &[StageRow], phases: &[PhaseRow]) -> Vec<StageTime> {
    lengths
        .iter()
        .map(|(stage, steps)| {
            let row = done.iter().find(|row| row.stage == *stage);
            let mut seconds: BTreeMap<&str, f64> = BTreeMap::new();
            let mut images = 0.0;
            for phase in phases.iter().filter(|phase| phase.stage == *stage) {
                if phase.name == "images" {
                    images += phase.amount;
                } else {
                    *seconds.entry(&phase.name).or_default() += phase.amount;
                }
            }
            let mut phases: Vec<PhaseTime> = seconds
                .into_iter()
                .map(|(name, seconds)| PhaseTime {
                    name: name.to_owned(),
                    seconds,
                })
                .collect();
            phases.sort_by_key(|phase| phase_place(&phase.name));
            StageTime {
                stage: *stage,
                steps: *steps,
                seconds: row.map(|row| row.seconds),
                digest: row.map(|row| row.digest.clone()),
                images,
                phases,
            }
        })
        .collect()
}

fn examples(folder: &Path, names: &[&PathName]) -> Vec<ExampleStrip> {
    let mut examples = Vec::new();
    for name in names {
        let entries = std::fs::read_dir(folder.join(name)).into_iter().flatten();
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "png"));
        files.sort();
        examples.extend(files.into_iter().map(|file| ExampleStrip {
            set: name.to_string(),
            file,
        }));
    }
    examples
}

fn digests(
    manifest: &FinalManifest,
    standing: &RunStanding,
    facts: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut digests = BTreeMap::new();
    if let RunStanding::Ended(RunEnd::Finished { digest }) = standing {
        digests.insert("final state".to_owned(), digest.clone());
    }
    for (name, digest) in [
        ("final models", &manifest.digest),
        ("clip checkpoint", &manifest.clip.digest),
    ] {
        if !digest.is_empty() {
            digests.insert(name.to_owned(), digest.clone());
        }
    }
    if let Some(digest) = facts.get("spec digest") {
        digests.insert("resolved run.toml".to_owned(), digest.clone());
    }
    if let Some(digest) = manifest.of_style_bank() {
        digests.insert(STYLE_BANK.to_owned(), digest.to_owned());
    }
    digests.extend(
        manifest
            .files
            .iter()
            .map(|(name, file)| (name.clone(), file.digest().to_owned())),
    );
    digests
}

fn versions(manifest: &FinalManifest, facts: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut versions = manifest.versions.clone();
    if let Some(version) = &manifest.version {
        versions.insert("worker".into(), version.clone());
    }
    versions.insert(
        "coordinator".into(),
        facts
            .get("coordinator version")
            .cloned()
            .unwrap_or_else(|| "unknown".into()),
    );
    versions
}
