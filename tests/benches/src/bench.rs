//! Step times of every stage by phase, with peak memory and a floor.
//!
//! `bench` measures the small and the RN50-sized model, each step in a process of its own (so that peak memory is
//! that step's), and prints one table. `bench prepare` writes a case (weights and inputs, all from seeds) that
//! other implementations can be timed on, `bench step` times one step of a case and prints JSON. `bench styling` times one
//! operation of stage 1 in three ways. `bench cost` times nothing: it prints what the cost model predicts.

mod case;
mod cost;
mod flops;
mod setting;
mod steps;
mod styling;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use case::{Case, CaseSpec, Size};
use setting::Setting;
use steps::Step;

pub type Failure = Box<dyn std::error::Error>;

#[derive(Parser)]
#[command(name = "bench", about = "Times the steps of a ULDA run")]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    all: All,
}

#[derive(Args)]
struct All {
    /// Smaller crops and fewer repeats
    #[arg(long)]
    quick: bool,
    /// Kernel threads
    #[arg(long, default_value_t = 2)]
    threads: u16,
}

#[derive(Subcommand)]
enum Verb {
    /// Write a case: weights and inputs, from seeds
    Prepare {
        folder: PathBuf,
        #[arg(long, value_enum, default_value_t = Size::Rn50)]
        size: Size,
        /// Side of the square crops
        #[arg(long, default_value_t = 512)]
        crop: i64,
        #[arg(long, default_value_t = 6)]
        domains: i64,
        /// Side of the evaluation image's shorter edge; the longer is twice that
        #[arg(long, default_value_t = 1024)]
        photo: i64,
    },
    /// Time one step of a case
    Step {
        folder: PathBuf,
        step: Step,
        #[arg(long, default_value_t = 2)]
        threads: u16,
        #[arg(long, default_value_t = 3)]
        repeats: usize,
        /// Runs before the first that counts
        #[arg(long, default_value_t = 1)]
        warm_up: usize,
        /// Dropout off, to compare losses with another implementation
        #[arg(long)]
        agree: bool,
        /// Domains that simulate computes as one batch
        #[arg(long, default_value_t = 1)]
        domains_at_once: usize,
        #[command(flatten)]
        setting: Setting,
    },
    /// Measured peak of matrix products, in FLOP/s
    Peak {
        #[arg(long, default_value_t = 2)]
        threads: u16,
        #[command(flatten)]
        setting: Setting,
    },
    /// Restyling with the published rounding against a fused multiply-add, in turn
    Styling {
        /// Side of the square crop
        #[arg(long, default_value_t = 512)]
        crop: i64,
        #[arg(long, default_value_t = 2)]
        threads: u16,
        #[arg(long, default_value_t = 20)]
        rounds: usize,
    },
    /// Tables and plot of the cost model, docs/cost-model.md
    Cost(cost::Options),
}

fn main() -> ExitCode {
    // The first use of libtorch decides whether CUDA exists.
    let _ = ulda_torch::cuda::load();
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            let mut cause = error.source();
            while let Some(next) = cause {
                eprintln!("  because: {next}");
                cause = next.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.verb {
        None => table::print(arguments.all.quick, arguments.all.threads),
        Some(Verb::Prepare {
            folder,
            size,
            crop,
            domains,
            photo,
        }) => case::prepare(
            &folder,
            &CaseSpec {
                size,
                crop,
                domains,
                photo,
            },
        ),
        Some(Verb::Step {
            folder,
            step,
            threads,
            repeats,
            warm_up,
            agree,
            domains_at_once,
            setting,
        }) => {
            // As the worker does.
            ulda_torch::runtime::keep_freed_memory()?;
            ulda_torch::runtime::set_threads(threads)?;
            setting.prepare()?;
            let case = Case::read(&folder, &setting)?;
            let plan = steps::Plan {
                repeats,
                warm_up,
                agree,
                domains_at_once,
            };
            println!("{}", serde_json::to_string(&steps::time(&case, step, &plan)?)?);
            Ok(())
        }
        Some(Verb::Peak { threads, setting }) => {
            ulda_torch::runtime::set_threads(threads)?;
            setting.prepare()?;
            println!("{:.0}", flops::matmul_peak(&setting)?);
            Ok(())
        }
        Some(Verb::Styling {
            crop,
            threads,
            rounds,
        }) => {
            ulda_torch::runtime::keep_freed_memory()?;
            ulda_torch::runtime::set_threads(threads)?;
            styling::compare(crop, rounds)
        }
        Some(Verb::Cost(options)) => cost::run(&options),
    }
}
