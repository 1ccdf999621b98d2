//! Whether the run's disk can take what the run will write.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ulda_run::Finding;
use ulda_run::spec::RunSpec;
use ulda_run::stage::Stage;

use crate::disk_space::DiskSpace;

/// Journal, logs, report and example pictures.
const BESIDES_BYTES: u64 = 64 << 20;
/// Models of a finished run: source, adapted, best.
const FINAL_MODELS: u64 = 3;
/// A head and its momentum in float32, published width.
const HEAD_BYTES: u64 = 130 << 20;
/// μ and σ of 256 channels in float32.
const STYLE_BYTES: u64 = 2 * 256 * 4;

pub(super) fn findings(spec: &RunSpec) -> Option<Finding> {
    let wanted = &spec.config().run.directory;
    let Some(there) = nearest_existing(wanted) else {
        return Some(Finding::new(
            "run.directory",
            format!("no part of `{}` exists", wanted.display()),
            "name a folder on a mounted disk",
        ));
    };
    if !there.is_dir() {
        return Some(Finding::new(
            "run.directory",
            format!("`{}` is not a folder", there.display()),
            "name another folder",
        ));
    }
    if !may_write(&there) {
        return Some(Finding::new(
            "run.directory",
            format!("`{}` cannot be written to", there.display()),
            "name another folder, or change its permissions",
        ));
    }
    free_bytes(&there).and_then(|free| too_little(&there, DiskNeed::of(spec).total(), free))
}

fn too_little(folder: &Path, needed: u64, free: u64) -> Option<Finding> {
    (free < needed).then(|| {
        Finding::new(
            "run.directory",
            format!(
                "`{}` has {} MiB free, and the run needs about {} MiB",
                folder.display(),
                free >> 20,
                needed >> 20
            ),
            "free some, lower checkpoint.keep, or name a folder on another disk",
        )
    })
}

/// What a run will write, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskNeed {
    /// The checkpoints that are kept: heads with their momentum. Those of a stage replace the ones of the stage before.
    checkpoints: u64,
    /// The stage that writes the first of them.
    first: Option<Stage>,
    styles: u64,
    /// Models, report, journal and logs.
    pub at_the_end: u64,
    /// Of the disk of the run's directory.
    pub free_bytes: Option<u64>,
}

impl DiskNeed {
    /// A model is about as large as the CLIP checkpoint (the imported archive is float16 with text encoder, about the same
    /// bytes as the float32 backbone alone) and the head together.
    #[must_use]
    pub fn of(spec: &RunSpec) -> Self {
        let config = spec.config();
        let clip = std::fs::metadata(&config.clip.checkpoint).map_or(0, |file| file.len());
        let head = HEAD_BYTES.saturating_mul(u64::from(config.pretrain.head_channels)) / 256;
        let states = u64::from(config.checkpoint.keep).saturating_add(1);
        let domains = config.domains.len() as u64;
        let styles = match config.includes(Stage::Simulate) && config.simulate.styles.reads_source() {
            true => config
                .simulate
                .batches
                .saturating_mul(u64::from(config.simulate.batch))
                .saturating_mul(domains),
            // Of few files that are there, or none.
            false => 0,
        };
        let models = (clip + head).saturating_mul(FINAL_MODELS);
        Self {
            checkpoints: head.saturating_mul(states),
            first: spec.course().start().map(|start| start.stage),
            styles: styles.saturating_mul(STYLE_BYTES),
            at_the_end: models.saturating_add(BESIDES_BYTES),
            free_bytes: nearest_existing(&config.run.directory).and_then(|there| free_bytes(&there)),
        }
    }

    /// What a stage adds at most to what the ones before it left.
    #[must_use]
    pub fn of_stage(&self, stage: Stage) -> u64 {
        let checkpoints = if self.first == Some(stage) {
            self.checkpoints
        } else {
            0
        };
        let styles = if stage == Stage::Simulate { self.styles } else { 0 };
        checkpoints.saturating_add(styles)
    }

    #[must_use]
    pub fn total(&self) -> u64 {
        self.checkpoints
            .saturating_add(self.styles)
            .saturating_add(self.at_the_end)
    }
}

fn nearest_existing(path: &Path) -> Option<PathBuf> {
    path.ancestors()
        .find(|ancestor| ancestor.exists())
        .map(Path::to_owned)
}

fn may_write(folder: &Path) -> bool {
    let Ok(path) = CString::new(folder.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: the path is a valid C string for the call's duration.
    unsafe { libc::access(path.as_ptr(), libc::W_OK | libc::X_OK) == 0 }
}

fn free_bytes(folder: &Path) -> Option<u64> {
    DiskSpace::of(folder).map(|space| space.free_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_space_is_told_in_mebibytes() {
        let finding = too_little(Path::new("/data/runs"), 900 << 20, 100 << 20).unwrap();
        assert_eq!(
            finding.to_string(),
            "`run.directory`: `/data/runs` has 100 MiB free, and the run needs about 900 MiB\n  \
             hint: free some, lower checkpoint.keep, or name a folder on another disk"
        );
        assert_eq!(too_little(Path::new("/"), 1, 1), None);
        assert!(free_bytes(Path::new("/")).is_some());
    }
}
