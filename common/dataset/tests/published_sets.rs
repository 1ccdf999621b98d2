//! The data sets of docs/data.md: a generated folder of each is listed, audited and loaded with the section that the page gives.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{fixture, write_filled, write_grey, write_indexed};
use ulda_dataset::{Dataset, Depth, Sampling, Size, load};
use ulda_run::Classes;
use ulda_run::spec::{EndAfter, EvaluationSetConfig, Host, RunConfig, RunSpec};

/// That of the JPEG files among the fixtures.
const SIZE: Size = Size::new(29, 21);

/// How a data set stores its ids.
#[derive(Clone, Copy, PartialEq)]
enum Stored {
    Grey,
    Indexed,
}

/// A published data set with a few of its files.
struct Published {
    heading: &'static str,
    /// For each `[[evaluate.set]]` of the section, images with their labels.
    sets: &'static [&'static [(&'static str, &'static str)]],
    /// Beside them: files that are no samples, and list files.
    others: &'static [(&'static str, &'static str)],
    stored: Stored,
    /// Ids in its labels, and what they are to training.
    ids: &'static [(u8, u8)],
}

/// Label ids of Cityscapes: unlabelled, road, licence plate.
const LABEL_IDS: &[(u8, u8)] = &[(0, 255), (7, 0), (33, 18), (34, 255)];
const TRAIN_IDS: &[(u8, u8)] = &[(0, 0), (18, 18), (255, 255)];

const PUBLISHED: &[Published] = &[
    Published {
        heading: "ACDC",
        sets: &[&[(
            "rgb_anon/night/val/GOPR0356/GOPR0356_frame_000321_rgb_anon.png",
            "gt/night/val/GOPR0356/GOPR0356_frame_000321_gt_labelIds.png",
        )]],
        others: &[(
            "gt/night/val/GOPR0356/GOPR0356_frame_000321_gt_labelColor.png",
            "",
        )],
        stored: Stored::Grey,
        ids: LABEL_IDS,
    },
    Published {
        heading: "Dark Zurich",
        sets: &[&[
            (
                "rgb_anon/val/night/GOPR0356/GOPR0356_frame_000321_rgb_anon.png",
                "gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_labelTrainIds.png",
            ),
            (
                "rgb_anon/val/night/GOPR0356/GOPR0356_frame_000324_rgb_anon.png",
                "gt/val/night/GOPR0356/GOPR0356_frame_000324_gt_labelTrainIds.png",
            ),
        ]],
        others: &[(
            "rgb_anon/val_ref/day/GOPR0356/GOPR0356_frame_000321_rgb_anon.png",
            "",
        )],
        stored: Stored::Grey,
        ids: TRAIN_IDS,
    },
    Published {
        heading: "Foggy Zurich",
        sets: &[&[
            (
                "RGB/GP010229/1508040913.0_frame_000955.png",
                "gt_labelTrainIds/GP010229/1508040913.0_frame_000955.png",
            ),
            (
                "RGB/GOPR0122/1508039851.0_frame_000351.png",
                "gt_labelTrainIds/GOPR0122/1508039851.0_frame_000351.png",
            ),
        ]],
        others: &[
            ("RGB/GP010229/1508040913.0_frame_000956.png", ""),
            (
                "lists_file_names/RGB_testv2_filenames.txt",
                "RGB/GP010229/1508040913.0_frame_000955.png\nRGB/GOPR0122/1508039851.0_frame_000351.png\n",
            ),
            (
                "lists_file_names/gt_labelTrainIds_testv2_filenames.txt",
                "gt_labelTrainIds/GP010229/1508040913.0_frame_000955.png\n\
                 gt_labelTrainIds/GOPR0122/1508039851.0_frame_000351.png\n",
            ),
        ],
        stored: Stored::Grey,
        ids: TRAIN_IDS,
    },
    Published {
        heading: "Foggy Driving",
        sets: &[
            &[
                (
                    "leftImg8bit/test/pedestrian/pedestrian_20161201_101324_leftImg8bit.png",
                    "gtFine/test/pedestrian/pedestrian_20161201_101324_gtFine_labelIds.png",
                ),
                (
                    "leftImg8bit/test/public/public_1_1_leftImg8bit.png",
                    "gtFine/test/public/public_1_1_gtFine_labelIds.png",
                ),
            ],
            &[(
                "leftImg8bit/test_extra/web/web_1_1_leftImg8bit.png",
                "gtCoarse/test_extra/web/web_1_1_gtCoarse_labelIds.png",
            )],
        ],
        others: &[("bboxGt/test/public/public_1_1.txt", "0 1 1 2 2")],
        stored: Stored::Grey,
        ids: LABEL_IDS,
    },
    Published {
        heading: "Nighttime Driving",
        sets: &[&[(
            "leftImg8bit/test/night/0_frame_0001_leftImg8bit.png",
            "gtCoarse_daytime_trainvaltest/test/night/0_frame_0001_gtCoarse_labelTrainIds.png",
        )]],
        others: &[("leftImg8bit/test/night/.DS_Store", "")],
        stored: Stored::Grey,
        ids: TRAIN_IDS,
    },
    Published {
        heading: "BDD100K",
        sets: &[&[
            (
                "images/10k/val/7d06fefd-f7be05a6.jpg",
                "labels/sem_seg/masks/val/7d06fefd-f7be05a6.png",
            ),
            (
                "images/10k/val/7d128593-0ccfea4c.jpg",
                "labels/sem_seg/masks/val/7d128593-0ccfea4c.png",
            ),
        ]],
        others: &[
            ("images/10k/test/ac517380-00000000.jpg", ""),
            ("labels/sem_seg/colormaps/val/7d06fefd-f7be05a6.png", ""),
        ],
        stored: Stored::Grey,
        ids: TRAIN_IDS,
    },
    Published {
        heading: "Mapillary Vistas",
        sets: &[&[(
            "validation/images/03G8WHFnNfiJR-457i0MWQ.jpg",
            "validation/v1.2/labels/03G8WHFnNfiJR-457i0MWQ.png",
        )]],
        others: &[("validation/v2.0/labels/03G8WHFnNfiJR-457i0MWQ.png", "")],
        stored: Stored::Indexed,
        // Lane marking, curb, car, ego vehicle, unlabelled.
        ids: &[(24, 0), (2, 1), (55, 13), (64, 255), (65, 255)],
    },
    Published {
        heading: "WildDash",
        sets: &[&[("images/ab0001_100000.jpg", "labels/ab0001_100000.png")]],
        others: &[("panoptic.json", "{}")],
        stored: Stored::Grey,
        ids: &[(0, 255), (7, 0), (33, 18), (38, 255)],
    },
    Published {
        heading: "NightCity",
        sets: &[&[
            (
                "NightCity-images/images/val/Chicago_0004.jpg",
                "NightCity-label/label/val/Chicago_0004_labelIds.png",
            ),
            (
                "NightCity-images/images/val/Tokyo_0012.png",
                "NightCity-label/label/val/Tokyo_0012_labelIds.png",
            ),
        ]],
        others: &[("NightCity-label/color/val/Chicago_0004.png", "")],
        stored: Stored::Grey,
        ids: LABEL_IDS,
    },
    Published {
        heading: "IDD",
        sets: &[&[
            (
                "leftImg8bit/val/119/903127_leftImg8bit.png",
                "gtFine/val/119/903127_gtFine_labelcsTrainIds.png",
            ),
            (
                "leftImg8bit/val/201/frame0029_leftImg8bit.jpg",
                "gtFine/val/201/frame0029_gtFine_labelcsTrainIds.png",
            ),
            (
                "leftImg8bit/val/202/frame0029_leftImg8bit.jpg",
                "gtFine/val/202/frame0029_gtFine_labelcsTrainIds.png",
            ),
        ]],
        others: &[("gtFine/val/119/903127_gtFine_polygons.json", "{}")],
        stored: Stored::Grey,
        ids: TRAIN_IDS,
    },
];

/// The section of docs/data.md under a heading, without its prose.
fn documented(heading: &str) -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/data.md")).unwrap();
    let section = page
        .split("\n## ")
        .find(|section| section.lines().next() == Some(heading));
    let section = section.unwrap_or_else(|| panic!("docs/data.md has no section `{heading}`"));
    let (_, block) = section.split_once("```toml\n").unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

/// The run.toml with a section of the page must be one that can be started.
fn sets_of(section: &str) -> Vec<EvaluationSetConfig> {
    let mut config: RunConfig = toml::from_str(section).unwrap();
    config.clip.checkpoint = "RN50.pt".into();
    if config.source.root.as_os_str().is_empty() {
        config.source.root = "cityscapes".into();
    }
    config.run.end_after = EndAfter::Pretrain;
    let spec = RunSpec::resolve(config, Host { workers: 1, cores: 1 }).unwrap();
    let again: RunConfig = toml::from_str(&spec.to_toml()).unwrap();
    assert_eq!(&again, spec.config(), "the resolved run.toml says the same");
    again.evaluate.sets
}

fn create(path: &Path) -> &Path {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    path
}

fn build(root: &Path, set: &Published) {
    let ids: Vec<u8> = (0..SIZE.pixels())
        .map(|at| set.ids[at % set.ids.len()].0)
        .collect();
    for (image, label) in set.sets.iter().copied().flatten() {
        let path = root.join(image);
        if image.ends_with(".jpg") {
            fs::copy(fixture("jpeg/quarter_chroma.jpg"), create(&path)).unwrap();
        } else {
            write_filled(create(&path), SIZE, 9);
        }
        let write = match set.stored {
            Stored::Grey => write_grey,
            Stored::Indexed => write_indexed,
        };
        write(create(&root.join(label)), SIZE, &ids);
    }
    for (file, text) in set.others {
        fs::write(create(&root.join(file)), text).unwrap();
    }
}

#[test]
fn published_sets_are_read_with_the_sections_of_the_page() {
    for set in PUBLISHED {
        let heading = set.heading;
        let folder = tempfile::tempdir().unwrap();
        build(folder.path(), set);
        let configs = sets_of(&documented(heading));
        assert_eq!(configs.len(), set.sets.len(), "{heading}");
        for (mut config, files) in configs.into_iter().zip(set.sets) {
            config.root = folder.path().to_owned();
            let dataset = Dataset::open(&config.dataset(&Classes::default()))
                .unwrap_or_else(|error| panic!("{heading}: {error}"));
            let pairs: Vec<(PathBuf, PathBuf)> = dataset
                .samples
                .iter()
                .map(|sample| (sample.image.clone(), sample.label.clone()))
                .collect();
            let wanted: Vec<_> = files
                .iter()
                .map(|(image, label)| (folder.path().join(image), folder.path().join(label)))
                .collect();
            assert_eq!(pairs, wanted, "{heading}");
            let mut names: Vec<&String> = dataset.samples.iter().map(|sample| &sample.name).collect();
            names.dedup();
            assert_eq!(
                names.len(),
                files.len(),
                "{heading}: every sample has its own name"
            );
            assert!(dataset.audit(Depth::Pixels, None).is_empty(), "{heading}");
            let example = load(&dataset, 0, &Sampling::default()).unwrap();
            for (at, id) in example.label.iter().enumerate() {
                assert_eq!(*id, set.ids[at % set.ids.len()].1, "{heading}, pixel {at}");
            }
        }
    }
}

#[test]
fn the_source_section_of_the_page_has_two_splits() {
    let folder = tempfile::tempdir().unwrap();
    let bdd = PUBLISHED.iter().find(|set| set.heading == "BDD100K").unwrap();
    build(folder.path(), bdd);
    let mut config: RunConfig = toml::from_str(&documented("Images and labels")).unwrap();
    config.source.root = folder.path().to_owned();
    assert_eq!(
        Dataset::open(&config.source.validation_set(&Classes::default()))
            .unwrap()
            .len(),
        2
    );
    let missing = Dataset::open(&config.source.training_set(&Classes::default())).unwrap_err();
    assert!(
        missing.to_string().contains("images/10k/train` does not exist"),
        "{missing}"
    );
}

#[test]
fn acdc_is_a_source_by_the_section_of_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let named = |condition: &str, split: &str| {
        let frame = |what: &str, kind: &str| {
            format!("{what}/{condition}/{split}/GOPR0356/GOPR0356_frame_000321_{kind}.png")
        };
        (frame("rgb_anon", "rgb_anon"), frame("gt", "gt_labelIds"))
    };
    let ids: Vec<u8> = (0..SIZE.pixels())
        .map(|at| LABEL_IDS[at % LABEL_IDS.len()].0)
        .collect();
    for condition in ["night", "rain"] {
        for split in ["train", "val", "train_ref"] {
            let (image, label) = named(condition, split);
            write_filled(create(&folder.path().join(image)), SIZE, 9);
            if split != "train_ref" {
                write_grey(create(&folder.path().join(label)), SIZE, &ids);
            }
        }
    }
    let section = documented("Training on ACDC");
    for (section, conditions) in [
        (section.clone(), &["night"][..]),
        (section.replace("/night/", "/*/"), &["night", "rain"]),
    ] {
        let mut config: RunConfig = toml::from_str(&section).unwrap();
        config.source.root = folder.path().to_owned();
        config.clip.checkpoint = "RN50.pt".into();
        config.run.end_after = EndAfter::Pretrain;
        let spec = RunSpec::resolve(config, Host { workers: 1, cores: 1 }).unwrap();
        let (source, classes) = (&spec.config().source, spec.classes());
        for (split, set) in [
            ("train", source.training_set(&classes)),
            ("val", source.validation_set(&classes)),
        ] {
            let dataset = Dataset::open(&set).unwrap();
            let images: Vec<_> = dataset
                .samples
                .iter()
                .map(|sample| sample.image.clone())
                .collect();
            let wanted: Vec<_> = conditions
                .iter()
                .map(|condition| folder.path().join(named(condition, split).0))
                .collect();
            assert_eq!(images, wanted);
            assert!(dataset.audit(Depth::Pixels, None).is_empty());
            let example = load(&dataset, 0, &Sampling::default()).unwrap();
            assert_eq!(example.label[..4], [255, 0, 18, 255]);
        }
    }
}
