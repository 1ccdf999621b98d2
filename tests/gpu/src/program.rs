//! Running programs to their end, which comes in bounded time.

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How a program ended and what it wrote.
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Its output if it ended with `code`, else its last words.
    pub fn expect(self, code: i32) -> Result<Self, String> {
        if self.code == Some(code) {
            return Ok(self);
        }
        let words = if self.err.trim().is_empty() {
            &self.out
        } else {
            &self.err
        };
        let last: Vec<&str> = words.trim().lines().rev().take(6).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        Err(format!(
            "ended with {:?}, expected {code}: {}",
            self.code,
            last.join(" / ")
        ))
    }
}

/// Runs `command`; it is killed after `limit`.
pub fn run(mut command: Command, limit: Duration) -> Result<Ended, String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let reader = |stream: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                // What came before an error is what there is.
                let _ = stream.read_to_end(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let out = reader(
        child
            .stdout
            .take()
            .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
    );
    let err = reader(
        child
            .stderr
            .take()
            .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
    );
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            break Some(status);
        }
        if started.elapsed() > limit {
            // It may have ended at this moment.
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let text = |reader: thread::JoinHandle<String>| reader.join().unwrap_or_default();
    let (out, err) = (text(out), text(err));
    match status {
        Some(status) => Ok(Ended {
            code: status.code(),
            out,
            err,
        }),
        None => Err(format!(
            "still ran after {} s and was killed: {err}",
            limit.as_secs()
        )),
    }
}
