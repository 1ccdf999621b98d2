//! Faults that show only while a run is under way: it ends with the file's name, and goes on once that is mended.

use std::path::PathBuf;

use ulda_tests::{Program, World, binary};

use super::breaking::{grey, halve, images, night_labels};
use super::case::{BAD_INPUT, contents};

fn assert_says(said: &str, words: &[&str]) {
    for words in words {
        assert!(said.contains(words), "does not say `{words}`:\n{said}");
    }
}

/// A run on broken files that ends at one of them; mended, it comes to what it would have come to.
fn ends_and_goes_on(broken: &[PathBuf], world: &World, breaks: impl Fn(&PathBuf), words: &[&str]) {
    let whole: Vec<Vec<u8>> = broken.iter().map(|path| std::fs::read(path).unwrap()).collect();
    broken.iter().for_each(breaks);
    let failed = world.start(&["--workers", "2"]).finish().expect(BAD_INPUT);
    assert_says(&failed.err, words);
    assert!(!world.path("runs/small/checkpoints/final").exists());
    for (path, bytes) in broken.iter().zip(whole) {
        std::fs::write(path, bytes).unwrap();
    }
    let _ = world.start(&["resume", "runs/small"]).finish().expect(0);
    assert_eq!(world.finished("small"), World::new().train("small", 3, &[]));
}

#[test]
fn a_training_image_cut_within_its_pixels_is_named() {
    let world = World::new();
    let broken = images(&world);
    ends_and_goes_on(
        &broken,
        &world,
        |path| halve(path),
        &["_leftImg8bit.png` is cut short", "hint: copy the file again"],
    );
}

#[test]
fn an_evaluation_label_with_unknown_ids_is_named_and_other_clip_weights_are_refused() {
    let world = World::new();
    let broken = night_labels(&world);
    let whole: Vec<Vec<u8>> = broken.iter().map(|path| std::fs::read(path).unwrap()).collect();
    broken.iter().for_each(|label| grey(label, 128, 64, 99));
    let failed = world.start(&["--workers", "2"]).finish().expect(BAD_INPUT);
    assert_says(
        &failed.err,
        &[
            "_gt_labelIds.png` holds id 99",
            "hint: expected a `labelIds` file",
        ],
    );
    for (path, bytes) in broken.iter().zip(whole) {
        std::fs::write(path, bytes).unwrap();
    }

    let clip = std::fs::read(world.path("clip.safetensors")).unwrap();
    let mut other = std::process::Command::new(binary("worker"));
    other
        .args([
            "miniature-clip",
            "--seed",
            "9",
            "--resolution",
            "64",
            "--width",
            "8",
        ])
        .arg(world.path("clip.safetensors"));
    let _ = Program::start(other).finish().expect(0);
    let checkpoints = contents(&world.path("runs/small/checkpoints"));
    let refused = world.start(&["resume", "runs/small"]).finish().expect(BAD_INPUT);
    assert_says(
        &refused.err,
        &[
            "runs/small/checkpoints/",
            "other CLIP weights",
            "clip.checkpoint",
            "hint:",
        ],
    );
    assert_eq!(
        contents(&world.path("runs/small/checkpoints")),
        checkpoints,
        "a refusal touches nothing"
    );

    std::fs::write(world.path("clip.safetensors"), clip).unwrap();
    let _ = world.start(&["resume", "runs/small"]).finish().expect(0);
    assert_eq!(world.finished("small"), World::new().train("small", 3, &[]));
}
