//! The `worker` binary.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::var_os("CUBLAS_WORKSPACE_CONFIG").is_none() {
        // SAFETY: no other thread is there yet. Without it cuBLAS does not repeat its sums.
        unsafe { std::env::set_var("CUBLAS_WORKSPACE_CONFIG", ":4096:8") };
    }
    // Libtorch decides once, at its first use, whether CUDA exists.
    let cuda = ulda_torch::cuda::load();
    if let Err(error) = ulda_torch::runtime::keep_freed_memory() {
        // A stderr that cannot be written to is no reason to end.
        let _ = writeln!(
            std::io::stderr(),
            "worker: freed memory goes back to the system: {error}"
        );
    }
    ulda_worker::cli::main(cuda)
}
