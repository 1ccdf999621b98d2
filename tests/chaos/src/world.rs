//! What all runs of the harness share: binaries, drawn streets, a miniature CLIP, and the digest of the
//! undisturbed run.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ulda_coordinator::run_directory::RunDirectory;
use ulda_run::spec::Host;
use ulda_run::stage::Course;
use ulda_streets::{Request, generate};

use crate::ChaosError;
use crate::offspring::{self, Exit, Pid};
use crate::patience::wait_for;

pub const SHARDS: u32 = 4;
/// Longest time an undisturbed run may take.
const UNDISTURBED: Duration = Duration::from_secs(300);
const PREPARE: Duration = Duration::from_secs(120);

/// How long a run is.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    /// Steps of pretrain, and of adapt.
    pub steps: u64,
    /// Source batches of simulate; two make a round.
    pub batches: u64,
}

/// Where the binaries are.
#[derive(Clone, Debug)]
pub struct Binaries {
    pub coordinator: PathBuf,
    pub worker: PathBuf,
    /// This program, as the shim.
    pub chaos: PathBuf,
}

impl Binaries {
    /// Those beside this program.
    ///
    /// # Errors
    /// One is missing.
    pub fn beside(chaos: &Path) -> Result<Self, ChaosError> {
        let binaries = Self {
            coordinator: chaos.with_file_name("coordinator"),
            worker: chaos.with_file_name("worker"),
            chaos: chaos.to_owned(),
        };
        for path in [&binaries.coordinator, &binaries.worker] {
            if !path.is_file() {
                return Err(ChaosError::NoBinary { path: path.clone() });
            }
        }
        Ok(binaries)
    }
}

#[derive(Debug)]
pub struct World {
    pub folder: PathBuf,
    pub binaries: Binaries,
    pub course: Course,
    /// Digest of the undisturbed run's final state.
    pub digest: String,
    pub undisturbed: Duration,
}

impl World {
    /// Makes everything and trains once without any fault.
    ///
    /// # Errors
    /// Something cannot be made, or the undisturbed run does not finish.
    pub fn make(folder: &Path, binaries: Binaries, length: Length) -> Result<Self, ChaosError> {
        let mut request = Request::new(folder.join("streets"));
        request.gta = 0;
        generate(&request).map_err(ChaosError::Streets)?;
        let clip = folder.join("clip.safetensors");
        let mut make_clip = Command::new(&binaries.worker);
        make_clip.arg("miniature-clip").arg(&clip);
        make_clip.args(["--resolution", "64", "--width", "8"]);
        let log = folder.join("prepare.log");
        finish("worker miniature-clip", make_clip, &log, PREPARE)?;
        let config = folder.join("run.toml");
        fs::write(&config, run_toml(folder, length)).map_err(ChaosError::io("write", &config))?;

        let started = std::time::Instant::now();
        let mut train = Command::new(&binaries.coordinator);
        train.args(["--workers", "2", "--log", "json", "--config"]);
        train.arg(&config).args(["--set", "run.name=undisturbed"]);
        let log = folder.join("undisturbed.log");
        finish("the undisturbed run", train, &log, UNDISTURBED)?;
        let undisturbed = started.elapsed();
        let directory = RunDirectory::at(folder.join("runs/undisturbed"));
        let digest = final_digest(&directory).ok_or_else(|| ChaosError::NoDigest {
            path: directory.final_checkpoints(),
        })?;
        let host = Host { workers: 1, cores: 1 };
        let course = directory.spec(host).map(|spec| spec.course());
        let course = course.map_err(|_| ChaosError::NoDigest {
            path: directory.spec_file(),
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            binaries,
            course,
            digest,
            undisturbed,
        })
    }

    #[must_use]
    pub fn steps(&self) -> u64 {
        self.course.stages().iter().map(|length| length.steps).sum()
    }

    /// A new folder by which a coordinator at `host` and workers elsewhere recognise each other.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn credentials(&self, name: &str, host: Ipv4Addr) -> Result<PathBuf, ChaosError> {
        let folder = self.folder.join(name);
        let mut make = Command::new(&self.binaries.coordinator);
        make.args(["credentials", "new"]).arg(&folder);
        make.args(["--host", &host.to_string()]);
        let log = self.folder.join("prepare.log");
        finish("coordinator credentials new", make, &log, PREPARE)?;
        Ok(folder)
    }

    #[must_use]
    pub fn run_directory(&self, name: &str) -> RunDirectory {
        RunDirectory::at(self.folder.join("runs").join(name))
    }
}

/// The digest a finished run left, and those of its files: everything two runs can be compared by.
#[must_use]
pub fn final_digest(directory: &RunDirectory) -> Option<String> {
    let text = fs::read_to_string(directory.final_checkpoints().join("manifest.json")).ok()?;
    let manifest: serde_json::Value = serde_json::from_str(&text).ok()?;
    let files = manifest.get("files")?;
    Some(format!("{} {files}", manifest.get("digest")?.as_str()?))
}

/// Starts a process with its output in `log`, behind what is there.
///
/// # Errors
/// It cannot be started.
pub fn start_logged(mut command: Command, log: &Path) -> Result<Pid, ChaosError> {
    let file = fs::OpenOptions::new().create(true).append(true).open(log);
    let file = file.map_err(ChaosError::io("open", log))?;
    let errors = file.try_clone().map_err(ChaosError::io("open", log))?;
    offspring::start(command.stdin(Stdio::null()).stdout(file).stderr(errors))
}

fn finish(what: &str, command: Command, log: &Path, limit: Duration) -> Result<(), ChaosError> {
    let pid = start_logged(command, log)?;
    let exit = wait_for(what, limit, || Ok(pid.ended()));
    match exit {
        Ok(Exit::Code(0)) => Ok(()),
        Ok(exit) => Err(ChaosError::Ended {
            what: what.to_owned(),
            status: exit.to_string(),
            tail: tail(log, 10),
        }),
        Err(error) => {
            pid.kill()?;
            Err(error)
        }
    }
}

/// The last lines of a file.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn run_toml(folder: &Path, Length { steps, batches }: Length) -> String {
    let folder = folder.display();
    let domains: String = [
        ("fog", "driving in fog"),
        ("night", "driving at night"),
        ("rain", "driving under rain"),
        ("snow", "driving in snow"),
    ]
    .map(|(name, prompt)| format!("[[domain]]\nname = \"{name}\"\nprompt = \"{prompt}\"\n"))
    .concat();
    let set = |condition: &str| {
        format!(
            "[[evaluate.set]]\nname = \"{condition}\"\nlayout = \"acdc\"\nroot = \"{folder}/streets/acdc\"\n\
             condition = \"{condition}\"\n"
        )
    };
    let sets = ["night", "rain", "snow"].map(set).concat();
    format!(
        "[run]\nname = \"chaos\"\ndirectory = \"{folder}/runs\"\nshards = {SHARDS}\nthreads_per_shard = 1\n\
         [clip]\ncheckpoint = \"{folder}/clip.safetensors\"\n\
         [source]\nroot = \"{folder}/streets/cityscapes\"\n\
         {domains}\
         [pretrain]\nsteps = {steps}\nbatch = 6\ncrop = 64\nvalidate_every = 9\nhead_channels = 16\n\
         [simulate]\nbatches = {batches}\niterations = 3\ncrop = 64\nscene_pool = 16\nprojector_hidden = 16\n\
         data_shards = 2\nprompt_groups = 2\n\
         [adapt]\nsteps = {steps}\nbatch = 6\ncrop = 64\nvalidate_every = 7\n\
         {sets}\
         [checkpoint]\nevery = 5\nevery_seconds = 0.3\n\
         [deadline]\ngather = 60.0\nform = 10.0\ncollective = 3.0\nheartbeat = 2.0\nprogress = 15.0\ndrain = 10.0\ncoordinator = 30.0\n\
         [recovery]\nrestarts = 100\nwindow = 20.0\ngrace = 5.0\nadmit_every = 1.0\nreattach = 1.5\n"
    )
}
