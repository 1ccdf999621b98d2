//! The machines of the plot.

use super::constants as known;
use super::model::Device;
use super::network::{Cluster, Gathers, Network, SharedHost};

/// Arithmetic of a GPU run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// float32 in memory, TF32 in the tensor cores: what the worker can be switched to.
    Tf32,
    /// Autocast to bf16.
    Bf16,
}

impl Precision {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        }
    }
}

/// Network between nodes, in bits per second and *node*.
pub const NODE_GIGABITS: [f64; 2] = [100.0, 400.0];

pub fn h100(precision: Precision, share: f64) -> Device {
    let (peak, element_bytes) = match precision {
        Precision::Tf32 => (known::TF32_PEAK.value, 4.0),
        Precision::Bf16 => (known::BF16_PEAK.value, 2.0),
    };
    Device {
        flops: peak * share,
        bandwidth: known::MEMORY.value,
        element_bytes,
        launch: known::LAUNCH.value,
        cores: None,
    }
}

pub fn cluster(node_gigabits: f64, gathers: Gathers) -> Network {
    Network::Cluster(Cluster {
        island: known::ISLAND.value,
        link_bandwidth: known::NVLINK.value * known::NVLINK_SHARE.value,
        link_hop: known::NVLINK_HOP.value,
        node_bandwidth: node_gigabits * 1e9 / 8.0 * known::NODE_SHARE.value,
        node_hop: known::NODE_HOP.value,
        gathers,
        message: known::MESSAGE.value,
        wire: known::WIRE.value,
        sync: known::SYNC.value,
        loopback: known::LOOPBACK.value,
    })
}

/// Cores of the host that was measured.
const HOST_CORES: f64 = 2.0;

/// A worker on one thread. Memory and launches are within the calibrated share.
pub fn cpu() -> Device {
    Device {
        flops: known::CPU_PEAK.value * known::CPU_SHARE.value,
        bandwidth: f64::INFINITY,
        element_bytes: 4.0,
        launch: 0.0,
        cores: Some(HOST_CORES),
    }
}

pub fn loopback() -> Network {
    Network::SharedHost(SharedHost {
        cores: HOST_CORES,
        message: known::MESSAGE.value,
        loopback: known::LOOPBACK.value,
    })
}

#[cfg(test)]
mod tests {
    use super::super::measured::ALL_REDUCES;
    use super::*;

    /// Milliseconds measured on 2026-11-27 (2 shared cores, AMD EPYC, AVX2): within half and twice.
    #[test]
    fn the_formula_gives_the_measured_all_reduces() {
        for (processes, bytes, least, most) in ALL_REDUCES {
            let network = loopback();
            let predicted = network.all_reduce(network.ranks(processes, 1), bytes) * 1e3;
            assert!(
                predicted > least / 2.0 && predicted < most * 2.0,
                "{processes} processes, {bytes} bytes: {predicted} ms against {least} to {most}"
            );
        }
    }
}
