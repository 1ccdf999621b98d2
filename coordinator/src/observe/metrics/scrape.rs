//! The text that Prometheus reads. Owns the registry; reads sizes from the disk at each scrape.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use ulda_run::spec::RunSpec;
use ulda_telemetry::signed;

use super::families::RunMetrics;
use super::labels::{Build, RunFacts};
use crate::disk_space::DiskSpace;
use crate::run_directory::RunDirectory;

/// Of [`RunExposition::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, thiserror::Error)]
#[error("write the metrics as text")]
pub struct ScrapeError {
    #[from]
    source: std::fmt::Error,
}

/// The registry of a run with what is measured at each scrape.
#[derive(Debug)]
pub struct RunExposition {
    registry: Registry,
    metrics: RunMetrics,
    directory: RunDirectory,
}

impl RunExposition {
    /// A registry with all metrics of the run; each carries its name as label `run`.
    #[must_use]
    pub fn new(spec: &RunSpec, directory: &RunDirectory) -> Self {
        let config = spec.config();
        let run = (
            std::borrow::Cow::Borrowed("run"),
            config.run.name.to_string().into(),
        );
        let mut registry = Registry::with_prefix_and_labels("ulda", [run].into_iter());
        let facts = RunFacts {
            shards: spec.shards(),
            domains: u32::try_from(config.domains.len()).unwrap_or(u32::MAX),
            spec_digest: blake3::hash(spec.to_toml().as_bytes()).to_hex().to_string(),
        };
        let build = Build {
            version: env!("CARGO_PKG_VERSION"),
        };
        registry.register("build", "The coordinator's version", Info::new(build));
        registry.register("run", "The run's fixed facts", Info::new(facts));
        let metrics = RunMetrics::register(&mut registry);
        Self {
            registry,
            metrics,
            directory: directory.clone(),
        }
    }

    /// The families, to be moved.
    #[must_use]
    pub fn metrics(&self) -> RunMetrics {
        self.metrics.clone()
    }

    /// All metrics as OpenMetrics text. Asks the file system, so not for async threads.
    ///
    /// # Errors
    /// A metric has no text form.
    pub fn text(&self) -> Result<String, ScrapeError> {
        self.measure_disk();
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// A disk that does not answer leaves the last values.
    fn measure_disk(&self) {
        if let Some(space) = DiskSpace::of(self.directory.root()) {
            self.metrics.disk_free.set(signed(space.free_bytes));
            self.metrics.disk_size.set(signed(space.size_bytes));
        }
        let journal = self.directory.journal_file();
        let size = ["", "-wal"].iter().map(|ending| {
            let mut name = journal.clone().into_os_string();
            name.push(ending);
            std::fs::metadata(name).map_or(0, |metadata| metadata.len())
        });
        self.metrics.journal_size.set(signed(size.sum()));
    }
}
