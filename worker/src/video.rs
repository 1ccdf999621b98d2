//! Videos, read and written by the `ffmpeg` of this host: frames come out of a pipe as PPM images, overlays go in as PNG files.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;

use ulda_dataset::{Image, Size};

use crate::ffmpeg::{Ffmpeg, VideoError};

/// Endings of files that are taken for videos.
const ENDINGS: [&str; 8] = ["avi", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "webm"];
/// Pixels of a frame: 16384 x 8192.
const MOST_PIXELS: u64 = 1 << 27;
/// Bytes of the header of a frame.
const MOST_HEADER_BYTES: usize = 64;
/// Bytes of a frame rate, such as `30000/1001`.
const MOST_RATE_BYTES: u64 = 64;

/// Whether a file is named as videos are.
pub fn is_video_name(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default();
    ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// A file as ffmpeg's programs take it: without a protocol, they take a name such as `concat:a|b` for more than a file.
fn file(path: &Path) -> OsString {
    let mut name = OsString::from("file:");
    name.push(path);
    name
}

/// The frames of a video, in order. Dropping it ends ffmpeg.
pub struct VideoFrames {
    ffmpeg: Ffmpeg,
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
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg
            .args([
                "-nostdin",
                "-v",
                "error",
                "-protocol_whitelist",
                "file,pipe",
                "-i",
            ])
            .arg(file(path))
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
            ]);
        Ok(Self::of(Ffmpeg::start(path, ffmpeg)?))
    }

    fn of(ffmpeg: Ffmpeg) -> Self {
        Self { ffmpeg, decoded: 0 }
    }

    /// The next frame; none after the last.
    ///
    /// # Errors
    /// When ffmpeg fails, or writes something else.
    pub fn next_frame(&mut self) -> Result<Option<Image>, VideoError> {
        let Some(size) = self.header()? else {
            self.ffmpeg.end()?;
            return match self.decoded {
                0 => Err(self.no_frame("there is none")),
                _ => Ok(None),
            };
        };
        self.decoded += 1;
        let mut rgb = vec![0; 3 * size.pixels()];
        match self.ffmpeg.output.read_exact(&mut rgb) {
            Ok(()) => Ok(Some(Image { size, rgb })),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.ffmpeg.end()?;
                Err(self.no_frame("it is cut short"))
            }
            Err(source) => Err(self.ffmpeg.unreadable(source)),
        }
    }

    /// Size in the header of the next frame, `P6 width height 255`; none at the end of the stream.
    fn header(&mut self) -> Result<Option<Size>, VideoError> {
        let mut text = String::new();
        let mut byte = [0];
        while text.split_ascii_whitespace().count() < 4
            || !text.ends_with(|end: char| end.is_ascii_whitespace())
        {
            match self.ffmpeg.output.read(&mut byte) {
                Ok(0) if text.is_empty() => return Ok(None),
                Ok(0) => {
                    self.ffmpeg.end()?;
                    return Err(self.no_frame("its header is cut short"));
                }
                Ok(_) => text.push(char::from(byte[0])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.ffmpeg.unreadable(source)),
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

    fn no_frame(&self, what: impl Into<String>) -> VideoError {
        VideoError::Frame {
            path: self.ffmpeg.path.clone(),
            what: what.into(),
        }
    }
}

/// Writes the pictures `<number>_overlay.png` of `folder`, numbered from 000001 to `count`, as the video `out`, as fast as the
/// video `source` that they were made of.
///
/// # Errors
/// When there is no ffmpeg or ffprobe, or one of them fails.
pub fn write_overlays(source: &Path, folder: &Path, count: u64, out: &Path) -> Result<(), VideoError> {
    // In the pattern of their names, a `%` stands for itself only twice.
    let folder = folder.to_string_lossy().replace('%', "%%");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg
        .args([
            "-nostdin",
            "-v",
            "error",
            "-y",
            "-progress",
            "pipe:1",
            "-framerate",
        ])
        .arg(frame_rate(source)?)
        .arg("-i")
        .arg(format!("file:{folder}/%06d_overlay.png"))
        // There may be others, of a longer video before.
        .args(["-frames:v", &count.to_string()])
        // The colours of most players, for which both sides must be even.
        .args(["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"])
        .arg(file(out));
    let mut ffmpeg = Ffmpeg::start(source, ffmpeg)?;
    // It tells of its progress every half second.
    io::copy(&mut ffmpeg.output, &mut io::sink()).map_err(|source| ffmpeg.unreadable(source))?;
    ffmpeg.end()
}

/// Frames a second of a video, such as `25/1`.
fn frame_rate(path: &Path) -> Result<String, VideoError> {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe
        .args([
            "-v",
            "error",
            "-select_streams",
            "v:0",
            "-show_entries",
            "stream=avg_frame_rate",
            "-of",
            "default=noprint_wrappers=1:nokey=1",
        ])
        .arg(file(path));
    let mut ffprobe = Ffmpeg::start(path, ffprobe)?;
    let mut said = String::new();
    let read = (&mut ffprobe.output)
        .take(MOST_RATE_BYTES)
        .read_to_string(&mut said);
    read.map_err(|source| ffprobe.unreadable(source))?;
    ffprobe.end()?;
    let rate = said.lines().next().unwrap_or_default().trim();
    let parts: Vec<Option<u32>> = rate.split('/').map(|part| part.parse().ok()).collect();
    match parts[..] {
        [Some(frames), Some(seconds)] if frames > 0 && seconds > 0 => Ok(rate.to_owned()),
        _ => Err(VideoError::FrameRate {
            path: path.to_owned(),
            said: rate.chars().take(20).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const FRAME: &str = "printf 'P6\\n2 1\\n255\\nabcdef'";

    fn frames(script: &str, patience: Duration) -> VideoFrames {
        let mut program = Command::new("sh");
        program.args(["-c", script]);
        let ffmpeg = Ffmpeg::start_with(Path::new("clip.mp4"), program, patience);
        VideoFrames::of(ffmpeg.unwrap())
    }

    #[test]
    fn a_program_that_falls_silent_is_told_and_ended() {
        let short = Duration::from_secs(1);
        let began = Instant::now();
        let mut hung = frames(&format!("{FRAME}; exec sleep 600"), short);
        assert_eq!(hung.next_frame().unwrap().unwrap().rgb, b"abcdef");
        let error = hung.next_frame().unwrap_err();
        assert_eq!(error.to_string(), "ffmpeg wrote nothing of `clip.mp4` for 1 s");
        assert!(error.hint().unwrap().contains("does `ffmpeg -i` with it end?"));
        drop(hung);

        // Within a frame, and after the last one.
        let mut hung = frames("printf 'P6\\n2 1\\n255\\nabc'; exec sleep 600", short);
        assert!(matches!(hung.next_frame(), Err(VideoError::Silent { .. })));
        let mut hung = frames(&format!("{FRAME}; exec >&-; exec sleep 600"), short);
        assert!(hung.next_frame().unwrap().is_some());
        let error = hung.next_frame().unwrap_err();
        assert!(error.to_string().ends_with("did not end within 1 s"), "{error}");
        drop(hung);
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "nobody waits for `sleep`"
        );
    }

    #[test]
    fn frames_larger_than_the_pipe_come_whole_and_slow_ones_in_time() {
        let patience = Duration::from_secs(120);
        let large = "printf 'P6\\n2000 1000\\n255\\n'; head -c 6000000 /dev/zero";
        let mut all = frames(&format!("{large}; {large}; echo trouble >&2"), patience);
        for _ in 0..2 {
            let frame = all.next_frame().unwrap().unwrap();
            assert_eq!((frame.size, frame.rgb.len()), (Size::new(2000, 1000), 6_000_000));
        }
        assert!(all.next_frame().unwrap().is_none());
        let mut slow = frames(
            "for part in 'P6 2 ' '1 255 ' abc def; do printf \"$part\"; sleep 0.1; done",
            patience,
        );
        assert_eq!(slow.next_frame().unwrap().unwrap().rgb, b"abcdef");
    }
}
