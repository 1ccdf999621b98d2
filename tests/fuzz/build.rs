//! Lets this package's executables find libtorch where it was built against; `LD_LIBRARY_PATH` still
//! comes first, since the path is a RUNPATH.

fn main() {
    let lib = std::env::var("DEP_ULDA_TORCH_LIB")
        .expect("ulda-torch, a direct dependency, names libtorch's folder");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
}
