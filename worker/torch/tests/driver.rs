//! What is said of drivers, against simulated ones that the C compiler makes here.

use std::path::{Path, PathBuf};
use std::process::Command;

use ulda_torch::driver::{CudaDriver, CudaVersion, NoGpu, inspect_library};

fn simulated(name: &str, version: u32, init: i32) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulated/driver.c");
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lib{name}.so"));
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .args([format!("-DVERSION={version}"), format!("-DINIT={init}")])
        .arg(source)
        .status()
        .expect("the C compiler that the shim needs as well");
    assert!(built.success());
    library
}

#[test]
fn a_host_without_driver_is_told_so() {
    let driver = inspect_library("libcuda-that-is-nowhere.so.1");
    assert_eq!(driver, CudaDriver::Missing);
    let refused = driver.gpus(Some(0)).unwrap_err();
    assert!(refused.to_string().contains("has no NVIDIA driver"), "{refused}");
    let hint = refused.hint().unwrap();
    assert!(hint.starts_with("install driver 580"), "{hint}");
}

#[test]
fn gpus_are_listed_by_name_and_identity() {
    let driver = inspect_library(simulated("ready", 13_000, 0));
    let gpus = driver.gpus(Some(2)).unwrap();
    assert_eq!(
        [gpus[0].name.as_str(), gpus[1].name.as_str()],
        ["NVIDIA A", "NVIDIA B"]
    );
    assert_eq!(gpus[0].uuid, "0a".repeat(16));
    assert_ne!(gpus[0].uuid, gpus[1].uuid);
    assert_eq!(driver.gpus(None), Err(NoGpu::NoLibrary { gpus: 2 }));
    assert_eq!(driver.gpus(Some(0)), Err(NoGpu::Unusable { gpus: 2 }));
    assert_eq!(driver.gpus(Some(1)).unwrap().len(), 1);
}

#[test]
fn an_old_driver_is_told_with_both_versions() {
    let driver = inspect_library(simulated("old", 12_040, 0));
    assert_eq!(
        driver.gpus(Some(0)),
        Err(NoGpu::OldDriver {
            found: CudaVersion(12_040)
        })
    );
    let told = driver.gpus(Some(0)).unwrap_err().to_string();
    assert!(
        told.contains("CUDA up to 12.4, and libtorch needs 13.0"),
        "{told}"
    );
}

#[test]
fn a_driver_that_does_not_start_is_told_by_its_error() {
    let driver = inspect_library(simulated("mismatch", 13_000, 803));
    let told = driver.gpus(Some(0)).unwrap_err().to_string();
    assert!(
        told.contains("CUDA error 803 (its library and its kernel module"),
        "{told}"
    );
    let none = inspect_library(simulated("none", 13_010, 100));
    assert_eq!(none.gpus(Some(0)), Err(NoGpu::NoneVisible));
}
