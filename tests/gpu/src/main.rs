//! `gpu-check`: what a host without GPU cannot show, in one go on a host that has one.
//!
//! It lies beside the programs it runs (coordinator, worker, bench, the parity tests), makes its own data, prints one
//! table and ends with 1 if a row failed. `--device cpu` runs what does not need a GPU, to show that the check itself
//! works; rows about GPUs are skipped then, and say so.

mod checks;
mod place;
mod program;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use ulda_worker::device::DeviceSurvey;

use place::Place;
use table::Table;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Device {
    Cpu,
    Cuda,
}

impl Device {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

#[derive(Parser)]
#[command(
    name = "gpu-check",
    about = "Checks this trainer on a GPU host and prints one table"
)]
struct Arguments {
    /// What to check on
    #[arg(long, value_enum, default_value_t = Device::Cuda)]
    device: Device,
    /// Fail, instead of skipping, where there is no GPU
    #[arg(long)]
    require: bool,
    /// Folder of the programs; by default the one this program lies in
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Folder of the recorded numbers
    #[arg(long, env = "ULDA_GOLDEN")]
    golden: PathBuf,
    /// Also write the table to this file, row by row
    #[arg(long)]
    out: Option<PathBuf>,
    /// Only rows whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Holds all but MIB of the first GPU's memory until its standard input ends; used by the check itself
    #[arg(long, value_name = "MIB", hide = true)]
    hog: Option<u64>,
}

fn main() -> ExitCode {
    let cuda = ulda_torch::cuda::load();
    let arguments = Arguments::parse();
    if let Some(mib) = arguments.hog {
        return checks::memory::hog(mib);
    }
    let sight = DeviceSurvey::of_this_host(cuda);
    if let (Device::Cuda, Err(why)) = (arguments.device, sight.gpus()) {
        eprintln!("SKIPPED the GPU check: {why}");
        eprintln!("  hint: on a GPU host, `tests/gpu/check`; here, `--device cpu` runs what needs no GPU");
        return ExitCode::from(u8::from(arguments.require));
    }
    let place = match Place::make(arguments.device, &sight, arguments.programs, arguments.golden) {
        Ok(place) => place,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(78);
        }
    };
    let mut table = Table::new(place.title(&sight), arguments.only, arguments.out);
    checks::run_all(&place, &sight, &mut table);
    println!("{}", table.text());
    ExitCode::from(u8::from(table.failed()))
}
