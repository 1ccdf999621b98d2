//! Compiles the C++ shim against the headers of the libtorch that torch-sys links, and hands the
//! library folder on to dependents as `DEP_ULDA_TORCH_LIB`.

use std::path::PathBuf;

const SOURCES: [&str; 9] = [
    "cpp/autograd.cpp",
    "cpp/batch_norm.cpp",
    "cpp/batch_norm_cudnn.cpp",
    "cpp/convolution.cpp",
    "cpp/fused_convolution.cpp",
    "cpp/optim.cpp",
    "cpp/runtime.cpp",
    "cpp/stream.cpp",
    "cpp/style.cpp",
];

fn main() {
    println!("cargo:rerun-if-changed=cpp");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let lib = PathBuf::from(
        std::env::var("DEP_TCH_LIBTORCH_LIB")
            .expect("torch-sys, a direct dependency, names libtorch's folder"),
    );
    let include = lib
        .parent()
        .expect("libtorch's lib folder has a parent")
        .join("include");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .flag("-D_GLIBCXX_USE_CXX11_ABI=1")
        // A product is rounded before it is added to (cpp/style.cpp).
        .flag("-ffp-contract=off")
        // libtorch's headers dominate the time to compile; the shim's hot loops are marked for more (cpp/style.cpp).
        .opt_level(1)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .files(SOURCES)
        .compile("ulda_torch_shim");
    println!("cargo:rustc-link-search=native={}", lib.display());
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");
    println!("cargo:lib={}", lib.display());
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
