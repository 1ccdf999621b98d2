//! Where the programs under test lie.

use std::path::PathBuf;

/// A program of the build that this test belongs to.
///
/// # Panics
/// When it was not built: cargo builds no other package's programs for a test.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own path");
    let folder = own
        .parent()
        .and_then(|deps| deps.parent())
        .expect("tests lie in <target>/<profile>/deps");
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "`{}` is not built; run `make test`, or `cargo build --release --workspace` before these tests",
        path.display()
    );
    path
}
