//! A dry run says what each stage will need, starts nothing and writes nothing; and a run.toml that extends others trains as
//! one that says it all.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::fs;

use ulda_tests::World;

fn dry_run(world: &World, more: &[&str]) -> String {
    let arguments = [&["train", "--dry-run", "--workers", "2"], more].concat();
    let said = world.start(&arguments).finish().expect(0).out;
    assert!(said.contains("nothing was started or written"), "{said}");
    said
}

/// The cells of a stage's row, which are two spaces or more apart.
fn row<'a>(said: &'a str, stage: &str) -> Vec<&'a str> {
    let line = said.lines().find(|line| line.starts_with(stage));
    let cells = line
        .unwrap_or_else(|| panic!("no row of {stage}:\n{said}"))
        .split("  ");
    cells.map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn stages_have_steps_images_memory_and_disk_and_a_time_if_something_is_known() {
    let world = World::new();
    let said = dry_run(&world, &[]);
    assert!(!world.path("runs").exists(), "a dry run writes nothing");
    assert!(said.contains("4 shards of 2 workers with 1 thread"), "{said}");
    for (stage, steps, images) in [
        ("pretrain", "6", "36"),
        ("simulate", "2 rounds", "8"),
        ("adapt", "6", "36"),
        ("evaluate", "1 set", "2"),
    ] {
        let cells = row(&said, stage);
        assert_eq!(cells[1..4], [steps, images, "?"], "{said}");
        let gib: f64 = cells[4].strip_suffix(" GiB").unwrap().parse().unwrap();
        assert!((0.1..1.0).contains(&gib), "{said}");
    }
    assert!(row(&said, "pretrain")[5].ends_with(" MiB"), "{said}");
    assert!(
        said.contains("time: is unknown") && said.contains("hint: --gflops"),
        "{said}"
    );

    let seconds = |gflops: &str| {
        let said = dry_run(&world, &["--gflops", gflops]);
        assert!(said.contains(&format!("at the {gflops} GFLOP/s")), "{said}");
        let time = row(&said, "pretrain")[3].to_owned();
        let seconds = time
            .strip_prefix("about ")
            .and_then(|time| time.strip_suffix(" s"));
        seconds
            .unwrap_or_else(|| panic!("{time}"))
            .parse::<f64>()
            .unwrap()
    };
    let (slow, fast) = (seconds("0.1"), seconds("0.2"));
    assert!((slow / fast - 2.0).abs() < 0.1, "{slow} and {fast}");

    let alone = dry_run(&world, &["--no-launch"]);
    assert_eq!(row(&alone, "adapt")[2..5], ["?", "?", "?"], "{alone}");
    assert!(alone.contains("only a worker can read the shapes"), "{alone}");
}

#[test]
fn times_are_those_of_a_run_that_computed_the_same() {
    let world = World::new();
    world.train("before", 2, &["pretrain.lr=0.01"]);
    let same = dry_run(&world, &["--set", "run.name=next", "--set", "pretrain.steps=60"]);
    for stage in ["pretrain", "simulate", "adapt", "evaluate"] {
        assert!(
            same.contains(&format!("time of {stage}: as in run `before`")),
            "{same}"
        );
        assert!(row(&same, stage)[3].starts_with("about "), "{same}");
    }
    assert!(!same.contains("unknown"), "{same}");
    // Another crop is another step.
    let other = dry_run(&world, &["--set", "run.name=next", "--set", "adapt.crop=32"]);
    assert_eq!(row(&other, "adapt")[3], "?", "{other}");
    assert!(row(&other, "pretrain")[3].starts_with("about "), "{other}");
    assert!(other.contains("time: of the other stages is unknown"), "{other}");
    // So is a run on more workers.
    let arguments = ["train", "--dry-run", "--workers", "3", "--set", "run.name=next"];
    let more = world.start(&arguments).finish().expect(0).out;
    assert_eq!(row(&more, "adapt")[3], "?", "{more}");
}

#[test]
fn what_a_file_extends_is_as_if_it_said_it_itself() {
    let world = World::new();
    let whole = world.train("small", 2, &[]);
    // Data, weights and domains lie with another team.
    let text = fs::read_to_string(world.path("run.toml")).unwrap();
    let (shared, own): (Vec<&str>, Vec<&str>) = text.split("\n\n").partition(|section| {
        ["[clip]", "[source]", "[[domain]]", "[[evaluate.set]]"]
            .iter()
            .any(|heading| section.starts_with(heading))
    });
    fs::create_dir(world.path("shared")).unwrap();
    let shared = shared
        .join("\n\n")
        .replace("= \"clip.", "= \"../clip.")
        .replace("= \"data/", "= \"../data/");
    fs::write(world.path("shared/base.toml"), shared).unwrap();
    let own = format!("extends = \"shared/base.toml\"\n{}", own.join("\n\n"));
    fs::write(world.path("run.toml"), own).unwrap();
    assert_eq!(world.train("extended", 1, &[]), whole);
    let kept = |run: &str| {
        let text = fs::read_to_string(world.path("runs").join(run).join("run.toml")).unwrap();
        text.replace(&format!("name = \"{run}\""), "")
    };
    assert_eq!(kept("extended"), kept("small"));
    // What lies there is the merged configuration, which needs the files no more.
    fs::remove_dir_all(world.path("shared")).unwrap();
    let resumed = world.start(&["resume", "runs/extended"]).finish().expect(0);
    assert!(resumed.err.contains("finished already"), "{}", resumed.err);
    let compared = world
        .start(&["compare", "runs/small", "runs/extended"])
        .finish()
        .expect(0);
    assert!(compared.out.contains("extended"), "{}", compared.out);
}
