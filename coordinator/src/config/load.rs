//! Reads the layers and merges them.

use std::io;
use std::path::{Component, Path, PathBuf};

use toml::Table;
use ulda_files::MOST_CONFIGURATION_BYTES;
use ulda_run::spec::RunConfig;

use super::edit::Edit;
use super::keys;
use super::problem::{Origin, Problems};

/// Everything a configuration is made of, lowest precedence first.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// A run.toml; without one the published defaults are the base.
    pub file: Option<PathBuf>,
    /// `ULDA_SECTION__KEY` variables.
    pub environment: Vec<Edit>,
    /// `--set`.
    pub sets: Vec<Edit>,
    /// Where relative paths start; left out: at the file's folder, those of `--set` at the current one.
    pub base: Option<PathBuf>,
}

impl Layers {
    /// The variables of this process that name keys of a run.toml, in order of name.
    #[must_use]
    pub fn environment_edits() -> Vec<Edit> {
        let mut edits: Vec<Edit> = std::env::vars_os()
            .filter_map(|(name, value)| Edit::from_variable(name.to_str()?, value.to_str()?))
            .collect();
        edits.sort_by(|left, right| left.key.cmp(&right.key));
        edits
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("configuration `{}` does not exist", path.display())]
    Missing { path: PathBuf },
    #[error("configuration `{}` is a folder", path.display())]
    Folder { path: PathBuf },
    #[error("configuration `{}` is not text", path.display())]
    NotText { path: PathBuf },
    #[error("read configuration `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("configuration `{}` is not TOML\n{}", path.display(), reason.trim_end())]
    Syntax { path: PathBuf, reason: String },
    #[error("{0}")]
    Keys(Problems),
    #[error("configuration cannot be read: {reason}")]
    Shape { reason: String },
}

impl LoadError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing { path } => format!(
                "write one with `coordinator init {}`, or name it with --config",
                path.display()
            ),
            Self::Folder { .. } | Self::NotText { .. } => "name a run.toml with --config".into(),
            Self::Syntax { .. } => "`coordinator init -` shows how one is written".into(),
            Self::Shape { .. } => "compare it with the output of `coordinator init -`".into(),
            Self::Read { .. } | Self::Keys(_) => return None,
        })
    }
}

/// Merges the layers into a configuration whose paths are absolute.
///
/// # Errors
/// Names every unknown key and every wrong type of all layers at once.
pub fn load(layers: &Layers, here: &Path) -> Result<RunConfig, LoadError> {
    let mut problems = Vec::new();
    let start = layers.base.as_deref().unwrap_or(here);
    let (mut tree, base) = match &layers.file {
        None => (Table::new(), start.to_owned()),
        Some(path) => {
            let tree = read(path)?;
            let origin = Origin::File(path.clone());
            problems.extend(
                keys::problems(&tree)
                    .into_iter()
                    .map(|problem| problem.from(&origin)),
            );
            let folder = here.join(path).parent().unwrap_or(here).to_owned();
            (tree, layers.base.clone().unwrap_or(folder))
        }
    };
    for (origin, edits) in [
        (Origin::Environment, &layers.environment),
        (Origin::Set, &layers.sets),
    ] {
        for edit in edits {
            if let Err(found) = edit.apply(&mut tree, start) {
                problems.extend(found.into_iter().map(|problem| problem.from(&origin)));
            }
        }
    }
    if !problems.is_empty() {
        return Err(LoadError::Keys(Problems(problems)));
    }
    let unfinished = keys::problems(&tree);
    if !unfinished.is_empty() {
        return Err(LoadError::Keys(Problems(unfinished)));
    }
    let mut config: RunConfig = tree
        .try_into()
        .map_err(|cause: toml::de::Error| LoadError::Shape {
            reason: cause.message().to_owned(),
        })?;
    config.map_paths(|path| tidy(&base.join(path)));
    Ok(config)
}

/// The path without `.` and `..`; what stands before a `..` is looked up, as it may be a symbolic link.
fn tidy(path: &Path) -> PathBuf {
    let mut tidied = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                tidied = tidied.canonicalize().unwrap_or(tidied);
                tidied.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => tidied.push(component),
        }
    }
    tidied
}

fn read(path: &Path) -> Result<Table, LoadError> {
    let text =
        ulda_files::read_text(path, MOST_CONFIGURATION_BYTES).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => LoadError::Missing {
                path: path.to_owned(),
            },
            io::ErrorKind::IsADirectory => LoadError::Folder {
                path: path.to_owned(),
            },
            io::ErrorKind::InvalidData => LoadError::NotText {
                path: path.to_owned(),
            },
            _ => LoadError::Read {
                path: path.to_owned(),
                source,
            },
        })?;
    text.parse().map_err(|cause: toml::de::Error| LoadError::Syntax {
        path: path.to_owned(),
        reason: cause.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(list: &[&str]) -> Vec<Edit> {
        list.iter().map(|text| Edit::parse(text).unwrap()).collect()
    }

    fn with_sets(list: &[&str]) -> Result<RunConfig, LoadError> {
        load(
            &Layers {
                sets: edits(list),
                ..Layers::default()
            },
            Path::new("/here"),
        )
    }

    fn told(list: &[&str]) -> String {
        with_sets(list).unwrap_err().to_string()
    }

    #[test]
    fn sets_change_any_depth_and_relative_paths_start_here() {
        let config = with_sets(&[
            "adapt.steps=7",
            "adapt.lr_head=1",
            "pretrain.jitter.contrast=0.25",
            "run.name=42",
            "clip.checkpoint=weights/RN50.pt",
            "domain[0].name=night",
            "domain.0.prompt=driving at night",
            "source.centre_crop=[64, 32]",
            "domain[0].images=[\"night\", \"/data/dusk.png\", \"s3://bucket/dawn\"]",
            "simulate.bank=bank.safetensors",
        ])
        .unwrap();
        assert_eq!((config.adapt.steps, config.adapt.lr_head), (7, 1.0));
        assert_eq!(config.pretrain.jitter.contrast, 0.25);
        assert_eq!(config.run.name.as_str(), "42");
        assert_eq!(config.clip.checkpoint, Path::new("/here/weights/RN50.pt"));
        assert_eq!(config.domains[0].prompt, "driving at night".into());
        assert_eq!(config.source.centre_crop, Some([64, 32]));
        assert_eq!(config.run.directory, Path::new("/here/runs"));
        assert_eq!(
            config.domains[0].images,
            ["/here/night", "/data/dusk.png", "s3://bucket/dawn"].map(PathBuf::from)
        );
        assert_eq!(
            config.simulate.bank.as_deref(),
            Some(Path::new("/here/bank.safetensors"))
        );
    }

    #[test]
    fn urls_are_no_paths() {
        let config = with_sets(&["source.root=s3://bucket/a//b", "storage.cache=cache"]).unwrap();
        assert_eq!(config.source.root, Path::new("s3://bucket/a//b"));
        assert_eq!(config.source.root.to_str(), Some("s3://bucket/a//b"));
        assert_eq!(config.storage.cache.as_deref(), Some(Path::new("/here/cache")));
    }

    #[test]
    fn paths_are_told_without_detours() {
        let config = with_sets(&["run.directory=../elsewhere/./runs", "source.root=/data/../city"]).unwrap();
        assert_eq!(config.run.directory, Path::new("/elsewhere/runs"));
        assert_eq!(config.source.root, Path::new("/city"));
        assert_eq!(config.clip.checkpoint, Path::new(""));
    }

    #[test]
    fn sets_win_over_the_environment() {
        let layers = Layers {
            environment: vec![
                Edit::from_variable("ULDA_ADAPT__STEPS", "3").unwrap(),
                Edit::from_variable("ULDA_RUN__SEED", "9").unwrap(),
            ],
            sets: edits(&["adapt.steps=4"]),
            ..Layers::default()
        };
        let config = load(&layers, Path::new("/")).unwrap();
        assert_eq!((config.adapt.steps, config.run.seed), (4, 9));
        assert_eq!(Edit::from_variable("ULDA_WORKERS", "3"), None);
    }

    #[test]
    fn every_wrong_key_gets_a_sentence() {
        assert_eq!(
            told(&["adapt.stpes=7", "zebra=1", "adapt.zebra=2"]),
            "--set: `adapt.stpes` is not a key of a run.toml\n  hint: the nearest known key is `adapt.steps`\n\
             --set: `zebra` is not a key of a run.toml\n  hint: the sections are run, clip, source, classes, domain, text, pretrain, simulate, \
             adapt, evaluate, checkpoint, deadline, recovery, compute, storage\n\
             --set: `adapt.zebra` is not a key of a run.toml\n  hint: `adapt` has checkpoint, continue_from, steps, batch, draw, mix, crop, augment, lr_head, \
             lr_rectifier, lr_scale, lr_policy, step_size, momentum, weight_decay, poly_power, lr_floor, dropout, rectifier, \
             scale_init, validate_every, loss"
        );
        assert_eq!(
            told(&[
                "adapt.steps=many",
                "adapt.rectifier=1",
                "source.layout=cityscape",
                "run.end_after=evaluate",
                "simulate.styles=photo",
                "run.seed=-1"
            ]),
            "--set: `adapt.steps` is the text \"many\"\n  hint: give a whole number of 1 or more\n\
             --set: `adapt.rectifier` is 1\n  hint: give true or false\n\
             --set: `source.layout` is the text \"cityscape\"\n  hint: give \"cityscapes\", \"gta5\", \"acdc\" or \"files\"\n\
             --set: `run.end_after` is the text \"evaluate\"\n  hint: give \"pretrain\", \"simulate\" or \"adapt\"\n\
             --set: `simulate.styles` is the text \"photo\"\n  hint: give \"learned\", \"content\", \"images\" or \"bank\"\n\
             --set: `run.seed` is -1\n  hint: give a whole number of 0 or more"
        );
        assert_eq!(
            told(&["domain.3.name=night"]),
            "--set: `domain.3.name` has 0 items\n  hint: name an item that is there, counting from 0"
        );
        assert_eq!(
            told(&["domain.0.name=night"]),
            "`domain[0].prompt` is missing\n  hint: give a text in quotes, or a list of texts, [\"…\", \"…\"]"
        );
    }
}
