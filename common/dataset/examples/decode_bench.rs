//! How fast one thread decodes camera-sized PNG files, and turns them into training crops.
//!
//! `cargo run --release -p ulda-dataset --example decode_bench [-- FOLDER]`
//!
//! Makes 2048x1024 pictures with the statistics of photographs in a temporary folder (or takes the Cityscapes-like
//! folder given, split `train`). Where `python3` (or `$PYTHON`) has Pillow, Pillow decodes the same files in turn.
//! Prints medians over rounds.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::env;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use ulda_dataset::palette::write_label_ids;
use ulda_dataset::{
    Adjustment, Crop, Dataset, Image, Jitter, LabelMap, Sampling, Size, load, read_image, read_label_ids,
};
use ulda_run::Classes;
use ulda_run::spec::{DatasetConfig, FilesConfig, Layout};

const SIZE: Size = Size::new(2048, 1024);
const FILES: usize = 6;
const ROUNDS: usize = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let root = match env::args_os().nth(1) {
        Some(folder) => PathBuf::from(folder),
        None => {
            make_pictures(temporary.path())?;
            temporary.path().to_owned()
        }
    };
    let spec = DatasetConfig {
        layout: Layout::Cityscapes,
        root,
        split: "train".to_owned(),
        condition: None,
        only_size: None,
        centre_crop: None,
        files: FilesConfig::default(),
        classes: Classes::default(),
    };
    let dataset = Dataset::open(&spec)?;
    let samples = &dataset.samples[..dataset.len().min(FILES)];
    let images: Vec<&Path> = samples.iter().map(|sample| sample.image.as_path()).collect();
    let labels: Vec<&Path> = samples.iter().map(|sample| sample.label.as_path()).collect();
    let pixels_bytes: usize = images
        .iter()
        .map(|path| read_image(path).map_or(0, |image| image.rgb.len()))
        .sum();

    let mut pillow = Pillow::start();
    let mut rows: Vec<Row> = [
        "decode image",
        "decode label",
        "load 768x768 crop",
        "load crop with jitter and flip",
    ]
    .map(Row::new)
    .into();
    let mut pillow_rows = ["decode image", "decode label", "crop and normalise"].map(Row::new);
    for round in 0..ROUNDS {
        rows[0].time(|| images.iter().try_for_each(|path| read_image(path).map(drop)))?;
        rows[1].time(|| labels.iter().try_for_each(|path| read_label_ids(path).map(drop)))?;
        rows[2]
            .time(|| (0..samples.len()).try_for_each(|n| load(&dataset, n, &crop(round, None)).map(drop)))?;
        rows[3].time(|| {
            (0..samples.len()).try_for_each(|n| load(&dataset, n, &crop(round, Some(JITTER))).map(drop))
        })?;
        if let Some(pillow) = &mut pillow {
            pillow_rows[0].seconds.push(pillow.time("image", &images)?);
            pillow_rows[1].seconds.push(pillow.time("label", &labels)?);
            pillow_rows[2].seconds.push(pillow.time("crop", &images)?);
        }
    }
    println!(
        "{} files of {}, {ROUNDS} rounds, one thread, medians",
        images.len(),
        read_image(images[0])?.size
    );
    for row in &mut rows {
        row.print("ulda-dataset", images.len(), pixels_bytes);
    }
    match pillow {
        Some(_) => pillow_rows
            .iter_mut()
            .for_each(|row| row.print("pillow", images.len(), pixels_bytes)),
        None => println!("pillow: not found, no comparison"),
    }
    Ok(())
}

const JITTER: Jitter = Jitter {
    brightness: 1.3,
    contrast: 0.8,
    saturation: 1.2,
    order: Adjustment::ORDERS[3],
};

fn crop(round: usize, jitter: Option<Jitter>) -> Sampling {
    let draw = (round as f64 + 0.5) / ROUNDS as f64;
    let crop = Some(Crop::Drawn {
        size: Size::square(768),
        across: draw,
        down: draw,
    });
    Sampling {
        crop,
        jitter,
        flip: jitter.is_some(),
        ..Sampling::default()
    }
}

struct Row {
    name: &'static str,
    seconds: Vec<f64>,
}

impl Row {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            seconds: Vec::new(),
        }
    }

    fn time<E>(&mut self, work: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let began = Instant::now();
        work()?;
        self.seconds.push(began.elapsed().as_secs_f64());
        Ok(())
    }

    fn print(&mut self, who: &str, files: usize, decoded_bytes: usize) {
        self.seconds.sort_by(f64::total_cmp);
        let median = self.seconds[self.seconds.len() / 2];
        let images_per_second = files as f64 / median;
        let mb_per_second = decoded_bytes as f64 / 1e6 / median;
        let mb = if self.name == "decode image" {
            format!("{mb_per_second:8.0} MB/s")
        } else {
            String::new()
        };
        println!("{who:10} {:32} {images_per_second:8.1} images/s {mb}", self.name);
    }
}

/// A Python process that decodes on request and answers with the seconds it took, so that start-up is not counted.
struct Pillow {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

const SCRIPT: &str = r#"
import sys, time
from PIL import Image
import numpy
mean = numpy.float32([0.48145466, 0.4578275, 0.40821073])
std = numpy.float32([0.26862954, 0.26130258, 0.27577711])
print("ready", flush=True)
for line in sys.stdin:
    kind, *paths = line.rstrip("\n").split("\t")
    began = time.perf_counter()
    for path in paths:
        image = Image.open(path)
        if kind == "image": image.convert("RGB")
        elif kind == "label": image.load()
        else:
            part = numpy.asarray(image.convert("RGB").crop((100, 100, 868, 868)))
            numpy.ascontiguousarray(((part.astype(numpy.float32) / 255 - mean) / std).transpose(2, 0, 1))
    print(time.perf_counter() - began, flush=True)
"#;

impl Pillow {
    fn start() -> Option<Self> {
        let python = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        let mut child = Command::new(python)
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut answers = BufReader::new(child.stdout.take()?);
        let mut ready = String::new();
        answers.read_line(&mut ready).ok()?;
        (ready.trim() == "ready").then_some(Self { child, answers })
    }

    fn time(&mut self, kind: &str, paths: &[&Path]) -> Result<f64, Box<dyn Error>> {
        let requests = self.child.stdin.as_mut().ok_or("pillow process has no input")?;
        let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        writeln!(requests, "{kind}\t{}", names.join("\t"))?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(answer.trim().parse()?)
    }
}

impl Drop for Pillow {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

/// Smooth shapes plus sensor noise, stored as the published files are: adaptive filters, well compressed.
fn make_pictures(root: &Path) -> Result<(), Box<dyn Error>> {
    let images = root.join("leftImg8bit/train/made");
    let labels = root.join("gtFine/train/made");
    fs::create_dir_all(&images)?;
    fs::create_dir_all(&labels)?;
    for number in 0..FILES {
        let image = picture(number);
        let path = images.join(format!("made_{number:06}_leftImg8bit.png"));
        let file = std::io::BufWriter::new(fs::File::create(path)?);
        let mut encoder = png::Encoder::new(file, SIZE.width, SIZE.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Balanced);
        encoder.write_header()?.write_image_data(&image.rgb)?;
        let ids = (0..SIZE.pixels()).map(|at| shape(at, number) % 19).collect();
        let path = labels.join(format!("made_{number:06}_gtFine_labelIds.png"));
        write_label_ids(&path, &LabelMap { size: SIZE, ids }, &Classes::default())?;
    }
    Ok(())
}

fn shape(at: usize, number: usize) -> u8 {
    let (x, y) = (
        (at % SIZE.width as usize) as f32,
        (at / SIZE.width as usize) as f32,
    );
    let phase = number as f32;
    ((x / 190.0 + phase).sin() * 4.0 + (y / 130.0 - phase).cos() * 4.0 + 8.0) as u8
}

fn picture(number: usize) -> Image {
    let mut state = number as u32 + 1;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Two draws summed: small deviations are commoner, as in a sensor.
        ((state >> 28) & 3) as i32 + ((state >> 24) & 3) as i32 - 3
    };
    let rgb = (0..SIZE.pixels())
        .flat_map(|at| {
            let slope = (at / SIZE.width as usize / 16 + at % SIZE.width as usize / 40) as i32;
            let base = i32::from(shape(at, number)) * 8 + slope;
            [0, 9, 17].map(|shift| (base + shift + noise()).clamp(0, 255) as u8)
        })
        .collect();
    Image { size: SIZE, rgb }
}
