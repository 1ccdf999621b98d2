//! How a worker presents itself to the coordinator.

use std::sync::Arc;
use std::time::Duration;

use ulda_credentials::WorkerCredentials as Credentials;

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
    pub credentials: Arc<Credentials>,
    /// How long the coordinator is looked for.
    pub search: Duration,
    /// host:port where this worker serves its metrics.
    pub metrics_address: Option<String>,
}
