//! The workbench of these tests: a run in a temporary folder, the programs under test, waiting with a deadline.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use ulda_run::spec::{Host, RunConfig, RunSpec};

/// The `coordinator` binary of this build.
pub fn coordinator() -> &'static str {
    env!("CARGO_BIN_EXE_coordinator")
}

/// The worker that only counts, built beside it as an example.
pub fn tiny_worker() -> PathBuf {
    let path = Path::new(coordinator())
        .with_file_name("examples")
        .join("tiny_worker");
    assert!(
        path.is_file(),
        "{} is built by `cargo test -p ulda-coordinator`",
        path.display()
    );
    path
}

/// A folder with a small valid data set and a run.toml for it.
pub struct Bench {
    pub folder: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bench = Self { folder };
        for split in ["train", "val"] {
            bench.write_pair(
                &format!("city/leftImg8bit/{split}/aachen/aachen_000000_000019_leftImg8bit.png"),
                &format!("city/gtFine/{split}/aachen/aachen_000000_000019_gtFine_labelIds.png"),
            );
        }
        for condition in ["night", "fog"] {
            bench.write_pair(
                &format!("acdc/rgb_anon/{condition}/val/GOPR0001/GOPR0001_frame_000001_rgb_anon.png"),
                &format!("acdc/gt/{condition}/val/GOPR0001/GOPR0001_frame_000001_gt_labelIds.png"),
            );
        }
        std::fs::write(bench.path("clip.pt"), "weights").unwrap();
        std::fs::write(bench.path("run.toml"), RUN_TOML).unwrap();
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn run(&self) -> PathBuf {
        self.path("runs/small")
    }

    /// Where a run of this bench can keep its files besides the run directory, as an argument of `--set`.
    pub fn storage(&self) -> String {
        format!("storage.url=file://{}", self.path("storage").display())
    }

    fn write_pair(&self, image: &str, label: &str) {
        for (name, colour) in [(image, png::ColorType::Rgb), (label, png::ColorType::Grayscale)] {
            let path = self.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), 64, 48);
            encoder.set_color(colour);
            encoder.set_depth(png::BitDepth::Eight);
            let pixels = vec![7; 64 * 48 * colour.samples()];
            encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
        }
    }

    /// A command of the coordinator in this folder, with a clean environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(coordinator());
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ULDA_") {
                command.env_remove(name);
            }
        }
        command.env("ULDA_WORKER", tiny_worker()).env("NO_COLOR", "1");
        command
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

/// What a command said and how it ended, with the temporary folder's name taken out.
pub fn told(bench: &Bench, output: &Output) -> String {
    let folder = bench.folder.path().to_string_lossy().into_owned();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&folder, "DIR");
    format!(
        "exit {}\n{}{}",
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr)
    )
}

/// The run of [`RUN_TOML`].
pub fn small() -> RunSpec {
    let config: RunConfig = toml::from_str(RUN_TOML).unwrap();
    RunSpec::resolve(config, Host { workers: 2, cores: 2 }).unwrap()
}

/// Where the status page of the bench's run is served.
pub fn page_of(bench: &Bench) -> String {
    wait_for("the status page's address", || {
        let lock = std::fs::read(bench.run().join("run.lock")).ok()?;
        let lock: serde_json::Value = serde_json::from_slice(&lock).ok()?;
        let page = lock["page"].as_str()?.strip_prefix("http://")?;
        Some(page.trim_end_matches('/').to_owned())
    })
}

/// What a server said to one request.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Sends one request to `address` (host:port); `None` where nobody answers.
pub fn ask(address: &str, request: &str) -> Option<Answer> {
    ask_for(address, address, request)
}

/// The same with another `Host`.
pub fn ask_for(host: &str, address: &str, request: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let (first, rest) = request.split_once('\n').unwrap_or((request, ""));
    let length = rest.len();
    let text = format!(
        "{first} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{rest}"
    );
    stream.write_all(text.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some(Answer {
        status: head.split_whitespace().nth(1)?.parse().ok()?,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}

/// Waits until `condition` holds.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited 20 s for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a process said until it ended; one that goes on for too long is killed, which its status shows.
pub fn outcome(child: Child) -> Output {
    let process = i32::try_from(child.id()).unwrap();
    let (ended, watch) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if watch.recv_timeout(Duration::from_secs(60)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            // SAFETY: kill takes plain integers.
            unsafe { libc::kill(process, libc::SIGKILL) };
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(ended);
    watchdog.join().unwrap();
    output
}

/// Compares with a golden text in `tests/snapshots`; `ULDA_WRITE_SNAPSHOTS=1` writes it instead.
pub fn assert_snapshot(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/snapshots")
        .join(name);
    if std::env::var("ULDA_WRITE_SNAPSHOTS").is_ok() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "differs from {}", path.display());
}

pub const RUN_TOML: &str = r#"
[run]
name = "small"
shards = 2
threads_per_shard = 1

[clip]
checkpoint = "clip.pt"

[source]
root = "city"

[[domain]]
name = "night"
prompt = "driving at night"

[[domain]]
name = "fog"
prompt = "driving in fog"

[pretrain]
steps = 60
crop = 32

[simulate]
batches = 80
crop = 32

[adapt]
steps = 100
batch = 2
crop = 32

[evaluate]

[[evaluate.set]]
name = "night"
layout = "acdc"
root = "acdc"
condition = "night"

[[evaluate.set]]
name = "fog"
layout = "acdc"
root = "acdc"
condition = "fog"
only_size = [64, 48]

[deadline]
gather = 20.0
heartbeat = 5.0
drain = 5.0
"#;
