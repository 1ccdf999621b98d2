//! Reads the layers and merges them.

use std::path::{Component, Path, PathBuf};

use ulda_run::spec::RunConfig;

use super::edit::Edit;
use super::error::LoadError;
use super::files::{self, MergedFiles};
use super::keys;
use super::places::KeyPlaces;
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

/// A configuration, and where its values come from.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedConfig {
    pub config: RunConfig,
    /// Of what files say and neither the environment nor `--set` changes. Empty where a file extends no other: then there
    /// is one place to look.
    pub places: KeyPlaces,
}

/// Merges the layers into a configuration whose paths are absolute.
///
/// # Errors
/// Names every unknown key and every wrong type of all layers at once.
pub fn load(layers: &Layers, here: &Path) -> Result<LoadedConfig, LoadError> {
    let start = layers.base.as_deref().unwrap_or(here);
    let (merged, base) = match &layers.file {
        None => (MergedFiles::default(), start.to_owned()),
        Some(path) => {
            let merged = files::read(path, here, layers.base.as_deref())?;
            let folder = here.join(path).parent().unwrap_or(here).to_owned();
            (merged, layers.base.clone().unwrap_or(folder))
        }
    };
    let MergedFiles {
        mut tree,
        mut places,
        mut problems,
        count,
    } = merged;
    for (origin, edits) in [
        (Origin::Environment, &layers.environment),
        (Origin::Set, &layers.sets),
    ] {
        for edit in edits {
            match edit.apply(&mut tree, start) {
                Ok(()) => places.remove(&edit.place()),
                Err(found) => problems.extend(found.into_iter().map(|problem| problem.from(&origin))),
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
    Ok(LoadedConfig {
        config,
        places: if count > 1 { places } else { KeyPlaces::default() },
    })
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
        .map(|loaded| loaded.config)
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
        let config = load(&layers, Path::new("/")).unwrap().config;
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

    /// Files by name below a folder, and what the first one comes to.
    fn merged(files: &[(&str, &str)], sets: &[&str]) -> (tempfile::TempDir, Result<LoadedConfig, LoadError>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let layers = Layers {
            file: Some(folder.path().join(files[0].0)),
            sets: edits(sets),
            ..Layers::default()
        };
        let loaded = load(&layers, folder.path());
        (folder, loaded)
    }

    /// What is said of these files, without the folder they lie in.
    fn refused(files: &[(&str, &str)]) -> String {
        let (folder, loaded) = merged(files, &[]);
        let error = loaded.unwrap_err();
        let hint = error.hint().unwrap_or_default();
        let said = format!("{:#}\n{hint}", anyhow::Error::new(error));
        said.replace(&format!("{}/", folder.path().display()), "")
    }

    const TWO_DOMAINS: &str = "extends = \"../base.toml\"\n[[domain]]\nname = \"fog\"\nprompt = \"fog\"\n\
                               [[domain]]\nname = \"rain\"\nprompt = \"rain\"\n[adapt]\nsteps = 5\n";

    #[test]
    fn sections_are_merged_key_by_key_and_lists_are_replaced() {
        let (folder, loaded) = merged(
            &[
                (
                    "runs/night.toml",
                    "extends = [\"two/domains.toml\", \"../more.toml\"]\n[adapt]\nbatch = 4\n\
                                     [[domain]]\nname = \"night\"\nprompt = \"night\"\n",
                ),
                (
                    "runs/two/domains.toml",
                    &TWO_DOMAINS.replace("../base", "../../base"),
                ),
                (
                    "base.toml",
                    "[adapt]\nsteps = 3\nlr_head = 0.5\n[clip]\ncheckpoint = \"RN50.pt\"\n[source]\nroot = \"/data\"\n",
                ),
                (
                    "more.toml",
                    "[adapt]\nlr_head = 0.25\n[source.files.label_values]\n7 = 1\n",
                ),
            ],
            &["adapt.dropout=0.5"],
        );
        let LoadedConfig { config, places } = loaded.unwrap();
        assert_eq!(
            (config.adapt.steps, config.adapt.batch, config.adapt.lr_head),
            (5, 4, 0.25)
        );
        let names: Vec<&str> = config.domains.iter().map(|domain| domain.name.as_str()).collect();
        assert_eq!(names, ["night"]);
        // Where the file lies that says it, or the first one for what none says.
        let folder = folder.path();
        assert_eq!(config.clip.checkpoint, folder.join("RN50.pt"));
        assert_eq!(config.run.directory, folder.join("runs/runs"));
        let at = |key: &str| {
            let place = places.of_value(key)?.to_string();
            Some(place.replace(&format!("{}/", folder.display()), ""))
        };
        assert_eq!(at("adapt.steps").as_deref(), Some("runs/two/domains.toml:9"));
        assert_eq!(at("adapt.batch").as_deref(), Some("runs/night.toml:3"));
        assert_eq!(at("adapt.lr_head").as_deref(), Some("runs/../more.toml:2"));
        assert_eq!(at("domain[0].name").as_deref(), Some("runs/night.toml:5"));
        assert_eq!(at("domain[1].name"), None);
        assert_eq!(at("adapt.dropout"), None, "it is of --set");
    }

    #[test]
    fn relative_paths_of_all_files_start_at_the_base_that_is_given() {
        let (folder, _) = merged(
            &[
                ("a/run.toml", "extends = \"../b/base.toml\""),
                ("b/base.toml", "clip.checkpoint = \"w/RN50.pt\""),
            ],
            &[],
        );
        let layers = Layers {
            file: Some(folder.path().join("a/run.toml")),
            base: Some("/data".into()),
            ..Layers::default()
        };
        let config = load(&layers, folder.path()).unwrap().config;
        assert_eq!(config.clip.checkpoint, Path::new("/data/w/RN50.pt"));
        assert_eq!(config.run.directory, Path::new("/data/runs"));
    }

    #[test]
    fn a_map_of_labels_is_one_value() {
        let map = |label: &str| format!("[source.files.label_values]\n{label}\n");
        let (_, loaded) = merged(
            &[
                ("run.toml", &format!("extends = \"base.toml\"\n{}", map("7 = 1"))),
                ("base.toml", &map("8 = 2")),
            ],
            &[],
        );
        assert_eq!(loaded.unwrap().config.source.files.label_values.len(), 1);
    }

    #[test]
    fn a_file_alone_has_no_places_to_tell_apart() {
        let (_, loaded) = merged(&[("run.toml", "[adapt]\nsteps = 3\n")], &[]);
        assert_eq!(loaded.unwrap().places, KeyPlaces::default());
    }

    #[test]
    fn what_cannot_be_extended_is_said_with_its_file_and_line() {
        let extends = |value: &str| format!("# first\nextends = {value}\n");
        let base = ("base.toml", "[adapt]\n\nstpes = 3\n");
        assert_eq!(
            refused(&[("run.toml", &extends("\"base.toml\"")), base]),
            "base.toml:3: `adapt.stpes` is not a key of a run.toml\n  hint: the nearest known key is `adapt.steps`\n"
        );
        assert_eq!(
            refused(&[("run.toml", &extends("\"none.toml\""))]),
            "run.toml:2: `extends` names a file that cannot be used: configuration `none.toml` does not exist\n\
             a path in `extends` is relative to the file that says it"
        );
        assert_eq!(
            refused(&[
                ("run.toml", &extends("\"a.toml\"")),
                ("a.toml", "extends = \"run.toml\"")
            ]),
            "run.toml:2: `extends` names a file that cannot be used: a.toml:1: `extends` names a file that cannot be used: \
             configurations extend each other in a circle: `run.toml`, then `a.toml`, then `run.toml`\nremove one of these `extends`"
        );
        for (value, what) in [
            ("3", "is 3"),
            ("[1]", "is a list of 1"),
            ("\"s3://b/c\"", "names `s3://b/c`"),
            ("\"\"", "names ``"),
        ] {
            let said = refused(&[("run.toml", &extends(value))]);
            assert!(said.contains(&format!("run.toml:2: `extends` {what}")), "{said}");
        }
        let below = refused(&[("run.toml", "[adapt]\nextends = \"base.toml\"")]);
        assert!(
            below.contains("stands in a file, before its first section"),
            "{below}"
        );
        let device = refused(&[("run.toml", &extends("\"/dev/zero\""))]);
        assert!(
            device.contains("configuration `/dev/zero`: it is a device, not a file"),
            "{device}"
        );
    }

    #[test]
    fn chains_and_numbers_of_files_have_an_end() {
        let names: Vec<String> = (0..9).map(|number| format!("{number}.toml")).collect();
        let texts: Vec<String> = (1..10).map(|next| format!("extends = \"{next}.toml\"")).collect();
        let chain: Vec<(&str, &str)> = names
            .iter()
            .zip(&texts)
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        let said = refused(&chain);
        assert!(
            said.contains("`8.toml` is one file too many: at most 8 may extend each other in a row"),
            "{said}"
        );
        let twice = |next: &str| format!("extends = [{}]", vec![format!("\"{next}.toml\""); 8].join(", "));
        let said = refused(&[
            ("a.toml", &twice("b")),
            ("b.toml", &twice("c")),
            ("c.toml", &twice("d")),
            ("d.toml", ""),
        ]);
        assert!(said.contains("one file too many"), "{said}");
    }
}
