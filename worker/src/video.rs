//! Frames of a video, decoded by an `ffmpeg` of this host, which writes them into a pipe as PPM images.

use std::ffi::OsString;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use ulda_dataset::{Image, Size};

/// Endings of files that are taken for videos.
const ENDINGS: [&str; 8] = ["avi", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "webm"];
/// Pixels of a frame: 16384 x 8192.
const MOST_PIXELS: u64 = 1 << 27;
/// Bytes of the header of a frame.
const MOST_HEADER_BYTES: usize = 64;
/// Bytes kept of what ffmpeg says.
const MOST_SAID_BYTES: u64 = 2048;

/// A video cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum VideoError {
    #[error("`{}` is a video, and there is no ffmpeg on the PATH", .0.display())]
    NoFfmpeg(PathBuf),
    #[error("read video `{}`", path.display())]
    NotAFile {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("start ffmpeg")]
    Start(#[source] io::Error),
    #[error("read frames of `{}` from ffmpeg", path.display())]
    Pipe {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("ffmpeg cannot read `{}`: {said}", path.display())]
    Refused { path: PathBuf, said: String },
    #[error("ffmpeg made no frame of `{}` that can be read: {what}", path.display())]
    Frame { path: PathBuf, what: String },
}

impl VideoError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotAFile { .. } => "give the file of a video, or PNG or JPEG images",
            Self::NoFfmpeg(_) => "install ffmpeg, or give the frames as PNG or JPEG images",
            Self::Refused { .. } | Self::Frame { .. } => {
                "does `ffprobe` read it? convert it, or copy it again"
            }
            Self::Start(_) | Self::Pipe { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// Whether a file is named as videos are.
pub fn is_video_name(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default();
    ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// The frames of a video, in order. Dropping it ends ffmpeg.
pub struct VideoFrames {
    path: PathBuf,
    ffmpeg: Child,
    frames: BufReader<ChildStdout>,
    said: Option<JoinHandle<String>>,
    decoded: u64,
}

impl VideoFrames {
    /// Starts to decode the first video stream of `path`.
    ///
    /// # Errors
    /// When it is no file, there is no ffmpeg, or it cannot be started.
    pub fn open(path: &Path) -> Result<Self, VideoError> {
        // ffmpeg would wait for a pipe, and never end a device.
        ulda_files::check_file(path, u64::MAX).map_err(|source| VideoError::NotAFile {
            path: path.to_owned(),
            source,
        })?;
        // Without a protocol, ffmpeg takes a name such as `concat:a|b` for more than a file.
        let mut input = OsString::from("file:");
        input.push(path);
        let spawned = Command::new("ffmpeg")
            .args([
                "-nostdin",
                "-v",
                "error",
                "-protocol_whitelist",
                "file,pipe",
                "-i",
            ])
            .arg(input)
            .args([
                "-map",
                "0:v:0",
                "-f",
                "image2pipe",
                "-c:v",
                "ppm",
                "-pix_fmt",
                "rgb24",
                "pipe:1",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut ffmpeg = spawned.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => VideoError::NoFfmpeg(path.to_owned()),
            _ => VideoError::Start(error),
        })?;
        let frames = BufReader::new(ffmpeg.stdout.take().expect("its output is piped"));
        let said = ffmpeg
            .stderr
            .take()
            .map(|stderr| std::thread::spawn(|| heard(stderr)));
        Ok(Self {
            path: path.to_owned(),
            ffmpeg,
            frames,
            said,
            decoded: 0,
        })
    }

    /// The next frame; none after the last.
    ///
    /// # Errors
    /// When ffmpeg fails, or writes something else.
    pub fn next_frame(&mut self) -> Result<Option<Image>, VideoError> {
        let Some(size) = self.header()? else {
            self.end()?;
            return match self.decoded {
                0 => Err(self.no_frame("there is none")),
                _ => Ok(None),
            };
        };
        self.decoded += 1;
        let mut rgb = vec![0; 3 * size.pixels()];
        match self.frames.read_exact(&mut rgb) {
            Ok(()) => Ok(Some(Image { size, rgb })),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.end()?;
                Err(self.no_frame("it is cut short"))
            }
            Err(source) => Err(self.pipe(source)),
        }
    }

    /// Size in the header of the next frame, `P6 width height 255`; none at the end of the stream.
    fn header(&mut self) -> Result<Option<Size>, VideoError> {
        let mut text = String::new();
        let mut byte = [0];
        while text.split_ascii_whitespace().count() < 4
            || !text.ends_with(|end: char| end.is_ascii_whitespace())
        {
            match self.frames.read(&mut byte) {
                Ok(0) if text.is_empty() => return Ok(None),
                Ok(0) => {
                    self.end()?;
                    return Err(self.no_frame("its header is cut short"));
                }
                Ok(_) => text.push(char::from(byte[0])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.pipe(source)),
            }
            if text.len() > MOST_HEADER_BYTES {
                return Err(self.no_frame("its header is none of a PPM image"));
            }
        }
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let size = match words[..] {
            ["P6", width, height, "255"] => width.parse::<u32>().ok().zip(height.parse::<u32>().ok()),
            _ => None,
        };
        let Some((width, height)) = size.filter(|(width, height)| *width > 0 && *height > 0) else {
            return Err(self.no_frame("its header is none of a PPM image"));
        };
        if u64::from(width) * u64::from(height) > MOST_PIXELS {
            return Err(self.no_frame(format!("{width}x{height} is more than {MOST_PIXELS} pixels")));
        }
        Ok(Some(Size::new(width, height)))
    }

    /// Waits for ffmpeg, whose output has ended.
    fn end(&mut self) -> Result<(), VideoError> {
        let status = self.ffmpeg.wait().map_err(|source| self.pipe(source))?;
        let said = self
            .said
            .take()
            .and_then(|said| said.join().ok())
            .unwrap_or_default();
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

    fn no_frame(&self, what: impl Into<String>) -> VideoError {
        VideoError::Frame {
            path: self.path.clone(),
            what: what.into(),
        }
    }

    fn pipe(&self, source: io::Error) -> VideoError {
        VideoError::Pipe {
            path: self.path.clone(),
            source,
        }
    }
}

impl Drop for VideoFrames {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.ffmpeg.kill();
        let _ = self.ffmpeg.wait();
    }
}

/// The beginning of what ffmpeg says; the rest is read, so that it goes on, and dropped.
fn heard(mut stderr: ChildStderr) -> String {
    let mut said = Vec::new();
    let _ = stderr.by_ref().take(MOST_SAID_BYTES).read_to_end(&mut said);
    let _ = io::copy(&mut stderr, &mut io::sink());
    String::from_utf8_lossy(&said).into_owned()
}
