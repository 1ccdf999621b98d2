//! `worker miniature-clip`.

use std::path::PathBuf;
use std::process::ExitCode;
use ulda_run::Exit;

use clap::Args;
use ulda_model::miniature::{MiniatureSpec, write_clip};

#[derive(Args)]
pub struct MiniatureClip {
    /// File to write (safetensors)
    out: PathBuf,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Channels of the image tower's stem; RN50 has 64
    #[arg(long, default_value_t = 16)]
    width: i64,
    /// Side of the images it is made for, in pixels; the scene loss pools features to a quarter of it
    #[arg(long, default_value_t = 224)]
    resolution: i64,
}

impl MiniatureClip {
    pub fn run(self) -> ExitCode {
        let spec = MiniatureSpec {
            seed: self.seed,
            width: self.width,
            resolution: self.resolution,
            ..MiniatureSpec::default()
        };
        match write_clip(&self.out, &spec) {
            Ok(()) => {
                eprintln!(
                    "wrote {}: a miniature CLIP with seeded weights that were never trained",
                    self.out.display()
                );
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("error: {}", crate::with_causes(&error));
                ExitCode::from(Exit::Failed)
            }
        }
    }
}
