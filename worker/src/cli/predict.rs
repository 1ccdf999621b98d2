//! `worker predict`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::predict::{Model, PredictError, collect_images};
use crate::trainer::exit;

#[derive(Args)]
pub struct Predict {
    /// A finished model, such as <run>/checkpoints/final/adapted.safetensors
    #[arg(long)]
    model: PathBuf,
    /// Folder for the pictures
    #[arg(long)]
    out: PathBuf,
    /// PNG images, or folders of them
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
}

impl Predict {
    pub fn run(self) -> ExitCode {
        match self.predict() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {}", crate::with_causes(&error));
                let bad_input = !matches!(
                    error,
                    PredictError::Io { .. } | PredictError::Picture(_) | PredictError::Stage(_)
                );
                ExitCode::from(if bad_input { exit::BAD_INPUT } else { exit::FAILED })
            }
        }
    }

    fn predict(&self) -> Result<(), PredictError> {
        let images = collect_images(&self.inputs)?;
        let model = Model::read(&self.model, tch::Device::Cpu)?;
        std::fs::create_dir_all(&self.out).map_err(|source| PredictError::Io {
            action: "create",
            path: self.out.clone(),
            source,
        })?;
        for (index, image) in images.iter().enumerate() {
            model.predict(image, &self.out)?;
            eprintln!("{}/{} {}", index + 1, images.len(), image.display());
        }
        Ok(())
    }
}
