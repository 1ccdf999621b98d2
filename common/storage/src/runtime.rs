//! The threads on which all requests of this process are made.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

use crate::StorageError;

/// Enough for some transfers at once and the hashing of their signatures.
const THREADS: usize = 2;

/// Runs `work` to its end; the calling thread waits. Not for threads of another runtime.
///
/// # Errors
/// When the runtime cannot start; else what `work` gives.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, StorageError>>) -> Result<T, StorageError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = match RUNTIME.get() {
        Some(runtime) => runtime,
        None => {
            let fresh = Builder::new_multi_thread()
                .worker_threads(THREADS)
                .thread_name("storage")
                .enable_all()
                .build()
                .map_err(StorageError::Runtime)?;
            RUNTIME.get_or_init(|| fresh)
        }
    };
    runtime.block_on(work)
}
