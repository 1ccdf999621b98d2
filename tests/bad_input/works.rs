//! Odd input that is not wrong: the run goes through.

use std::path::Path;

use ulda_tests::{Json, World, tensor_bytes};

use super::breaking::{HEIGHT, WIDTH, edit, grey, images, labels, night_labels, remove};

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

/// Describes the trees of the source and of the evaluation set by patterns.
fn describe(world: &World) {
    edit(
        world,
        "root = \"data/cityscapes\"",
        "layout = \"files\"\nroot = \"data/cityscapes\"\n\n[source.files]\n\
         images = \"leftImg8bit/{split}/**/*_leftImg8bit.*\"\n\
         labels = \"gtFine/{split}/**/*_gtFine_labelIds.png\"",
    );
    edit(
        world,
        "layout = \"acdc\"\nroot = \"data/acdc\"\ncondition = \"night\"",
        "layout = \"files\"\nroot = \"data/acdc\"\n\n[evaluate.set.files]\n\
         images = \"rgb_anon/night/{split}/*/*_rgb_anon.png\"\n\
         labels = \"gt/night/{split}/*/*_gt_labelIds.png\"",
    );
}

#[test]
fn patterns_train_and_score_the_same_as_the_layouts_that_they_describe() {
    let world = World::new();
    world.train("layout", 2, &[]);
    describe(&world);
    world.train("patterns", 2, &[]);
    for model in ["source.safetensors", "adapted.safetensors"] {
        let tensors =
            |run: &str| tensor_bytes(&world.path("runs").join(run).join("checkpoints/final").join(model));
        assert!(tensors("patterns") == tensors("layout"), "{model}");
    }
    let scores =
        |run: &str| std::fs::read_to_string(world.path("runs").join(run).join("report/scores.csv")).unwrap();
    assert_eq!(scores("patterns"), scores("layout"));
}

#[test]
fn jpeg_images_are_trained_on_and_predicted_with_the_same_bits_on_any_workers() {
    let world = World::new();
    describe(&world);
    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/photo.jpg");
    for image in images(&world).iter().step_by(2) {
        remove(image);
        std::fs::copy(&photo, image.with_extension("jpg")).unwrap();
    }
    assert_eq!(world.train("small", 2, &[]), world.train("again", 1, &[]));
    std::fs::create_dir(world.path("in")).unwrap();
    std::fs::copy(&photo, world.path("in/photo.JPG")).unwrap();
    let predict = ["predict", "--run", "runs/small", "--out", "out", "in"];
    let _ = world.start(&predict).finish().expect(0);
    assert!(world.path("out/photo_labelIds.png").is_file());
}
