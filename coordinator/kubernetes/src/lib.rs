//! A run on Kubernetes: a [`Submission`] becomes objects, and a thin client applies, follows, stops and deletes them.
//!
//! `render` is pure: the same submission gives the same objects to the last byte, so that applying twice changes
//! nothing. `cluster` owns all IO. Invariants: no pod gets a service-account token or needs any right in the cluster;
//! whatever is deleted, evicted or restarted, the run goes on from its journal and checkpoints.

mod amount;
pub mod cluster;
mod manifest;
mod names;
mod plan;
mod render;
mod settings;
mod submission;
mod yaml;

pub use amount::{NotAnAmount, ResourceAmount};
pub use manifest::{ObjectManifest, list_of, yaml_of};
pub use names::{LONGEST_RUN_NAME, Label, NotAName, RunName, Subdomain};
pub use plan::plan;
pub use render::{RUNS_PATH, render, render_submission};
pub use settings::{PodSettings, PodSettingsError, PullPolicy, RoleImage, RoleSettings};
pub use submission::{
    Credentials, DATA_PATH, DataClaim, Files, GpuRequest, Monitoring, NotADataClaim, OutputKind,
    PodResources, RunStorage, Submission,
};
pub use yaml::to_yaml;
