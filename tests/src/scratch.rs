//! A folder for this test process, below the build's own, so that a killed test leaves nothing for good.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const PREFIX: &str = "ulda-tests-";

/// The process's folder. Those of processes that are gone are removed on the way.
pub fn scratch() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let parent = super::binary("worker").with_file_name("ulda-tests");
        std::fs::create_dir_all(&parent).unwrap();
        for entry in std::fs::read_dir(&parent).unwrap() {
            let path = entry.unwrap().path();
            if owner(&path).is_some_and(|owner| !Path::new("/proc").join(owner.to_string()).exists()) {
                // Another test process may remove it at the same moment.
                let _ = std::fs::remove_dir_all(&path);
            }
        }
        let own = parent.join(format!("{PREFIX}{}", std::process::id()));
        std::fs::create_dir_all(&own).unwrap();
        own
    })
}

fn owner(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix(PREFIX)?.parse().ok()
}
