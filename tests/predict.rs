//! `predict` on pictures of any size and on videos, with a recorded model.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ulda_tests::{Ended, Program, binary, png_files};

/// Writes an RGB picture whose bytes follow a pattern.
fn picture(path: &Path, width: u32, height: u32) {
    let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), width, height);
    encoder.set_color(png::ColorType::Rgb);
    let pixels = (0..width as usize * height as usize * 3).map(|at| (at * at % 251) as u8);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&pixels.collect::<Vec<_>>()).unwrap();
}

/// Width, height and pixels of an 8-bit grey picture.
fn grey(path: &Path) -> (u32, u32, Vec<u8>) {
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!(
        (info.color_type, info.bit_depth),
        (png::ColorType::Grayscale, png::BitDepth::Eight)
    );
    (info.width, info.height, pixels)
}

/// Predicts in `folder`, with the programs of `path` alone.
fn predict(folder: &Path, path: &str, arguments: &[&str]) -> Ended {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden/tiny_source.pth");
    let mut command = Command::new(binary("coordinator"));
    command
        .current_dir(folder)
        .env("PATH", path)
        .args(["predict", "--out", "out", "--model"])
        .arg(model)
        .args(arguments);
    Program::start(command).finish()
}

fn names(folder: &Path) -> Vec<String> {
    let relative = |path: PathBuf| path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
    png_files(folder).into_iter().map(relative).collect()
}

#[test]
fn pictures_of_any_size_have_classes_and_confidence() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = [(1, 1), (8, 8), (33, 1), (1, 20_000), (65, 47)];
    for (width, height) in sizes {
        picture(
            &folder.path().join(format!("{width}x{height}.png")),
            width,
            height,
        );
    }
    let _ = predict(folder.path(), "", &["--confidence", "."]).expect(0);
    let out = folder.path().join("out");
    assert_eq!(names(&out).len(), 4 * sizes.len(), "{:?}", names(&out));
    for (width, height) in sizes {
        let of = |what: &str| grey(&out.join(format!("{width}x{height}_{what}.png")));
        let (ids, confidence) = (of("labelIds"), of("confidence"));
        assert_eq!((ids.0, ids.1), (width, height));
        assert_eq!((confidence.0, confidence.1), (width, height));
        // The largest of 19 probabilities.
        assert!(
            confidence.2.iter().all(|value| *value >= 255 / 19),
            "{width}x{height}"
        );
    }
    assert!(
        grey(&out.join("65x47_confidence.png"))
            .2
            .iter()
            .any(|value| *value < 250),
        "the model is not sure of noise"
    );

    let with: Vec<_> = png_files(&out)
        .into_iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    std::fs::remove_dir_all(&out).unwrap();
    let _ = predict(folder.path(), "", &["."]).expect(0);
    let kept = names(&out).into_iter().zip(png_files(&out));
    for (name, path) in kept {
        assert!(!name.contains("confidence"), "{name}");
        assert!(
            with.contains(&std::fs::read(path).unwrap()),
            "{name} is the same without confidence"
        );
    }
}

/// Under a limit of its memory, which holds the programs and the picture, but not what the network makes of it.
#[test]
fn a_prediction_without_memory_is_told_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    picture(&folder.path().join("large.png"), 4096, 4000);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden/tiny_source.pth");
    let mut command = Command::new("sh");
    command
        .current_dir(folder.path())
        .args(["-c", "ulimit -d 1048576; exec \"$0\" \"$@\""])
        .arg(binary("coordinator"))
        .args(["predict", "--out", "out", "--model"])
        .arg(model)
        .arg("large.png");
    let said = Program::start(command).finish().expect(78).said();
    for words in [
        "error: out of memory on the CPU in a prediction: ",
        " GiB were asked for; the network sees [1, 3, 4000, 4096]",
        "hint: scale the image down, or give --crop",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// A program `ffmpeg` in `folder`, which does what `script` says.
fn ffmpeg(folder: &Path, script: &str) -> String {
    let path = folder.join("bin/ffmpeg");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    format!("{}:/usr/bin:/bin", folder.join("bin").display())
}

#[test]
fn frames_of_a_video_come_from_ffmpeg() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("clip.mp4"), "a film").unwrap();
    picture(&at("photo.png"), 40, 36);
    let frame = "printf 'P6\\n40 36\\n255\\n'; head -c 4320 /dev/zero";
    let path = ffmpeg(
        folder.path(),
        &format!("echo \"$@\" > said; grep -q film clip.mp4 || exit 1; {frame}; {frame}"),
    );
    let _ = predict(folder.path(), &path, &["--confidence", "clip.mp4", "photo.png"]).expect(0);
    let said = std::fs::read_to_string(at("said")).unwrap();
    assert!(
        said.contains("-i file:clip.mp4 ") && said.ends_with("pipe:1\n"),
        "{said}"
    );
    let mut wanted: Vec<String> = ["clip/000001", "clip/000002", "photo"]
        .iter()
        .flat_map(|name| {
            ["color", "confidence", "labelIds", "overlay"].map(|what| format!("{name}_{what}.png"))
        })
        .collect();
    wanted.sort();
    let mut found = names(&at("out"));
    found.sort();
    assert_eq!(found, wanted);
    let (width, height, _) = grey(&at("out/clip/000002_labelIds.png"));
    assert_eq!((width, height), (40, 36));

    for (script, what) in [
        (
            "echo 'moov atom not found' >&2; exit 1",
            "ffmpeg cannot read `clip.mp4`: moov atom not found",
        ),
        (
            &format!("{frame}; printf 'P6\\n40 36\\n255\\nabc'"),
            "it is cut short",
        ),
        (
            "printf 'P6\\n999999 999999\\n255\\n'",
            "999999x999999 is more than",
        ),
        ("head -c 200 /dev/zero", "its header is none of a PPM image"),
    ] {
        let path = ffmpeg(folder.path(), script);
        let said = predict(folder.path(), &path, &["clip.mp4"]).expect(78).said();
        assert!(said.contains(what) && said.contains("hint: "), "{said}");
    }
}

#[test]
fn overlays_of_a_video_make_a_video_of_its_frame_rate() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("clip.mp4"), "a film").unwrap();
    let frame = "printf 'P6\\n40 36\\n255\\n'; head -c 4320 /dev/zero";
    // It decodes, or writes the names that its pattern stands for.
    let script = format!(
        "case \"$*\" in *-framerate*) echo \"$@\" > encoded; for last in \"$@\"; do :; done\n\
         echo progress=continue; ls out/clip/*_overlay.png > \"${{last#file:}}\";;\n\
         *) {frame}; {frame};; esac"
    );
    let path = ffmpeg(folder.path(), &script);
    let ffprobe = |said: &str| {
        let program = at("bin/ffprobe");
        std::fs::write(
            &program,
            format!("#!/bin/sh\necho \"$@\" > probed; echo '{said}'\n"),
        )
        .unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    };
    let film = ["--overlay-video", "clip.mp4"];
    ffprobe("30000/1001");
    let _ = predict(folder.path(), &path, &film).expect(0);
    let encoded = std::fs::read_to_string(at("encoded")).unwrap();
    assert!(
        encoded.contains("-framerate 30000/1001 -i file:out/clip/%06d_overlay.png -frames:v 2 ")
            && encoded.ends_with(" file:out/clip_overlay.mp4\n"),
        "{encoded}"
    );
    assert_eq!(
        std::fs::read_to_string(at("out/clip_overlay.mp4")).unwrap(),
        "out/clip/000001_overlay.png\nout/clip/000002_overlay.png\n"
    );
    assert!(
        std::fs::read_to_string(at("probed"))
            .unwrap()
            .ends_with(" file:clip.mp4\n")
    );
    ffprobe("0/0");
    let said = predict(folder.path(), &path, &film).expect(78).said();
    assert!(
        said.contains("ffprobe finds no frame rate in `clip.mp4`: it says `0/0`") && said.contains("hint: "),
        "{said}"
    );
}

#[test]
fn a_video_without_ffmpeg_is_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("clip.MKV"), "a film").unwrap();
    let said = predict(folder.path(), "", &["clip.MKV"]).expect(78).said();
    assert!(
        said.contains("`clip.MKV` is a video, and there is no ffmpeg on the PATH")
            && said.contains("hint: install ffmpeg"),
        "{said}"
    );
}
