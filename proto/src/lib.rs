//! The wire types of the control plane, generated from `proto/`, and the conversion of what both sides send.

mod state_claim;

#[allow(clippy::all, rust_2018_idioms)]
pub mod v1 {
    tonic::include_proto!("ulda.v1");
}

/// The encoded `FileDescriptorSet` of [`v1`]: every message with its fields.
pub const DESCRIPTION: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/ulda.v1.bin"));
