//! What a run computes on, in which precision, and by what its workers exchange sums.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::variant_names;

/// Where steps are computed, how precisely, and what carries their sums. All but device is part of what a run
/// computes, within rounding.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ComputeConfig {
    /// What a worker computes on.
    pub device: DeviceChoice,
    /// Numbers of matrix products and convolutions. Weights, losses, statistics and sums are float32 in each.
    pub precision: Precision,
    /// What carries sums between workers.
    pub collective: CollectiveChoice,
    /// Sums over NCCL are formed in shard order, so that they are the same to the bit for any number of GPUs, at
    /// the price of more bytes. Over TCP they always are.
    pub ordered_sums: bool,
}

/// What a worker computes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// A GPU where there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU, with run.threads_per_shard threads for each shard.
    Cpu,
    /// A GPU, or the worker refuses.
    Cuda,
}

// As run.toml and the worker's `--device` write them.
variant_names!(DeviceChoice parsed as "a device" {
    Auto = "auto",
    Cpu = "cpu",
    Cuda = "cuda",
});

/// Numbers of matrix products and convolutions. Master weights, losses, statistics and sums are float32 in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As the published numbers.
    #[default]
    Fp32,
    /// Float32 of which a GPU's matrix units take 19 bits; on a CPU the same as fp32.
    Tf32,
    /// Matrix products and convolutions in bfloat16.
    Bf16,
}

/// What carries gradients between workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CollectiveChoice {
    /// NCCL where every worker has a GPU of its own and finds the library, else TCP.
    #[default]
    Auto,
    /// Over TCP, in shard order.
    Tcp,
    /// NCCL, or the workers refuse.
    Nccl,
}
