//! A small world: generated streets, a miniature CLIP and a run.toml that goes through all stages in seconds.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;
use ulda_streets::{Request, Size};

use crate::scratch::scratch;
use crate::{Final, Program, binary};

/// Everything in one folder that vanishes with this value.
pub struct World {
    folder: TempDir,
}

const RUN_TOML: &str = r#"
[run]
name = "small"
directory = "runs"
shards = 4
threads_per_shard = 1

[clip]
checkpoint = "clip.safetensors"

[source]
root = "data/cityscapes"

[[domain]]
name = "fog"
prompt = "driving in fog"

[[domain]]
name = "night"
prompt = "driving at night"

[[domain]]
name = "rain"
prompt = "driving under rain"

[[domain]]
name = "snow"
prompt = "driving in snow"

[pretrain]
steps = 6
batch = 6
crop = 64
validate_every = 4
head_channels = 16

[simulate]
batches = 4
iterations = 3
crop = 64
scene_pool = 16
projector_hidden = 16
data_shards = 2
prompt_groups = 2

[adapt]
steps = 6
batch = 6
crop = 64
validate_every = 3

[evaluate]
examples = 1

[[evaluate.set]]
name = "night"
layout = "acdc"
root = "data/acdc"
condition = "night"

[checkpoint]
every = 4
"#;

impl World {
    /// A fresh copy of the world that this test process has drawn once.
    ///
    /// # Panics
    /// When the disk refuses.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a world on disk is no default value")]
    pub fn new() -> Self {
        let folder = TempDir::new_in(scratch()).unwrap();
        copy_tree(base(), folder.path());
        Self { folder }
    }

    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// Gives the domains of the run.toml their lists of images, in order.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn name_images(&self, lists: [String; 4]) {
        let path = self.path("run.toml");
        let mut text = std::fs::read_to_string(&path).unwrap();
        for (prompt, list) in ["in fog", "at night", "under rain", "in snow"].iter().zip(lists) {
            let line = format!("prompt = \"driving {prompt}\"");
            text = text.replace(&line, &format!("{line}\nimages = {list}"));
        }
        std::fs::write(path, text).unwrap();
    }

    /// Removes every section of the run.toml that begins with `heading`, such as `[[domain]]`.
    ///
    /// # Panics
    /// When there is none, or the disk refuses.
    pub fn leave_out(&self, heading: &str) {
        let path = self.path("run.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let sections = text.split("\n\n").filter(|section| !section.starts_with(heading));
        let kept = sections.collect::<Vec<_>>().join("\n\n");
        assert_ne!(kept, text, "no `{heading}`");
        std::fs::write(path, kept).unwrap();
    }

    /// A command of the coordinator in this world's folder, untouched by the caller's environment.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = clean(&binary("coordinator"));
        command.current_dir(self.folder.path()).args(arguments);
        command
    }

    /// A command of the worker in this world's folder, untouched by the caller's environment.
    #[must_use]
    pub fn worker(&self, arguments: &[&str]) -> Command {
        let mut command = clean(&binary("worker"));
        command.current_dir(self.folder.path()).args(arguments);
        command
    }

    #[must_use]
    pub fn start(&self, arguments: &[&str]) -> Program {
        Program::start(self.command(arguments))
    }

    /// Trains the small run under another name, with other values, to its end.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn train(&self, name: &str, workers: u32, sets: &[&str]) -> Final {
        let workers = workers.to_string();
        let named = format!("run.name={name}");
        let mut arguments = vec!["--workers", &workers, "--set", &named];
        arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
        let _ = self.start(&arguments).finish().expect(0);
        let left = self.finished(name);
        let adapts = !sets.iter().any(|set| set.starts_with("run.end_after="));
        assert_eq!(left.files.contains_key("adapted.safetensors"), adapts, "{left:?}");
        left
    }

    /// The finished models of the run of that name, whose ledger and journal hold.
    ///
    /// # Panics
    /// When the run is not finished, or one of them does not hold.
    #[must_use]
    pub fn finished(&self, name: &str) -> Final {
        let run = self.path("runs").join(name);
        let audited = self
            .start(&["ledger", run.to_str().expect("the folder's name is text")])
            .finish()
            .expect(0);
        for words in ["used exactly once per epoch", "the journal is consistent"] {
            assert!(audited.err.contains(words), "{words}: {}", audited.err);
        }
        Final::of(&run)
    }
}

fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if ["ULDA_", "AWS_"]
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1").env_remove("RUST_LOG");
    command
}

/// The world that all others are copied from.
fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let folder = scratch().join("base");
        std::fs::create_dir_all(&folder).unwrap();
        let size = Size {
            width: 128,
            height: 64,
        };
        let request = Request {
            size,
            gta_size: size,
            train: 8,
            val: 2,
            per_condition: 2,
            gta: 4,
            ..Request::new(folder.join("data"))
        };
        ulda_streets::generate(&request).expect("streets can be drawn");
        let mut miniature = clean(&binary("worker"));
        miniature
            .args(["miniature-clip", "--resolution", "64", "--width", "8"])
            .arg(folder.join("clip.safetensors"));
        let _ = Program::start(miniature).finish().expect(0);
        std::fs::write(folder.join("run.toml"), RUN_TOML).unwrap();
        folder
    })
}

/// Copies a folder with all below it.
///
/// # Panics
/// When the disk refuses.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// All PNG files below a folder, sorted.
///
/// # Panics
/// When the folder cannot be listed.
#[must_use]
pub fn png_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(png_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "png") {
            found.push(path);
        }
    }
    found.sort();
    found
}
