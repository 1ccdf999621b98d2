//! A handful of lives in the normal test command; `make chaos` has more.
//!
//! Each seed stands for something that once went wrong: 1 all workers killed while the run finished, 8 a worker
//! that kept more of a stage's beginning than the checkpoint holds, 14 a disk that was full at the end.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::process::Command;

const SEEDS: &str = "1,8,14";

#[test]
fn runs_under_faults_end_with_the_undisturbed_digest() {
    let chaos = env!("CARGO_BIN_EXE_chaos");
    let missing = ["coordinator", "worker"].map(|name| std::path::Path::new(chaos).with_file_name(name));
    if let Some(binary) = missing.iter().find(|binary| !binary.is_file()) {
        panic!(
            "`{}` is missing; hint: cargo build --release --workspace",
            binary.display()
        );
    }
    let output = Command::new(chaos)
        .args([
            "--seeds",
            SEEDS,
            "--steps",
            "20",
            "--batches",
            "6",
            "--deadline",
            "60",
        ])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    assert!(
        output.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(told.contains("3 of 3 digests equal"), "{told}");
}
