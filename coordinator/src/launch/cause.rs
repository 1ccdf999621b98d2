//! Why a worker ended, out of its log.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Longest tail of a log that is searched.
const TAIL_BYTES: u64 = 64 * 1024;
const LINES_WITHOUT_ERROR: usize = 5;

/// What a dead worker left behind for a person to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerDeath {
    pub slot: u32,
    /// How the process ended.
    pub exit: String,
    /// Its last error line, or its last lines.
    pub lines: Vec<String>,
    pub log: PathBuf,
}

impl fmt::Display for WorkerDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker in slot {} ended with {}", self.slot, self.exit)?;
        for line in &self.lines {
            write!(f, "\n  | {line}")?;
        }
        write!(f, "\n  log: {}", self.log.display())
    }
}

/// Reads what the worker of `slot` wrote from byte `from` on. A log that cannot be read gives no lines.
#[must_use]
pub fn first_cause(slot: u32, exit: String, log: &Path, from: u64) -> WorkerDeath {
    let text = tail(log, from).unwrap_or_default();
    WorkerDeath {
        slot,
        exit,
        lines: telling_lines(&text),
        log: log.to_owned(),
    }
}

fn tail(log: &Path, from: u64) -> io::Result<String> {
    let mut file = ulda_files::open_file(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(
        from.min(length).max(length.saturating_sub(TAIL_BYTES)),
    ))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last error with the lines that belong to it (a hint, a cause), else a panic, else the last lines.
fn telling_lines(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let is_error = |line: &&str| {
        line.contains(" ERROR ") || line.contains("\"level\":\"ERROR\"") || line.starts_with("error:")
    };
    let is_panic = |line: &&str| line.contains("panicked at");
    let found = lines
        .iter()
        .rposition(is_error)
        .or_else(|| lines.iter().position(is_panic));
    let start = found.unwrap_or(lines.len().saturating_sub(LINES_WITHOUT_ERROR));
    lines[start..]
        .iter()
        .take(LINES_WITHOUT_ERROR)
        .map(|line| (*line).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_wins_over_what_follows_far_behind() {
        let text = "a INFO x\nb ERROR first\nc ERROR read `a.png`\n  hint: restore it\nbye\n";
        assert_eq!(
            telling_lines(text),
            ["c ERROR read `a.png`", "  hint: restore it", "bye"]
        );
        let panic = "thread 'main' panicked at src/a.rs:3\nindex out of bounds\nnote: run with";
        assert_eq!(telling_lines(panic).len(), 3);
        assert_eq!(telling_lines("1\n2\n3\n4\n5\n6\n7"), ["3", "4", "5", "6", "7"]);
        assert_eq!(telling_lines(""), Vec::<String>::new());
    }
}
