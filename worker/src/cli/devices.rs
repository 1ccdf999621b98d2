//! `worker devices`.

use std::process::ExitCode;
use ulda_run::Exit;

use clap::Args;
use ulda_nccl::Library;
use ulda_torch::cuda;

use crate::device::DeviceSurvey;
use crate::exit::with_hint;

#[derive(Args)]
pub struct Devices {
    /// Fail where there is no GPU
    #[arg(long)]
    require_gpu: bool,
}

impl Devices {
    pub fn run(self, cuda: bool) -> ExitCode {
        let sight = DeviceSurvey::of_this_host(cuda);
        let found = match sight.gpus() {
            Ok(gpus) => {
                for (index, gpu) in gpus.iter().enumerate() {
                    println!("cuda:{index}  {}  {}", gpu.name, memory(index));
                }
                true
            }
            Err(why) => {
                println!("no GPU: {}", with_hint(&why, why.hint()));
                false
            }
        };
        match Library::find() {
            Ok(library) => println!("NCCL {} at {}", library.version(), library.path().display()),
            Err(error) => println!("no NCCL: {}", with_hint(&error, error.hint())),
        }
        match found || !self.require_gpu {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(Exit::BadInput),
        }
    }
}

fn memory(index: usize) -> String {
    let asked = u8::try_from(index)
        .ok()
        .and_then(|index| cuda::memory(index).ok());
    asked.map_or_else(String::new, |memory| {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        format!(
            "{:.1} of {:.1} GiB free",
            gib(memory.free_bytes),
            gib(memory.total_bytes)
        )
    })
}
