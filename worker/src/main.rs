//! The `worker` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Libtorch decides once, at its first use, whether CUDA exists.
    let cuda = ulda_torch::cuda::load();
    ulda_worker::cli::main(cuda)
}
