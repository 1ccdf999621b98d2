//! Where the check works: the programs beside it, and a folder with data of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use ulda_streets::{Request, Size};
use ulda_worker::device::DeviceSurvey;

use crate::Device;
use crate::program::{Ended, run};

const RUN_TOML: &str = include_str!("run.toml");
/// Longest time of one training run.
const RUN_LIMIT: Duration = Duration::from_secs(300);

pub struct Place {
    pub device: Device,
    /// GPUs to check with; none where the CPU is checked.
    pub gpus: usize,
    pub golden: PathBuf,
    programs: PathBuf,
    folder: TempDir,
}

/// What a run's workers see of the host's GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    All,
    OneGpu,
}

/// What a run of the coordinator left.
pub struct Trained {
    pub digest: String,
    /// mIoU of the adapted model by set, and in sentences what the workers logged.
    pub adapted_miou: f64,
    pub log: String,
    pub seconds: f64,
}

impl Place {
    pub fn make(
        device: Device,
        sight: &DeviceSurvey,
        programs: Option<PathBuf>,
        golden: PathBuf,
    ) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
        let programs = programs.unwrap_or_else(|| own.parent().unwrap_or(Path::new(".")).to_owned());
        // A pack may have a part of the programs. Rows of the others fail.
        let is_there = |name: &str| programs.join(name).is_file();
        if !["worker", "bench", "parity_stats"].into_iter().any(is_there) {
            return Err(format!(
                "no program of the check is in `{}`\n  hint: unpack what tests/gpu/pack made, or run `make build`",
                programs.display()
            ));
        }
        let has_worker = is_there("worker");
        let folder = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
        let size = Size {
            width: 256,
            height: 128,
        };
        let request = Request {
            size,
            gta_size: size,
            train: 16,
            val: 4,
            per_condition: 4,
            gta: 0,
            ..Request::new(folder.path().join("data"))
        };
        ulda_streets::generate(&request).map_err(|error| format!("draw streets: {error}"))?;
        std::fs::write(folder.path().join("run.toml"), RUN_TOML)
            .map_err(|error| format!("run.toml: {error}"))?;
        let gpus = match device {
            Device::Cuda => sight.gpus().map_or(0, <[_]>::len),
            Device::Cpu => 0,
        };
        let place = Self {
            device,
            gpus,
            golden,
            programs,
            folder,
        };
        if has_worker {
            let mut miniature = place.command("worker");
            miniature.args(["miniature-clip", "clip.safetensors", "--resolution", "64"]);
            run(miniature, RUN_LIMIT)?.expect(0)?;
        }
        Ok(place)
    }

    pub fn title(&self, sight: &DeviceSurvey) -> String {
        let device = match (self.device, sight.gpus()) {
            (Device::Cuda, Ok(gpus)) => format!("{} x {}", gpus.len(), gpus[0].name),
            (Device::Cuda | Device::Cpu, _) => "CPU only: nothing here says anything about a GPU".to_owned(),
        };
        format!("GPU check on {device}")
    }

    /// A program of the trainer, untouched by the caller's settings.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("ULDA_") && name != "ULDA_NCCL" {
                command.env_remove(name.as_ref());
            }
        }
        command
            .current_dir(self.folder.path())
            .env("NO_COLOR", "1")
            .env_remove("RUST_LOG");
        command
    }

    /// Programs whose name begins so, in order.
    pub fn programs(&self, prefix: &str) -> Vec<String> {
        let entries = std::fs::read_dir(&self.programs).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with(prefix) && !name.contains('.'))
            .collect();
        names.sort();
        names
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Trains under a name of its own, whatever comes of it.
    pub fn try_train(&self, name: &str, workers: u32, sees: Sees, sets: &[&str]) -> Result<Ended, String> {
        let mut command = self.command("coordinator");
        if sees == Sees::OneGpu {
            let visible = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
            let first = visible.split(',').next().filter(|first| !first.is_empty());
            command.env("CUDA_VISIBLE_DEVICES", first.unwrap_or("0"));
        }
        command.args([
            "--workers",
            &workers.to_string(),
            "--set",
            &format!("run.name={name}"),
        ]);
        command.args(["--set", &format!("compute.device={}", self.device.name())]);
        command.args(sets.iter().flat_map(|set| ["--set", set]));
        run(command, RUN_LIMIT)
    }

    /// Trains to the end.
    pub fn train(&self, name: &str, workers: u32, sees: Sees, sets: &[&str]) -> Result<Trained, String> {
        let started = std::time::Instant::now();
        self.try_train(name, workers, sees, sets)?.expect(0)?;
        let seconds = started.elapsed().as_secs_f64();
        let run = self.folder.path().join("runs").join(name);
        let manifest = read_json(&run.join("checkpoints/final/manifest.json"))?;
        let report = read_json(&run.join("report/report.json"))?;
        Ok(Trained {
            digest: manifest["digest"].as_str().unwrap_or_default().to_owned(),
            adapted_miou: mean_iou(&report).ok_or("report.json has no score of the adapted model")?,
            log: self.worker_logs(name),
            seconds,
        })
    }

    /// What the workers of a run logged.
    pub fn worker_logs(&self, name: &str) -> String {
        let folder = self.folder.path().join("runs").join(name).join("logs");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
            .collect()
    }
}

fn read_json(path: &Path) -> Result<serde_json::Value, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("read `{}`: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("`{}`: {error}", path.display()))
}

/// Mean over the sets of the adapted model's mIoU.
fn mean_iou(report: &serde_json::Value) -> Option<f64> {
    let models = report["sets"]
        .as_array()?
        .iter()
        .filter_map(|set| set["models"].as_array());
    let scores: Vec<f64> = models
        .flatten()
        .filter(|scored| scored["model"] == "adapted")
        .filter_map(|scored| scored["scores"]["mean_iou"].as_f64())
        .collect();
    (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
}
