//! Compiles the .proto files with protox, so that no `protoc` is needed, and keeps their description for tests that walk
//! over all fields.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("proto");
    let mut compiler = protox::Compiler::new([&root])?;
    compiler
        .include_imports(true)
        .open_file("ulda/v1/coordinator.proto")?;
    println!("cargo:rerun-if-changed=proto");
    let description = PathBuf::from(std::env::var("OUT_DIR")?).join("ulda.v1.bin");
    std::fs::write(description, compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure().compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
