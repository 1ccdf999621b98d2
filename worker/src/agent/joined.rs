//! What a worker says of itself to join a run, and what it learns.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ulda_credentials::WorkerCredentials;
use ulda_proto::v1;
use ulda_run::spec::{Host, RunConfig, RunSpec};

use super::error::AgentError;

/// How a worker presents itself.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// `https://host:port` of the coordinator; `http://` only within this host.
    pub coordinator: String,
    pub run: String,
    pub slot: u32,
    pub data_address: String,
    pub device: String,
    /// What this worker is recognised by.
    pub credentials: Arc<WorkerCredentials>,
    /// How long the coordinator is looked for.
    pub search: Duration,
    /// host:port where this worker serves its metrics.
    pub metrics_address: Option<String>,
}

/// What a worker learns on joining.
#[derive(Clone, Debug)]
pub struct Joined {
    pub worker: u64,
    pub spec: RunSpec,
    pub run_directory: PathBuf,
    pub secret: [u8; 32],
    /// W3C traceparent of the run's span; empty where the run is not traced.
    pub trace_parent: String,
}

impl Joined {
    pub(super) fn from_wire(reply: v1::JoinReply) -> Result<Self, AgentError> {
        let bad = |what: String| AgentError::BadReply(what);
        let config: RunConfig = toml::from_str(&reply.spec_toml).map_err(|error| bad(error.to_string()))?;
        // Nothing is left open in a resolved run.toml, so the host given here decides nothing.
        let spec = RunSpec::resolve(config, Host { workers: 1, cores: 1 })
            .map_err(|error| bad(error.to_string()))?;
        let secret = <[u8; 32]>::try_from(reply.data_secret.as_slice()).map_err(|_| {
            bad(format!(
                "data secret of {} bytes, expected 32",
                reply.data_secret.len()
            ))
        })?;
        Ok(Self {
            worker: reply.worker,
            spec,
            run_directory: reply.run_directory.into(),
            trace_parent: reply.trace_parent,
            secret,
        })
    }
}
