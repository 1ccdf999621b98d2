//! `worker predict`.

use std::path::PathBuf;
use std::process::ExitCode;
use ulda_run::Exit;

use clap::Args;

use ulda_run::spec::{DeviceChoice, Precision};

use crate::device::DeviceSurvey;
use crate::exit::{exit_of, with_hint};
use ulda_dataset::PicturesError;

use crate::ffmpeg::VideoError;
use crate::predict::{Confidence, Model, PredictError, PredictionOptions, collect_images};
use crate::stages::says_out_of_memory;

#[derive(Args)]
pub struct Predict {
    /// A finished model, such as <run>/checkpoints/final/adapted.safetensors
    #[arg(long)]
    model: PathBuf,
    /// Folder for the pictures
    #[arg(long)]
    out: PathBuf,
    /// Resize the shorter side to so many pixels and predict the square in the middle
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(32..=16384))]
    crop: Option<u32>,
    /// What to compute on: `auto` is the first GPU where there is one
    #[arg(
        long,
        value_name = "auto|cpu|cuda",
        env = "ULDA_DEVICE",
        default_value = "auto"
    )]
    device: DeviceChoice,
    /// Write the probability of each pixel's class as well, as grey pictures
    #[arg(long)]
    confidence: bool,
    /// Write the overlays of each video as a video as well, in mp4
    #[arg(long)]
    overlay_video: bool,
    /// PNG or JPEG images, folders of them, or videos, which need ffmpeg
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
}

/// Where libtorch panics for want of memory, an error says so; other panics are told as before.
fn leave_out_of_memory_to_the_error() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload_as_str().is_some_and(says_out_of_memory) {
            tell(info);
        }
    }));
}

impl Predict {
    pub fn run(self, cuda: bool) -> ExitCode {
        leave_out_of_memory_to_the_error();
        match self.predict(cuda) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {}", with_hint(&error, error.hint()));
                let bad_input = match &error {
                    PredictError::Stage(error) => error.is_bad_input(),
                    PredictError::Create { .. }
                    | PredictError::Pictures(PicturesError::Folder { .. })
                    | PredictError::Picture(_)
                    | PredictError::Torch(_)
                    | PredictError::Video(
                        VideoError::Start(_)
                        | VideoError::Pipe { .. }
                        | VideoError::Silent { .. }
                        | VideoError::Lingers { .. },
                    ) => false,
                    _ => true,
                };
                let code = if bad_input { Exit::BadInput } else { Exit::Failed };
                ExitCode::from(exit_of(&error, code))
            }
        }
    }

    fn predict(&self, cuda: bool) -> Result<(), PredictError> {
        let images = collect_images(&self.inputs)?;
        let sight = DeviceSurvey::for_choice(self.device, cuda);
        let device = sight.choose(self.device, 0)?;
        device.prepare(Precision::Fp32)?;
        let model = Model::read(&self.model, device.device)?;
        std::fs::create_dir_all(&self.out).map_err(|source| PredictError::Create {
            path: self.out.clone(),
            source,
        })?;
        model.write_classes(&self.out)?;
        let confidence = match self.confidence {
            true => Confidence::Written,
            false => Confidence::LeftOut,
        };
        let options = PredictionOptions {
            crop: self.crop,
            confidence,
            overlay_video: self.overlay_video,
        };
        for (index, image) in images.iter().enumerate() {
            model.predict(image, &self.out, options)?;
            eprintln!("{}/{} {}", index + 1, images.len(), image.display());
        }
        Ok(())
    }
}
