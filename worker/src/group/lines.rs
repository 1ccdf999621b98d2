//! What the workers of a group write: whole lines, in the order in which they come, on the group's stderr.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStderr;

/// Longer lines are broken into several.
const LONGEST_LINE: u64 = 1 << 20;

/// The last error that a worker wrote, else its last line.
#[derive(Clone, Debug, Default)]
pub(super) struct LastError(Arc<Mutex<KeptLines>>);

#[derive(Debug, Default)]
struct KeptLines {
    error: Option<Vec<u8>>,
    last: Option<Vec<u8>>,
}

impl LastError {
    fn note(&self, line: &[u8]) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(line);
        lines.last = Some(line.to_owned());
        if text.contains("\"level\":\"ERROR\"") || text.contains(" panicked at ") {
            lines.error = Some(line.to_owned());
        }
    }

    pub fn line(&self) -> Option<Vec<u8>> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.error.clone().or_else(|| lines.last.clone())
    }
}

/// Writes the lines of a worker as they come, until its end.
pub(super) async fn pass_on(pipe: Option<ChildStderr>, last_error: LastError) {
    use tokio::io::AsyncReadExt;

    let Some(pipe) = pipe else { return };
    let mut lines = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut lines).take(LONGEST_LINE).read_until(b'\n', &mut line).await;
        if !read.is_ok_and(|bytes| bytes > 0) {
            return;
        }
        if !line.ends_with(b"\n") {
            line.push(b'\n');
        }
        write(&line);
        last_error.note(&line);
    }
}

/// Writes one line. A stderr that cannot be written to loses it, and ends nobody.
pub(super) fn write(line: &[u8]) {
    let _ = std::io::stderr().lock().write_all(line);
}
