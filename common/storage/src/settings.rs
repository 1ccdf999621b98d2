//! How a storage is reached and how long it may take.

use std::time::Duration;

use ulda_run::spec::StorageConfig;

/// What holds for every URL of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub path_style: Option<bool>,
    pub allow_http: Option<bool>,
    /// Longest wait for the answer to one request.
    pub request: Duration,
    /// Longest time in which one request is repeated.
    pub deadline: Duration,
}

impl Settings {
    #[must_use]
    pub fn of(config: &StorageConfig) -> Self {
        Self {
            endpoint: config.endpoint.clone(),
            region: config.region.clone(),
            path_style: config.path_style,
            allow_http: config.allow_http,
            request: Duration::from_secs_f64(config.request),
            deadline: Duration::from_secs_f64(config.deadline),
        }
    }
}
