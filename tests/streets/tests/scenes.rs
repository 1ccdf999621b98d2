//! What a drawn scene promises: its key fixes its bytes, its labels are legal, weather leaves them alone.

use std::collections::BTreeSet;

use ulda_streets::{Condition, Label, Request, SceneKey, Size, Style, TRAIN_CLASSES, draw_item, items};

const SMALL: Size = Size {
    width: 128,
    height: 64,
};
const CONDITIONS: [Condition; 6] = [
    Condition::Clear,
    Condition::Fog,
    Condition::Night,
    Condition::Rain,
    Condition::Snow,
    Condition::Game,
];

fn key(style: Style, index: u32) -> SceneKey {
    SceneKey {
        seed: 7,
        style,
        split: 3,
        index,
    }
}

#[test]
fn same_key_same_bytes_and_other_keys_other_bytes() {
    let first = key(Style::Cityscapes, 0).picture(Condition::Rain, SMALL);
    assert_eq!(first, key(Style::Cityscapes, 0).picture(Condition::Rain, SMALL));
    assert_ne!(first, key(Style::Cityscapes, 1).picture(Condition::Rain, SMALL));
    assert_ne!(
        first,
        SceneKey {
            seed: 8,
            ..key(Style::Cityscapes, 0)
        }
        .picture(Condition::Rain, SMALL)
    );
    assert_ne!(
        first,
        SceneKey {
            split: 4,
            ..key(Style::Cityscapes, 0)
        }
        .picture(Condition::Rain, SMALL)
    );
}

#[test]
fn splits_and_conditions_of_a_request_show_different_scenes() {
    let request = Request {
        size: SMALL,
        gta_size: SMALL,
        train: 2,
        val: 2,
        per_condition: 1,
        gta: 2,
        ..Request::new("unused")
    };
    let labels: BTreeSet<_> = items(&request)
        .iter()
        .map(|item| draw_item(&request, item).labels)
        .collect();
    assert_eq!(labels.len(), 2 + 2 + 8 + 2);
}

#[test]
fn weather_keeps_labels_and_changes_the_picture() {
    for style in [Style::Cityscapes, Style::Acdc, Style::Gta] {
        let pictures = CONDITIONS.map(|condition| key(style, 2).picture(condition, SMALL));
        for (at, picture) in pictures.iter().enumerate() {
            assert_eq!(
                picture.labels, pictures[0].labels,
                "{style:?} {:?}",
                CONDITIONS[at]
            );
            assert!(pictures[..at].iter().all(|other| other.rgb != picture.rgb));
        }
    }
}

#[test]
fn labels_are_legal_and_classes_many() {
    let legal: BTreeSet<u8> = (0..=33).collect();
    for (style, condition) in [
        (Style::Cityscapes, Condition::Clear),
        (Style::Acdc, Condition::Fog),
        (Style::Gta, Condition::Game),
    ] {
        let mut present = BTreeSet::new();
        let mut ignored = false;
        for index in 0..8 {
            let picture = key(style, index).picture(condition, SMALL);
            let ids: BTreeSet<u8> = picture.labels.iter().copied().collect();
            assert!(ids.is_subset(&legal));
            for common in [
                Label::Road,
                Label::Sidewalk,
                Label::Building,
                Label::Vegetation,
                Label::Sky,
            ] {
                assert!(
                    ids.contains(&(common as u8)),
                    "{style:?} scene {index} has no {common:?}"
                );
            }
            ignored |= ids.iter().any(|id| !TRAIN_CLASSES.contains(id));
            present.extend(ids);
        }
        let classes = TRAIN_CLASSES.iter().filter(|id| present.contains(id)).count();
        assert!(classes >= 14, "{style:?} shows {classes} classes");
        assert!(ignored, "{style:?} has no pixel that training ignores");
    }
}

#[test]
fn all_nineteen_classes_occur_in_a_small_set() {
    let mut present = BTreeSet::new();
    for index in 0..40 {
        for style in [Style::Cityscapes, Style::Acdc] {
            present.extend(key(style, index).picture(Condition::Clear, SMALL).labels);
        }
    }
    let missing: Vec<_> = TRAIN_CLASSES.iter().filter(|id| !present.contains(id)).collect();
    assert!(missing.is_empty(), "no pixel of label ids {missing:?}");
}

#[test]
fn any_size_has_a_byte_for_every_pixel() {
    for (width, height) in [(16, 16), (17, 91), (320, 40), (64, 200)] {
        let size = Size { width, height };
        let picture = key(Style::Acdc, 5).picture(Condition::Snow, size);
        assert_eq!(picture.size, size);
        assert_eq!(picture.rgb.len(), size.pixels() * 3);
        assert_eq!(picture.labels.len(), size.pixels());
    }
}

fn mean(picture: &[u8]) -> f64 {
    picture.iter().map(|&b| f64::from(b)).sum::<f64>() / picture.len() as f64
}

/// The spread of brightness over the farther things: what fog takes away.
fn contrast(rgb: &[u8], size: Size) -> f64 {
    let rows = size.height as usize * 3 / 10..size.height as usize * 5 / 10;
    let band = &rgb[rows.start * size.width as usize * 3..rows.end * size.width as usize * 3];
    let middle = mean(band);
    (band.iter().map(|&b| (f64::from(b) - middle).powi(2)).sum::<f64>() / band.len() as f64).sqrt()
}

#[test]
fn conditions_look_like_their_names() {
    let (mut night, mut clear, mut snow_road, mut clear_road, mut fog, mut sharp) =
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for index in 0..6 {
        let see = |condition| key(Style::Acdc, index).picture(condition, SMALL);
        let [day, dark, white, grey] = [
            Condition::Clear,
            Condition::Night,
            Condition::Snow,
            Condition::Fog,
        ]
        .map(see);
        let road = |rgb: &[u8]| {
            let (mut sum, mut count) = (0.0, 0.0);
            for (pixel, &id) in rgb.chunks_exact(3).zip(&day.labels) {
                if [Label::Road as u8, Label::Terrain as u8, Label::Sidewalk as u8].contains(&id) {
                    sum += f64::from(pixel[1]);
                    count += 1.0;
                }
            }
            sum / count
        };
        night += mean(&dark.rgb);
        clear += mean(&day.rgb);
        snow_road += road(&white.rgb);
        clear_road += road(&day.rgb);
        fog += contrast(&grey.rgb, SMALL);
        sharp += contrast(&day.rgb, SMALL);
    }
    assert!(night < clear * 0.6, "night {night:.0}, day {clear:.0}");
    assert!(
        snow_road > clear_road * 1.2,
        "snow {snow_road:.0}, dry {clear_road:.0}"
    );
    assert!(fog < sharp * 0.6, "fog {fog:.0}, clear {sharp:.0}");
}

#[test]
fn lamps_at_night_are_bright_to_their_middle() {
    let size = Size {
        width: 256,
        height: 128,
    };
    let brightest = (0..4)
        .map(|index| key(Style::Acdc, index).picture(Condition::Night, size))
        .map(|picture| {
            picture
                .rgb
                .chunks_exact(3)
                .filter(|p| p.iter().all(|&b| b > 240))
                .count()
        })
        .sum::<usize>();
    assert!(brightest > 40, "{brightest} white pixels in four night scenes");
}
