//! Programs of ffmpeg on this host: what they write is read, and none is waited for longer than a minute.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

/// Bytes kept of what ffmpeg says.
const MOST_SAID_BYTES: u64 = 2048;
/// Longest wait for anything of ffmpeg, which decodes a frame in a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes that are taken out of a pipe at once, and how many times so many may wait.
const CHUNK_BYTES: usize = 1 << 16;
const CHUNKS: usize = 64;

/// A video cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum VideoError {
    #[error("`{}` is a video, and there is no {program} on the PATH", path.display())]
    NoFfmpeg { path: PathBuf, program: String },
    #[error("read video `{}`", path.display())]
    NotAFile {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("start ffmpeg")]
    Start(#[source] io::Error),
    #[error("read what ffmpeg writes of `{}`", path.display())]
    Pipe {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("ffmpeg wrote nothing of `{}` for {} s", path.display(), waited.as_secs())]
    Silent { path: PathBuf, waited: Duration },
    #[error("ffmpeg wrote all of `{}`, and did not end within {} s", path.display(), waited.as_secs())]
    Lingers { path: PathBuf, waited: Duration },
    #[error("ffmpeg cannot read `{}`: {said}", path.display())]
    Refused { path: PathBuf, said: String },
    #[error("ffmpeg made no frame of `{}` that can be read: {what}", path.display())]
    Frame { path: PathBuf, what: String },
    #[error("ffprobe finds no frame rate in `{}`: it says `{said}`", path.display())]
    FrameRate { path: PathBuf, said: String },
}

impl VideoError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotAFile { .. } => "give the file of a video, or PNG or JPEG images",
            Self::NoFfmpeg { .. } => "install ffmpeg, or give the frames as PNG or JPEG images",
            Self::Refused { .. } | Self::Frame { .. } | Self::FrameRate { .. } => {
                "does `ffprobe` read it? convert it, or copy it again"
            }
            Self::Silent { .. } | Self::Lingers { .. } => {
                "does `ffmpeg -i` with it end? copy it to a disk of this host, or give its frames as images"
            }
            Self::Start(_) | Self::Pipe { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// A running program that reads or writes a video. Dropping it ends it.
pub struct Ffmpeg {
    /// The video.
    pub path: PathBuf,
    /// What it writes to stdout.
    pub output: PipedBytes,
    child: Child,
    said: Receiver<String>,
    patience: Duration,
}

impl Ffmpeg {
    /// Starts a program for the video at `path`.
    ///
    /// # Errors
    /// When there is no such program, or it cannot be started.
    pub fn start(path: &Path, program: Command) -> Result<Self, VideoError> {
        Self::start_with(path, program, PATIENCE)
    }

    /// The same, but no wait is longer than `patience`.
    pub fn start_with(path: &Path, mut program: Command, patience: Duration) -> Result<Self, VideoError> {
        let spawned = program
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = spawned.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => VideoError::NoFfmpeg {
                path: path.to_owned(),
                program: program.get_program().to_string_lossy().into_owned(),
            },
            _ => VideoError::Start(error),
        })?;
        let stdout = child.stdout.take().expect("its output is piped");
        let stderr = child.stderr.take().expect("its errors are piped");
        let (sender, said) = bounded(1);
        std::thread::spawn(move || {
            // Nobody may wait for it any more.
            let _ = sender.send(heard(stderr));
        });
        Ok(Self {
            path: path.to_owned(),
            output: PipedBytes::of(stdout, patience),
            child,
            said,
            patience,
        })
    }

    /// Waits for the program, whose output has ended.
    ///
    /// # Errors
    /// When it fails, or does not end.
    pub fn end(&mut self) -> Result<(), VideoError> {
        let status = self.ended()?;
        let said = self.said.recv_timeout(self.patience).unwrap_or_default();
        let said = said.lines().next_back().unwrap_or_default().trim().to_owned();
        if status.success() {
            if !said.is_empty() {
                tracing::warn!(video = %self.path.display(), said, "ffmpeg had trouble with a video");
            }
            return Ok(());
        }
        Err(VideoError::Refused {
            path: self.path.clone(),
            said: if said.is_empty() { status.to_string() } else { said },
        })
    }

    fn ended(&mut self) -> Result<ExitStatus, VideoError> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(status) = self.child.try_wait().map_err(|source| self.unreadable(source))? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(VideoError::Lingers {
                    path: self.path.clone(),
                    waited: self.patience,
                });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Why its output cannot be read.
    pub fn unreadable(&self, source: io::Error) -> VideoError {
        let path = self.path.clone();
        match source.kind() {
            io::ErrorKind::TimedOut => VideoError::Silent {
                path,
                waited: self.patience,
            },
            _ => VideoError::Pipe { path, source },
        }
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program writes into a pipe, read on a thread of its own, so that no read waits longer than `patience`.
pub struct PipedBytes {
    chunks: Receiver<io::Result<Vec<u8>>>,
    chunk: io::Cursor<Vec<u8>>,
    patience: Duration,
}

impl PipedBytes {
    fn of(pipe: impl Read + Send + 'static, patience: Duration) -> Self {
        let (sender, chunks) = bounded(CHUNKS);
        std::thread::spawn(move || pass_on(pipe, &sender));
        Self {
            chunks,
            chunk: io::Cursor::default(),
            patience,
        }
    }
}

/// Sends what `pipe` gives until it ends, fails, or nobody listens.
fn pass_on(mut pipe: impl Read, chunks: &Sender<io::Result<Vec<u8>>>) {
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = match pipe.read(&mut chunk) {
            Ok(0) => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map(|count| {
                chunk.truncate(count);
                chunk
            }),
        };
        let has_failed = read.is_err();
        if chunks.send(read).is_err() || has_failed {
            return;
        }
    }
}

impl Read for PipedBytes {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.chunk.position() == self.chunk.get_ref().len() as u64 {
            match self.chunks.recv_timeout(self.patience) {
                Ok(chunk) => self.chunk = io::Cursor::new(chunk?),
                Err(error) if error.is_disconnected() => return Ok(0),
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        self.chunk.read(into)
    }
}

/// The beginning of what ffmpeg says; the rest is read, so that it goes on, and dropped.
fn heard(mut stderr: impl Read) -> String {
    let mut said = Vec::new();
    let _ = stderr.by_ref().take(MOST_SAID_BYTES).read_to_end(&mut said);
    let _ = io::copy(&mut stderr, &mut io::sink());
    String::from_utf8_lossy(&said).into_owned()
}
