//! The one error of the shim.

/// A call into libtorch failed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("libtorch: {call}: {message}")]
pub struct TorchError {
    /// Entry point, such as `sync_batch_norm`.
    pub call: &'static str,
    /// What libtorch, or the callback it ran, said.
    pub message: String,
}
