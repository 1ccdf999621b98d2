//! `--stages` and `--from`: which stages a new run goes through, and whose results it starts from.
//!
//! Both only set keys of the run.toml, between the environment and `--set`, so that a resolved run.toml says it all.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ulda_run::spec::{EndAfter, RunConfig};
use ulda_run::stage::Stage;

use super::arguments::{ConfigArguments, StagesArguments};
use super::common::{configuration, say};
use super::finished::FinishedRun;
use crate::compare::ScoredModel;
use crate::config::{Edit, LoadedConfig};
use crate::exit::{Stop, StopCause};
use crate::remote::STYLE_BANK;
use crate::report::FinalManifest;

const TRAINING: [Stage; 3] = [Stage::Pretrain, Stage::Simulate, Stage::Adapt];

/// Stages in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenStages(Vec<Stage>);

#[derive(Debug, thiserror::Error)]
enum StagesError {
    #[error("--stages names {stage}, and `{key}` leaves it out")]
    LeftOut { stage: Stage, key: &'static str },
    #[error("--stages leaves {stage} out, and nothing replaces it")]
    NotReplaced { stage: Stage },
    #[error("--from takes nothing from another run, since --stages begins with pretrain")]
    NothingToTake,
    #[error("read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{}` has digest {found}, and the run's manifest says {expected}", path.display())]
    OtherDigest {
        path: PathBuf,
        found: String,
        expected: String,
    },
}

impl StopCause for StagesError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::LeftOut { .. } => "remove the key, or do not name the stage",
            Self::NotReplaced {
                stage: Stage::Pretrain,
            } => "name a run with --from, or set pretrain.checkpoint",
            Self::NotReplaced { .. } => {
                "name a run with --from, or set simulate.styles = \"bank\" and simulate.bank"
            }
            Self::NothingToTake => "leave --from out, or begin with simulate, adapt or evaluate",
            Self::OtherDigest { .. } => {
                "it was changed after the run; restore it, or name it by its own key instead of --from"
            }
            Self::Read { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

impl FromStr for ChosenStages {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = text.split(',').map(|name| name.trim().parse::<Stage>());
        let mut stages = named
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        if stages.len() > 1 && stages.last() == Some(&Stage::Evaluate) {
            // It always follows.
            stages.pop();
        }
        let in_a_row = stages.windows(2).all(|pair| pair[0].code() + 1 == pair[1].code());
        match in_a_row {
            true => Ok(Self(stages)),
            false => Err("stages are named in order and without gaps, such as simulate,adapt".to_owned()),
        }
    }
}

impl ChosenStages {
    fn first(&self) -> Stage {
        self.0[0]
    }

    /// The keys that say where the run ends.
    fn end(&self) -> Edit {
        let last = match self.0[self.0.len() - 1] {
            Stage::Pretrain => "pretrain",
            Stage::Simulate => "simulate",
            Stage::Adapt | Stage::Evaluate => "adapt",
        };
        edit("run.end_after", last)
    }

    /// Refuses a configuration that goes through other stages.
    fn check(&self, config: &RunConfig) -> Result<(), StagesError> {
        for stage in TRAINING {
            match (self.0.contains(&stage), config.includes(stage)) {
                (true, false) => {
                    let key = left_out_by(config, stage);
                    return Err(StagesError::LeftOut { stage, key });
                }
                (false, true) => return Err(StagesError::NotReplaced { stage }),
                (true, true) | (false, false) => {}
            }
        }
        Ok(())
    }
}

/// The key that makes a run do without `stage`.
fn left_out_by(config: &RunConfig, stage: Stage) -> &'static str {
    let ends_before = match stage {
        Stage::Pretrain | Stage::Evaluate => false,
        Stage::Simulate => config.run.end_after < EndAfter::Simulate,
        Stage::Adapt => config.run.end_after < EndAfter::Adapt,
    };
    match stage {
        _ if config.given_model().is_some() => "adapt.checkpoint",
        _ if ends_before => "run.end_after",
        Stage::Pretrain => config.pretrain_is_replaced_by().unwrap_or("pretrain.checkpoint"),
        Stage::Simulate => "simulate.styles",
        Stage::Adapt | Stage::Evaluate => "run.end_after",
    }
}

/// The configuration of a new run, with the stages that were chosen.
pub fn chosen_configuration(
    config: &ConfigArguments,
    stages: &StagesArguments,
) -> Result<LoadedConfig, Stop> {
    let Some(chosen) = &stages.stages else {
        return configuration(config);
    };
    let mut sets = vec![chosen.end()];
    if let Some(from) = &stages.from {
        sets.extend(taken(chosen, from)?);
    }
    sets.extend(config.sets.iter().cloned());
    let config = config.config.clone();
    let mut loaded = configuration(&ConfigArguments { config, sets })?;
    let config = &mut loaded.config;
    if chosen.first() == Stage::Evaluate && config.adapt.checkpoint.is_none() {
        // A source-only model alone.
        config.run.end_after = EndAfter::Pretrain;
    }
    chosen.check(config).map_err(Stop::bad_input)?;
    Ok(loaded)
}

/// Keys that name what the stages before the chosen ones left in the run `from`.
fn taken(chosen: &ChosenStages, from: &Path) -> Result<Vec<Edit>, Stop> {
    let first = chosen.first();
    if first == Stage::Pretrain {
        return Err(Stop::bad_input(StagesError::NothingToTake));
    }
    let finished = FinishedRun::open(from)?;
    let has_adapted = first == Stage::Evaluate && finished.config().has_adapted_model();
    let has_source = finished.config().has_source_model() || !has_adapted;
    let mut edits = Vec::new();
    let mut take = |key: &str, path: PathBuf, file: &str| -> Result<(), Stop> {
        let digest = checked_digest(&finished, &path, file)?;
        say(format_args!(
            "{key}: {file} of run `{}`, digest {}",
            from.display(),
            &digest[..16]
        ));
        edits.push(edit(key, &path.to_string_lossy()));
        Ok(())
    };
    if has_source {
        let path = finished.model(ScoredModel::SourceOnly)?;
        take("pretrain.checkpoint", path, "source.safetensors")?;
    }
    if has_adapted {
        let path = finished.model(ScoredModel::Adapted)?;
        take("adapt.checkpoint", path, "adapted.safetensors")?;
    }
    if first == Stage::Adapt {
        take("simulate.bank", finished.style_bank()?, STYLE_BANK)?;
        edits.push(edit("simulate.styles", "bank"));
    }
    Ok(edits)
}

/// As many as a worker reads of a model: a larger file is not hashed first.
const MOST_RESULT_BYTES: u64 = 8 << 30;

/// The digest of a result, which must be the one that the run noted when it ended. Runs of earlier versions noted none of
/// their style bank; what was just fetched from a run's storage was compared on its way.
fn checked_digest(finished: &FinishedRun, path: &Path, file: &str) -> Result<String, Stop> {
    let manifest = FinalManifest::read(&finished.directory).map_err(Stop::bad_input)?;
    let expected = match file {
        STYLE_BANK => manifest.of_style_bank(),
        model => manifest.of_file(model),
    };
    let mut hasher = blake3::Hasher::new();
    let hashed = ulda_files::check_file(path, MOST_RESULT_BYTES)
        .and_then(|()| ulda_files::open_file(path))
        .and_then(|file| hasher.update_reader(file).map(drop));
    let path = path.to_owned();
    if let Err(source) = hashed {
        return Err(Stop::bad_input(StagesError::Read { path, source }));
    }
    let found = hasher.finalize().to_hex().to_string();
    match expected {
        Some(expected) if expected != found => Err(Stop::bad_input(StagesError::OtherDigest {
            path,
            found,
            expected: expected.to_owned(),
        })),
        Some(_) | None => Ok(found),
    }
}

fn edit(key: &str, value: &str) -> Edit {
    Edit {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulda_run::spec::StyleSource;

    fn chosen(text: &str) -> ChosenStages {
        text.parse().unwrap()
    }

    #[test]
    fn stages_are_named_in_a_row() {
        assert_eq!(chosen("simulate, adapt").0, [Stage::Simulate, Stage::Adapt]);
        assert_eq!(chosen("pretrain,evaluate"), chosen("pretrain"));
        assert_eq!(chosen("evaluate").0, [Stage::Evaluate]);
        let refused = |text: &str| text.parse::<ChosenStages>().unwrap_err();
        assert!(refused("train").contains("`train` is not a stage"));
        for text in ["adapt,simulate", "pretrain,adapt", "adapt,adapt"] {
            assert!(refused(text).contains("in order and without gaps"), "{text}");
        }
        for (text, end) in [
            ("pretrain", "pretrain"),
            ("simulate", "simulate"),
            ("evaluate", "adapt"),
        ] {
            assert_eq!(chosen(text).end().value, end);
        }
    }

    #[test]
    fn the_configuration_goes_through_the_stages_that_are_named_and_no_others() {
        let refused = |text: &str, config: &RunConfig| {
            chosen(text)
                .check(config)
                .map_err(|error| error.to_string())
                .err()
        };
        let mut config = RunConfig::default();
        assert_eq!(refused("pretrain,simulate,adapt", &config), None);
        let missing = "--stages leaves pretrain out, and nothing replaces it";
        assert_eq!(refused("simulate,adapt", &config).as_deref(), Some(missing));
        config.pretrain.checkpoint = Some("source.pth".into());
        assert_eq!(refused("simulate,adapt", &config), None);
        let names =
            |stage: &str, key: &str| Some(format!("--stages names {stage}, and `{key}` leaves it out"));
        assert_eq!(
            refused("pretrain", &config),
            names("pretrain", "pretrain.checkpoint")
        );
        config.simulate.styles = StyleSource::Bank;
        assert_eq!(refused("adapt", &config), None);
        assert_eq!(
            refused("simulate,adapt", &config),
            names("simulate", "simulate.styles")
        );
        config.pretrain.checkpoint = None;
        config.adapt.continue_from = Some("adapted.pth".into());
        assert_eq!(refused("adapt", &config), None);
        let replaced = names("pretrain", "adapt.continue_from");
        assert_eq!(refused("pretrain,simulate,adapt", &config), replaced);
        config.pretrain.checkpoint = Some("source.pth".into());
        config.adapt.checkpoint = Some("adapted.pth".into());
        assert_eq!(refused("evaluate", &config), None);
        assert_eq!(refused("adapt", &config), names("adapt", "adapt.checkpoint"));
        config.run.end_after = EndAfter::Pretrain;
        assert_eq!(refused("adapt", &config), names("adapt", "run.end_after"));
    }
}
