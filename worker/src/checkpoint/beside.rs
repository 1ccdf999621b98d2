//! Names of folders that are being written, or are on their way out, beside the one they stand for.
//!
//! Several workers may write one state at the same time, on several hosts and with one process id (each the
//! first process of its container), so each name holds a number that is drawn for it.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

const WRITING: &str = "writing";
const OLD: &str = "old";

/// Where to write what is to become the folder `name`; another place at each call.
pub(super) fn name_for(name: &str) -> String {
    let drawn = RandomState::new().hash_one(name);
    format!(".{name}.{}-{drawn:016x}.{WRITING}", std::process::id())
}

/// Where the folder goes that has to make room for `beside`.
pub(super) fn out_of_the_way(beside: &Path) -> PathBuf {
    beside.with_extension(OLD)
}

/// The folder that `name` was written for; `None` where it is no name of this kind.
pub(super) fn stands_for(name: &str) -> Option<&str> {
    let (rest, kind) = name.strip_prefix('.')?.rsplit_once('.')?;
    let (of, _writer) = rest.rsplit_once('.')?;
    (kind == WRITING || kind == OLD).then_some(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_what_it_stands_for_and_is_no_other_ones() {
        let name = name_for("adapt-00000007");
        assert_ne!(name, name_for("adapt-00000007"));
        assert_eq!(stands_for(&name), Some("adapt-00000007"));
        let old = out_of_the_way(Path::new(&name));
        assert_eq!(stands_for(old.to_str().unwrap()), Some("adapt-00000007"));
        for other in ["adapt-00000007", "final", ".writing", ".a.writing", ".a.1.tmp"] {
            assert_eq!(stands_for(other), None, "{other}");
        }
    }
}
