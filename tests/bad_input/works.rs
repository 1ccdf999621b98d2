//! Odd input that is not wrong: the run goes through.

use std::path::Path;

use ulda_tests::{Json, World};

use super::breaking::{HEIGHT, WIDTH, grey, images, labels, night_labels, remove};

/// `unlabeled`, which no class counts.
const UNLABELLED: u8 = 0;

#[test]
fn an_evaluation_set_without_labelled_pixels_has_no_scores() {
    let world = World::new();
    night_labels(&world)
        .iter()
        .for_each(|label| grey(label, WIDTH, HEIGHT, UNLABELLED));
    world.train("small", 2, &[]);
    let report = Json::read(&world.path("runs/small/report/report.json"));
    let text = report.0.to_string();
    assert!(text.contains("\"mean_iou\":null"), "{text}");
    let table = std::fs::read_to_string(world.path("runs/small/report/scores.csv")).unwrap();
    assert!(!table.contains("inf"), "{table}");
}

#[test]
fn training_images_without_labelled_pixels_change_nothing_for_the_others() {
    let world = World::new();
    labels(&world)
        .iter()
        .step_by(2)
        .for_each(|label| grey(label, WIDTH, HEIGHT, UNLABELLED));
    let trained = world.train("small", 2, &[]);
    assert_eq!(world.train("again", 1, &[]), trained);
    let report = Json::read(&world.path("runs/small/report/report.json"))
        .0
        .to_string();
    assert!(!report.contains("NaN"), "{report}");
}

#[test]
fn no_labelled_training_pixel_at_all_is_no_reason_to_break() {
    let world = World::new();
    labels(&world)
        .iter()
        .for_each(|label| grey(label, WIDTH, HEIGHT, UNLABELLED));
    world.train("small", 2, &[]);
}

#[test]
fn a_data_set_smaller_than_a_batch_is_gone_through_more_often() {
    let world = World::new();
    let keep = |path: &Path| path.to_string_lossy().contains("aachen");
    images(&world)
        .iter()
        .chain(&labels(&world))
        .filter(|path| !keep(path))
        .for_each(|path| remove(path));
    assert_eq!(images(&world).len(), 2, "fewer than the 6 of a batch");
    world.train("small", 2, &[]);
}

#[test]
fn prompts_in_any_script_are_read() {
    let sets = [
        "domain.0.prompt=Fahren im dichten Nebel ☁ 霧",
        "domain.1.prompt=driving  at\tNIGHT!!",
    ];
    World::new().train("small", 1, &sets);
}
