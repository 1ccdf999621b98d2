//! Compiles the C++ shim against the headers of the libtorch that torch-sys links, and hands the
//! library folder on to dependents as `DEP_ULDA_TORCH_LIB`.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=cpp");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let lib = PathBuf::from(
        std::env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys, a direct dependency, names libtorch's folder"),
    );
    println!("cargo:lib={}", lib.display());
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
