//! `worker export`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use ulda_run::{Exit, ExportFormat};

use crate::exit::{exit_of, with_hint};
use crate::export::{ExportRefusal, export};

#[derive(Args)]
pub struct Export {
    /// What to write
    #[arg(long, value_name = "pth|pickle-styles|onnx|torchscript")]
    format: ExportFormat,
    /// A finished model, such as <run>/checkpoints/final/adapted.safetensors; a style bank for pickle-styles
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// File to write; a folder for pickle-styles
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
}

impl Export {
    pub fn run(self) -> ExitCode {
        match export(self.format, &self.from, &self.out) {
            Ok(()) => {
                println!("{}", self.out.display());
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("error: {}", with_hint(&error, error.hint()));
                let code = match error {
                    ExportRefusal::Write { .. } => Exit::Failed,
                    _ => Exit::BadInput,
                };
                ExitCode::from(exit_of(&error, code))
            }
        }
    }
}
