//! Whether what the run.toml names by URL can be had, and whether the run's storage takes what the run will leave.

use std::time::Duration;

use ulda_run::Finding;
use ulda_run::spec::{RunConfig, RunSpec, is_url};
use ulda_storage::fetch::{Inputs, Probe};
use ulda_storage::{Settings, Storage, StorageCounters, StorageError};

use super::finding::finding;

/// Longest look at one URL.
const DEADLINE: Duration = Duration::from_secs(60);
/// Written and removed to see whether that is allowed.
const TRIAL: &str = ".check";

/// What was found, and the configuration with those inputs that lie on this host already.
pub(super) struct Look {
    pub findings: Vec<Finding>,
    pub config: RunConfig,
}

/// Asks the storages. Blocking.
pub(super) fn look(spec: &RunSpec) -> Look {
    let mut look = Look {
        findings: Vec::new(),
        config: spec.config().clone(),
    };
    if let Some(url) = &spec.config().storage.url
        && let Err(cause) = try_out(url, spec.config())
    {
        look.note("storage.url", &cause);
    }
    let mut brief = spec.config().clone();
    brief.storage.deadline = brief.storage.deadline.min(DEADLINE.as_secs_f64());
    let cache = std::env::var_os("ULDA_CACHE").map(Into::into);
    let inputs = Inputs::new(&brief, cache, StorageCounters::default());
    let mut config = spec.config().clone();
    for (key, path) in config.inputs_read_mut() {
        if !is_url(path) {
            continue;
        }
        match inputs.probe(&key, path) {
            Ok(Probe::Here(here)) => *path = here,
            Ok(Probe::There { objects, bytes }) => {
                tracing::info!(
                    key,
                    objects,
                    mib = bytes >> 20,
                    "will be fetched by each host at its start"
                );
            }
            Err(cause) => look.note(&key, &cause),
        }
    }
    look.config = config;
    look
}

impl Look {
    fn note(&mut self, key: &str, cause: &StorageError) {
        self.findings.push(Finding {
            is_temporary: cause.is_passing(),
            ..finding(key, cause, cause.hint())
        });
    }
}

fn try_out(url: &str, config: &RunConfig) -> Result<(), StorageError> {
    let settings = Settings::of(&config.storage);
    let storage = Storage::open(url, &settings, StorageCounters::default())?
        .below(config.run.name.as_str())
        .within(settings.deadline.min(DEADLINE));
    storage.list("checkpoints")?;
    storage.put(TRIAL, "written by `coordinator check`, and removed by it")?;
    storage.get(TRIAL)?;
    storage.delete(TRIAL)
}
