//! Distribution is invisible: a run's bits depend on its configuration, never on who served it.

use std::sync::OnceLock;

use ulda_tests::{Final, World};

/// The small run, with 4 shards, as one worker trains it.
fn alone() -> &'static Final {
    static ALONE: OnceLock<Final> = OnceLock::new();
    ALONE.get_or_init(|| World::new().train("alone", 1, &[]))
}

#[test]
fn any_number_of_workers_leaves_the_same_bits() {
    let world = World::new();
    for workers in [2, 3, 4, 5] {
        let trained = world.train(&format!("by-{workers}"), workers, &[]);
        assert_eq!(&trained, alone(), "{workers} workers against 1");
    }
}

#[test]
fn prompt_groups_change_no_number() {
    let world = World::new();
    let groups = |count: u32, workers: u32| {
        let set = format!("simulate.prompt_groups={count}");
        world.train(
            &format!("groups-{count}"),
            workers,
            &["simulate.data_shards=1", &set],
        )
    };
    let together = groups(1, 2);
    assert_eq!(groups(4, 3), together, "4 prompt groups against 1");
    assert_ne!(
        &together,
        alone(),
        "the number of data shards is part of what a run computes"
    );
}

#[test]
fn domains_computed_at_once_leave_the_same_bits_on_any_number_of_workers() {
    let world = World::new();
    let sets = ["simulate.domains_at_once=2", "simulate.prompt_groups=1"];
    let trained = [1, 2].map(|workers| world.train(&format!("at-once-{workers}"), workers, &sets));
    assert_eq!(trained[0], trained[1], "2 workers against 1, two domains at once");
}

/// The options that the published scripts have and no published run uses.
#[test]
fn options_of_the_published_scripts_leave_the_same_bits_on_any_number_of_workers() {
    let world = World::new();
    let sets = [
        "pretrain.lr_policy=step",
        "pretrain.step_size=2",
        "pretrain.loss.kind=focal_loss",
        "adapt.lr_policy=step",
        "adapt.step_size=4",
        "adapt.loss.kind=focal_loss",
        "adapt.loss.gamma=2.0",
        "adapt.mix=true",
        "adapt.augment=true",
    ];
    let trained = [1, 3].map(|workers| world.train(&format!("options-{workers}"), workers, &sets));
    assert_eq!(trained[0], trained[1], "3 workers against 1");
    for (file, digest) in &trained[0].files {
        assert_ne!(Some(digest), alone().files.get(file), "{file}");
    }
    // Each of them changes the run.
    for (key, left_out) in [("mix", 7), ("augment", 8)] {
        let fewer: Vec<&str> = sets
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != left_out)
            .map(|(_, set)| *set)
            .collect();
        let other = world.train(&format!("without-{key}"), 2, &fewer);
        assert_ne!(other.digest, trained[0].digest, "{key}");
    }
}

#[test]
fn content_styles_leave_the_same_bits_on_any_number_of_workers() {
    let world = World::new();
    let sets = ["simulate.styles=content"];
    let trained = [1, 2].map(|workers| world.train(&format!("content-{workers}"), workers, &sets));
    assert_eq!(
        trained[0], trained[1],
        "2 workers against 1, styles of the source"
    );
    assert_ne!(&trained[0], alone(), "not the styles that are learned");
}

#[test]
fn styles_of_images_leave_the_same_bits_on_any_number_of_workers() {
    let world = World::new();
    world.name_images(["fog", "night", "rain", "snow"].map(|condition| {
        format!("[\"data/acdc/rgb_anon/{condition}\", \"data/acdc/rgb_anon/{condition}\"]")
    }));
    let sets = ["simulate.styles=images", "adapt.batch=4"];
    let trained = [1, 2].map(|workers| world.train(&format!("images-{workers}"), workers, &sets));
    assert_eq!(trained[0], trained[1], "2 workers against 1, styles of images");
}

#[test]
fn shards_without_images_change_nothing_for_the_others() {
    let world = World::new();
    let sets = ["run.shards=8", "pretrain.batch=2", "adapt.batch=3"];
    let trained = [1, 3].map(|workers| world.train(&format!("idle-{workers}"), workers, &sets));
    assert_eq!(
        trained[0], trained[1],
        "3 workers against 1, with 5 of 8 shards idle"
    );
}

#[test]
fn another_seed_leaves_other_bits() {
    let other = World::new().train("seed", 2, &["run.seed=2"]);
    assert_ne!(other.digest, alone().digest);
    for (file, digest) in &other.files {
        assert_ne!(Some(digest), alone().files.get(file), "{file}");
    }
}
