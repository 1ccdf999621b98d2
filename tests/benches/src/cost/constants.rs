//! Every number that the model does not derive, with where it comes from.

/// Where a constant comes from.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// Taken from a data sheet or a guess, never seen on this project's workers.
    Assumed(&'static str),
    /// Seen on this project's own programs; when and where.
    Measured(&'static str),
}

#[derive(Clone, Copy, Debug)]
pub struct Constant {
    pub name: &'static str,
    pub value: f64,
    /// How `value` is written: divisor and unit.
    pub written: (f64, &'static str),
    pub origin: Origin,
}

const fn assumed(
    name: &'static str,
    value: f64,
    written: (f64, &'static str),
    why: &'static str,
) -> Constant {
    Constant {
        name,
        value,
        written,
        origin: Origin::Assumed(why),
    }
}

const fn measured(
    name: &'static str,
    value: f64,
    written: (f64, &'static str),
    how: &'static str,
) -> Constant {
    Constant {
        name,
        value,
        written,
        origin: Origin::Measured(how),
    }
}

const TERAFLOPS: (f64, &str) = (1e12, "TFLOP/s");
const GIGAFLOPS: (f64, &str) = (1e9, "GFLOP/s");
const GIGABYTES: (f64, &str) = (1e9, "GB/s");
const MICROSECONDS: (f64, &str) = (1e-6, "µs");
const PERCENT: (f64, &str) = (0.01, "%");
const PER_SECOND: (f64, &str) = (1.0, "/s");

const DATA_SHEET: &str = "NVIDIA H100 SXM data sheet, dense";

pub const TF32_PEAK: Constant = assumed("H100 TF32 peak", 494.7e12, TERAFLOPS, DATA_SHEET);
pub const BF16_PEAK: Constant = assumed("H100 bf16 peak", 989.4e12, TERAFLOPS, DATA_SHEET);
pub const FP32_PEAK: Constant = assumed("H100 fp32 peak (no tensor cores)", 66.9e12, TERAFLOPS, DATA_SHEET);
pub const MEMORY: Constant = assumed(
    "H100 memory bandwidth",
    3.35e12,
    GIGABYTES,
    "NVIDIA H100 SXM data sheet",
);
pub const SHARE: Constant = assumed(
    "share of a GPU's peak that convolutions reach",
    0.35,
    PERCENT,
    "a guess; whole ResNet-50 trainings on A100 that NVIDIA published (NGC, `resnet_mxnet`, 22.10) come to 29 % of the \
     fp16 and 17 % of the TF32 peak, the memory roof included, which is counted apart here",
);
pub const LAUNCH: Constant = assumed(
    "host time per operation",
    6e-6,
    MICROSECONDS,
    "a guess for eager libtorch on one thread",
);
pub const ISLAND: Constant = assumed("GPUs per node, all on NVLink", 8.0, (1.0, ""), "HGX H100");
pub const NVLINK: Constant = assumed(
    "NVLink per GPU and direction",
    450e9,
    GIGABYTES,
    "NVIDIA H100 SXM data sheet: 900 GB/s both ways",
);
pub const NVLINK_SHARE: Constant = assumed(
    "share of NVLink that NCCL reaches",
    0.82,
    PERCENT,
    "370 of 450 GB/s with rings, says NCCL's author (NVIDIA/nccl-tests issue 212)",
);
pub const NVLINK_HOP: Constant = assumed("NCCL latency per NVLink hop", 2e-6, MICROSECONDS, "a guess");
pub const NODE_SHARE: Constant = assumed(
    "share of the node's network that is reached",
    0.8,
    PERCENT,
    "a guess",
);
pub const NODE_HOP: Constant = assumed(
    "NCCL latency per hop between nodes",
    10e-6,
    MICROSECONDS,
    "a guess",
);
pub const WIRE: Constant = assumed(
    "TCP latency between nodes, one way",
    30e-6,
    MICROSECONDS,
    "a guess; hosts of one rack",
);
pub const SYNC: Constant = assumed(
    "GPU to host and back for a small gather",
    20e-6,
    MICROSECONDS,
    "a guess: two copies and an emptied queue",
);
pub const MESSAGE: Constant = measured(
    "core time of one TCP message",
    18e-6,
    MICROSECONDS,
    "2026-11-27, all-reduce of 1 KiB among 2, 4, 8 processes, 2 shared cores, AMD EPYC, AVX2",
);
pub const LOOPBACK: Constant = measured(
    "bytes through one host's loopback, all processes",
    3.2e9,
    GIGABYTES,
    "2026-11-27, all-reduce of 64 MiB among 2, 4, 8 processes, same machine",
);
pub const DECODERS: Constant = assumed(
    "decoder threads per GPU of a host with too few cores",
    4.0,
    (1.0, ""),
    "a small cloud machine; a worker starts one for each core of its GPU's share, 16 at most",
);
pub const READ_CROP: Constant = measured(
    "training crops read by one decoder thread",
    35.7,
    PER_SECOND,
    "2026-11-27, 2048x1024 PNG with labels, 2 shared cores, AMD EPYC, AVX2",
);
pub const READ_PHOTO: Constant = measured(
    "whole images with labels read by one thread",
    1.0 / (1.0 / 40.0 + 1.0 / 337.0),
    PER_SECOND,
    "2026-11-27, 2048x1024 PNG, same machine: 40.0 images/s and 337 label maps/s",
);
pub const CPU_PEAK: Constant = measured(
    "CPU peak of matrix products, one thread",
    171e9,
    GIGAFLOPS,
    "2026-11-23, `bench peak --threads 1`, 2 shared cores, Xeon, AVX-512, best moment",
);
pub const CPU_SHARE: Constant = measured(
    "share of that peak that a step reaches",
    0.78,
    PERCENT,
    "2026-11-23, adapt at crop 512, CPU seconds; calibrated on this one step",
);

/// All of them, in the order of the page.
pub const ALL: [Constant; 21] = [
    TF32_PEAK,
    BF16_PEAK,
    FP32_PEAK,
    MEMORY,
    SHARE,
    LAUNCH,
    ISLAND,
    NVLINK,
    NVLINK_SHARE,
    NVLINK_HOP,
    NODE_SHARE,
    NODE_HOP,
    WIRE,
    SYNC,
    MESSAGE,
    LOOPBACK,
    DECODERS,
    READ_CROP,
    READ_PHOTO,
    CPU_PEAK,
    CPU_SHARE,
];
