//! What the user asks for: `RunConfig` is run.toml as written, `RunSpec` is the same after every value
//! was resolved and checked. Only `RunSpec::resolve` makes one.

mod config;
mod resolve;
mod rules;
mod storage;

pub use config::{
    AdaptConfig, CheckpointConfig, ClipConfig, CollectiveChoice, ComputeConfig, DatasetConfig,
    DeadlineConfig, DeviceChoice, DomainConfig, EvaluateConfig, EvaluationSetConfig, JitterConfig, Layout,
    Precision, PretrainConfig, RecoveryConfig, RunConfig, RunSection, SimulateConfig, SourceConfig,
};
pub use resolve::{Host, RunSpec, SpecError, SpecProblems};
pub use storage::{StorageConfig, is_url, url_scheme};
