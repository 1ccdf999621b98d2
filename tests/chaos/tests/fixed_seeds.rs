//! A handful of lives in the normal test command; `make chaos` has more.
//!
//! One seed per site. 14, proxied: connections cut and half open, a torn checkpoint. 544, on nodes: links, a node and
//! the network's halves go and come. 1576, launched: full disks under journal and checkpoints, and everything
//! killed. Without root other sequences are drawn, and what they leave out is told.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::process::Command;

const SEEDS: &str = "14,544,1576";

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
            "300",
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
