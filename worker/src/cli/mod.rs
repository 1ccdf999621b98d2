//! Command line of the worker. People mostly meet it through the coordinator, which starts it.

mod check;
mod devices;
mod estimate;
mod export;
mod join;
mod miniature;
mod predict;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "worker",
    version,
    about = "Serves shards of a ULDA run on libtorch",
    after_help = "Exit codes: 0 done or told to stop · 1 failed or replaced · 2 wrong usage · 70 the run failed · 75 the coordinator is gone, or the system is short of descriptors · 78 bad configuration or data · 143 left on SIGTERM"
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Join a run and serve it until its end.
    Join(join::Join),
    /// Load everything a run needs and print what is wrong, one JSON object per line.
    Check(check::Check),
    /// Print what each stage of a run costs by its shapes, one JSON object per line; computes nothing.
    Estimate(estimate::EstimateCosts),
    /// List the GPUs that workers on this host would use, and NCCL; or why there are none.
    Devices(devices::Devices),
    /// Segment images with a finished model.
    Predict(predict::Predict),
    /// Write a finished model or a style bank in a format of other programs.
    Export(export::Export),
    /// Write a miniature CLIP with seeded, untrained weights in OpenAI's layout, for demos and tests.
    MiniatureClip(miniature::MiniatureClip),
}

/// Parses the command line and does what it asks. `cuda` says whether libtorch's CUDA library was found.
#[must_use]
pub fn main(cuda: bool) -> ExitCode {
    let arguments = Arguments::parse();
    crate::logs::start();
    if let Err(error) = ulda_net::raise_descriptor_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    match arguments.verb {
        Verb::Join(join) => join.run(cuda),
        Verb::Check(check) => check.run(cuda),
        Verb::Estimate(estimate) => estimate.run(),
        Verb::Devices(devices) => devices.run(cuda),
        Verb::Predict(predict) => predict.run(cuda),
        Verb::Export(export) => export.run(),
        Verb::MiniatureClip(miniature) => miniature.run(),
    }
}
