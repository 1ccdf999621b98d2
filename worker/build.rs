//! Lets this package's executables find libtorch where it was built against, or where `ULDA_RPATH` says (of a release: beside
//! the program); `LD_LIBRARY_PATH` still comes first, since the path is a RUNPATH.

fn main() {
    println!("cargo:rerun-if-env-changed=ULDA_RPATH");
    let built_against = std::env::var("DEP_ULDA_TORCH_LIB")
        .expect("ulda-torch, a direct dependency, names libtorch's folder");
    let lib = std::env::var("ULDA_RPATH").unwrap_or(built_against);
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
}
