//! `worker join`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tch::Device;
use ulda_collective::{Listener, Tls};
use ulda_credentials::{Strangers, Worker as Credentials};

use crate::agent::{Agent, Introduction};
use crate::trainer::{Setup, Trainer, exit};

#[derive(Args)]
pub struct Join {
    /// Address of the coordinator, such as https://10.0.0.1:7070
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
    /// Folder with the run's token and certificates: a copy of, or the one in, the run's directory
    #[arg(long, env = "ULDA_CREDENTIALS")]
    credentials: PathBuf,
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
        let credentials = match Credentials::read(&self.credentials) {
            Ok(credentials) => Arc::new(credentials),
            Err(error) => {
                tracing::error!("{error}");
                return ExitCode::from(exit::BAD_INPUT);
            }
        };
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
        guard(&listener, &credentials);
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
            credentials,
        };
        let (agent, joined) = match Agent::start(&introduction) {
            Ok(started) => started,
            Err(error) => {
                tracing::error!("{}", crate::with_causes(&error));
                return ExitCode::from(match error.is_bad_input() {
                    true => exit::BAD_INPUT,
                    false => exit::ORPHANED,
                });
            }
        };
        tracing::info!(
            worker = joined.worker,
            address = introduction.data_address,
            "joined"
        );
        let setup = Setup {
            spec: joined.spec,
            run_directory: joined.run_directory,
            run: self.run,
            secret: joined.secret,
            listener,
            device,
        };
        Trainer::run(agent, setup)
    }
}

/// Gives the data plane its certificate, and each stranger there a line in the log.
fn guard(listener: &Listener, credentials: &Credentials) {
    listener.use_tls(Tls {
        dials: credentials.to_peers(),
        accepts: credentials.from_peers(),
        peer: credentials.peer_name(),
    });
    let strangers = Strangers::default();
    listener.on_refusal(move |refusal| {
        let claim = refusal.claim.as_deref().map(str::as_bytes);
        if refusal.cause.is_a_strangers() {
            strangers.refused("data plane", Some(refusal.address), claim, &crate::with_causes(&refusal.cause));
        } else {
            tracing::debug!(address = %refusal.address, claim = refusal.claim, cause = %refusal.cause, "caller refused");
        }
    });
}
