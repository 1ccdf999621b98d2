//! The wire types of the control plane, generated from `proto/`. Nothing here but wire types.

#[allow(clippy::all, rust_2018_idioms)]
pub mod v1 {
    tonic::include_proto!("ulda.v1");
}
