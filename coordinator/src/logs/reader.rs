//! The log files of a run as one stream, in the order of time.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::line::{LogLevel, LogLine};

/// Most that is read of one file at once.
const CHUNK_BYTES: u64 = 8 << 20;

/// Which lines are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub slot: Option<u32>,
    /// RFC 3339, UTC.
    pub since: Option<String>,
    /// And louder ones.
    pub level: Option<LogLevel>,
}

impl Selection {
    fn takes(&self, line: &LogLine) -> bool {
        let late_enough = self.since.as_ref().is_none_or(|since| line.time >= *since);
        // What is not an event belongs to what stands around it, and is shown where all is.
        let loud_enough = self
            .level
            .is_none_or(|least| line.level.is_some_and(|level| level <= least));
        late_enough && loud_enough
    }
}

/// Reads on from where it stopped.
#[derive(Debug)]
pub struct LogReader {
    folder: PathBuf,
    selection: Selection,
    files: BTreeMap<u32, Position>,
}

#[derive(Clone, Debug, Default)]
struct Position {
    inode: u64,
    offset: u64,
    /// Of the last line that had one; those without take it over.
    time: String,
}

impl LogReader {
    /// `folder` holds the files `worker-<slot>.log`.
    #[must_use]
    pub fn new(folder: &Path, selection: Selection) -> Self {
        Self {
            folder: folder.to_owned(),
            selection,
            files: BTreeMap::new(),
        }
    }

    /// Slots whose workers have logged.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn slots(&self) -> io::Result<Vec<u32>> {
        Ok(files(&self.folder)?.into_iter().map(|(slot, _)| slot).collect())
    }

    /// Whole lines since the last call, of all workers, by time. Empty where there is nothing new.
    ///
    /// # Errors
    /// A file or the folder cannot be read.
    pub fn read(&mut self) -> io::Result<Vec<LogLine>> {
        let mut lines = Vec::new();
        for (slot, path) in files(&self.folder)? {
            if self.selection.slot.is_some_and(|wanted| wanted != slot) {
                continue;
            }
            let position = self.files.entry(slot).or_default();
            read_on(slot, &path, position, &mut lines)?;
        }
        lines.retain(|line| self.selection.takes(line));
        // Stable: lines of one worker keep their order.
        lines.sort_by(|one, other| one.time.cmp(&other.time));
        Ok(lines)
    }
}

/// Adds the whole lines that lie behind `position`, in the file that was put aside too.
fn read_on(slot: u32, path: &Path, position: &mut Position, lines: &mut Vec<LogLine>) -> io::Result<()> {
    let aside = path.with_extension("log.1");
    let inode = |path: &Path| fs::metadata(path).map(|metadata| metadata.ino());
    let present = inode(path).map_err(|cause| named(path, &cause))?;
    let before = inode(&aside).ok();
    if position.inode != present {
        // The file was put aside since, or this is the first look.
        if let Some(before) = before {
            if position.inode != before {
                position.offset = 0;
            }
            position.inode = before;
            read_file(slot, &aside, position, lines)?;
        }
        position.inode = present;
        position.offset = 0;
    }
    read_file(slot, path, position, lines)
}

fn named(path: &Path, cause: &io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("read `{}`: {cause}", path.display()))
}

fn read_file(slot: u32, path: &Path, position: &mut Position, lines: &mut Vec<LogLine>) -> io::Result<()> {
    let mut file = ulda_files::open_file(path).map_err(|cause| named(path, &cause))?;
    loop {
        file.seek(SeekFrom::Start(position.offset))?;
        let mut bytes = Vec::new();
        file.by_ref().take(CHUNK_BYTES).read_to_end(&mut bytes)?;
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(());
        };
        position.offset += end as u64 + 1;
        for text in String::from_utf8_lossy(&bytes[..end]).lines() {
            let mut line = LogLine::parse(slot, text);
            if line.time.is_empty() {
                line.time.clone_from(&position.time);
            }
            position.time.clone_from(&line.time);
            lines.push(line);
        }
        if (bytes.len() as u64) < CHUNK_BYTES {
            return Ok(());
        }
    }
}

fn files(folder: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let slot = name.and_then(|name| name.strip_prefix("worker-")?.strip_suffix(".log")?.parse().ok());
        found.extend(slot.map(|slot| (slot, path.clone())));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn write(path: &Path, lines: &[String]) {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        lines
            .iter()
            .for_each(|line| file.write_all(line.as_bytes()).unwrap());
    }

    fn event(second: u32, level: &str, message: &str) -> String {
        format!(
            "{{\"timestamp\":\"2026-11-26T19:00:{second:02}.000000Z\",\"level\":\"{level}\",\"message\":\"{message}\"}}\n"
        )
    }

    fn messages(reader: &mut LogReader) -> Vec<String> {
        let lines = reader.read().unwrap();
        lines
            .iter()
            .map(|line| {
                let text = line.to_string();
                text.split_whitespace().last().unwrap().to_owned()
            })
            .collect()
    }

    #[test]
    fn lines_are_merged_selected_and_followed_over_a_file_put_aside() {
        console::set_colors_enabled(false);
        let folder = tempfile::tempdir().unwrap();
        let path = |slot: u32| folder.path().join(format!("worker-{slot}.log"));
        write(&path(0), &[event(1, "INFO", "a"), event(3, "WARN", "c")]);
        write(
            &path(1),
            &[
                event(2, "INFO", "b"),
                "plain\n".into(),
                event(4, "ERROR", "d"),
                "{\"torn".into(),
            ],
        );
        let read = |selection: Selection| messages(&mut LogReader::new(folder.path(), selection));
        assert_eq!(read(Selection::default()), ["a", "b", "plain", "c", "d"]);
        let quiet = Selection {
            level: Some(LogLevel::Warn),
            ..Selection::default()
        };
        assert_eq!(read(quiet), ["c", "d"]);
        let late = Selection {
            since: Some("2026-11-26T19:00:02".into()),
            slot: Some(1),
            ..Selection::default()
        };
        assert_eq!(read(late), ["b", "plain", "d"]);

        let mut follower = LogReader::new(folder.path(), Selection::default());
        assert_eq!(messages(&mut follower).len(), 5);
        assert!(messages(&mut follower).is_empty());
        write(&path(0), &[event(5, "INFO", "e")]);
        fs::rename(path(0), folder.path().join("worker-0.log.1")).unwrap();
        write(&path(0), &[event(6, "INFO", "f")]);
        assert_eq!(messages(&mut follower), ["e", "f"]);
        write(&path(0), &[event(7, "INFO", "g")]);
        assert_eq!(messages(&mut follower), ["g"]);
    }
}
