//! Panics that a test asks for, to see what a shard's end does to the others.

use std::path::PathBuf;
use std::sync::OnceLock;

use ulda_run::ids::Shard;
use ulda_run::stage::Cursor;

/// A folder whose files `<stage>-<step>-<shard>` each make that shard panic before that step, once: the file goes first.
const PANICS: &str = "ULDA_TEST_PANICS";

/// # Panics
/// When a test asked for it.
pub(super) fn panic_if_asked(at: Cursor, shard: Shard) {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let Some(folder) = FOLDER.get_or_init(|| std::env::var_os(PANICS).map(PathBuf::from)) else {
        return;
    };
    let asked = folder.join(format!("{}-{}-{}", at.stage, at.step, shard.0));
    assert!(
        std::fs::remove_file(asked).is_err(),
        "{shard} panics before step {} of {}, as a test asked",
        at.step,
        at.stage
    );
}
