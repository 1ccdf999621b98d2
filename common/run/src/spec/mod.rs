//! What the user asks for: `RunConfig` is run.toml as written, `RunSpec` is the same after every value
//! was resolved and checked. Only `RunSpec::resolve` makes one.

mod classes;
mod compute;
mod config;
mod course;
mod datasets;
mod files;
mod keys;
mod notes;
mod path_name;
mod path_pattern;
mod resolve;
mod rules;
mod stages;
mod storage;
mod styles;
mod text;
mod training;

pub use classes::ClassesConfig;
pub use compute::{CollectiveChoice, ComputeConfig, DeviceChoice, Precision};
pub use config::{
    CheckpointConfig, ClipConfig, DeadlineConfig, DomainConfig, EvaluateConfig, RecoveryConfig, RunConfig,
    RunSection,
};
pub use course::EndAfter;
pub use datasets::{DatasetConfig, EvaluationSetConfig, Layout, SourceConfig};
pub use files::{
    FilesConfig, FilesProblem, LabelEncoding, LabelValue, Pairing, is_image_name, parse_colour, train_id_rule,
};
pub use keys::{Key, Keys, ValueKind, Word, json_schema};
pub use notes::SpecNote;
pub use path_name::{PathName, PathNameError};
pub use path_pattern::{PathPattern, PatternPart, Wildcard};
pub use resolve::{Host, RunSpec, SpecError, SpecProblems};
pub use stages::{AdaptConfig, JitterConfig, PretrainConfig, SimulateConfig};
pub use storage::{StorageConfig, is_url, url_scheme};
pub use styles::{DOMAIN_IN_BANK, StyleDraw, StyleSource, names_each_domain};
pub use text::{Prompts, TemplateSet, Templates, TextSettings};
pub use training::{LossConfig, LossKind, LrPolicy};
