//! `worker join`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tch::Device;
use ulda_collective::Listener;

use crate::agent::{Agent, Introduction};
use crate::trainer::{Setup, Trainer, exit};

#[derive(Args)]
pub struct Join {
    /// Address of the coordinator, such as http://10.0.0.1:7070
    #[arg(long, env = "ULDA_COORDINATOR")]
    coordinator: String,
    /// Name of the run to serve
    #[arg(long, env = "ULDA_RUN")]
    run: String,
    /// Stable number of this worker's place in the run
    #[arg(long, env = "ULDA_SLOT")]
    slot: u32,
    /// Where the data plane listens; port 0 lets the system choose
    #[arg(long, env = "ULDA_DATA_LISTEN", default_value = "127.0.0.1:0")]
    data_listen: String,
    /// host:port that other workers reach the data plane by, if it differs from where it listens
    #[arg(long, env = "ULDA_DATA_ADVERTISE")]
    data_advertise: Option<String>,
    /// Folder where this worker keeps the run's files; by default the run directory, as the coordinator names it
    #[arg(long, env = "ULDA_WORKER_DIRECTORY")]
    directory: Option<PathBuf>,
    /// Folder where this host keeps inputs fetched by URL; by default storage.cache, else ~/.cache/ulda/inputs
    #[arg(long, env = "ULDA_CACHE")]
    cache: Option<PathBuf>,
}

impl Join {
    pub fn run(self, cuda: bool) -> ExitCode {
        let device = if cuda && tch::Cuda::is_available() {
            Device::Cuda(self.slot as usize % tch::Cuda::device_count().max(1) as usize)
        } else {
            Device::Cpu
        };
        let span = tracing::info_span!("worker", run = %self.run, slot = self.slot);
        let _entered = span.enter();
        let listener = match Listener::bind(self.data_listen.as_str()) {
            Ok(listener) => listener,
            Err(error) => {
                let cause = crate::with_causes(&error);
                tracing::error!(
                    "data plane cannot listen on {}: {cause}; hint: give --data-listen a free port",
                    self.data_listen
                );
                return ExitCode::from(exit::FAILED);
            }
        };
        let introduction = Introduction {
            coordinator: self.coordinator,
            run: self.run.clone(),
            slot: self.slot,
            data_address: self
                .data_advertise
                .unwrap_or_else(|| listener.local_addr().to_string()),
            device: match device {
                Device::Cuda(index) => format!("cuda:{index}"),
                _ => "cpu".to_owned(),
            },
        };
        let (agent, joined) = match Agent::start(&introduction) {
            Ok(started) => started,
            Err(error) => {
                tracing::error!("{}", crate::with_causes(&error));
                return ExitCode::from(exit::ORPHANED);
            }
        };
        tracing::info!(
            worker = joined.worker,
            address = introduction.data_address,
            "joined"
        );
        let setup = Setup {
            spec: joined.spec,
            run_directory: self.directory.unwrap_or(joined.run_directory),
            cache: self.cache,
            run: self.run,
            secret: joined.secret,
            listener,
            device,
        };
        Trainer::run(agent, setup)
    }
}
