//! Tensors of pickles: every kind of storage, views of shared ones, parameters, and the attributes of modules.

#![allow(clippy::unwrap_used)]

mod forge;

use forge::*;
use tch::Kind;
use ulda_model::Weights;

fn floats(weights: &Weights, name: &str) -> Vec<f64> {
    let flat = weights.get(name).unwrap().to_kind(Kind::Double).flatten(0, -1);
    flat.try_into().unwrap()
}

#[test]
fn views_of_one_storage_follow_their_strides() {
    let folder = tempfile::tempdir().unwrap();
    let view =
        |offset, size: &[i64], stride: &[i64]| tensor(storage("FloatStorage", "0", 8), offset, size, stride);
    let parameter = |tensor| {
        let hooks = call("collections", "OrderedDict", &[]);
        call(
            "torch._utils",
            "_rebuild_parameter",
            &[tensor, b"\x88".to_vec(), hooks],
        )
    };
    type View<'a> = (&'a str, Vec<u8>, &'a [i64], &'a [f64]);
    let views: [View<'_>; 7] = [
        (
            "whole",
            view(0, &[2, 4], &[4, 1]),
            &[2, 4],
            &[0., 1., 2., 3., 4., 5., 6., 7.],
        ),
        (
            "transposed",
            view(0, &[4, 2], &[1, 4]),
            &[4, 2],
            &[0., 4., 1., 5., 2., 6., 3., 7.],
        ),
        ("part", view(3, &[2], &[2]), &[2], &[3., 5.]),
        ("expanded", view(6, &[2, 2], &[0, 1]), &[2, 2], &[6., 7., 6., 7.]),
        ("scalar", view(7, &[], &[]), &[], &[7.]),
        ("empty", view(8, &[0, 3], &[3, 1]), &[0, 3], &[]),
        ("parameter", parameter(view(1, &[1, 1], &[9, 9])), &[1, 1], &[1.]),
    ];
    let entries: Vec<_> = views
        .iter()
        .map(|(name, value, ..)| (*name, value.clone()))
        .collect();
    // As `module.state_dict()` is pickled: an ordered dictionary with version numbers built into it.
    let ordered = [
        call("collections", "OrderedDict", &[]),
        dict(&entries)[1..].to_vec(),
        dict(&[("_metadata", call("collections", "OrderedDict", &[]))]),
        b"b".to_vec(),
    ]
    .concat();
    let beside = dict(&[("cur_itrs", int(3)), ("model_state", ordered.clone())]);
    let lightning = dict(&[("epoch", int(3)), ("state_dict", ordered.clone())]);
    let mut digests = Vec::new();
    for state in [dict(&entries), ordered, beside, lightning] {
        let weights = Weights::read(&state_archive(folder.path(), "views.pth", &state)).unwrap();
        assert_eq!(weights.names().count(), views.len());
        for (name, _, size, values) in &views {
            assert_eq!(weights.shape(name).as_deref(), Some(*size), "{name}");
            assert_eq!(floats(&weights, name), *values, "{name}");
        }
        digests.push(weights.digest().to_owned());
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);
}

#[test]
fn the_prefix_of_a_wrapped_network_is_taken_off_where_all_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let names = |entries: &[(&str, Vec<u8>)]| -> Vec<String> {
        let state = dict(&[("state_dict", dict(entries))]);
        let weights = Weights::read(&state_archive(folder.path(), "wrapped.pth", &state)).unwrap();
        weights.names().map(str::to_owned).collect()
    };
    let wrapped = [
        ("module.backbone.conv1.weight", row("0", 8)),
        ("module.module.bias", row("0", 2)),
        ("ulda.classes", row("0", 1)),
    ];
    assert_eq!(
        names(&wrapped),
        ["backbone.conv1.weight", "module.bias", "ulda.classes"]
    );
    let mixed = [("module.a", row("0", 8)), ("b", row("0", 2))];
    assert_eq!(names(&mixed), ["b", "module.a"]);
}

#[test]
fn every_kind_of_storage_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, &[u8], Kind, f64); 10] = [
        ("DoubleStorage", &1.5_f64.to_le_bytes(), Kind::Float, 1.5),
        ("FloatStorage", &1.5_f32.to_le_bytes(), Kind::Float, 1.5),
        ("HalfStorage", &[0x00, 0xbe], Kind::Float, -1.5),
        ("BFloat16Storage", &[0xc0, 0xbf], Kind::Float, -1.5),
        ("LongStorage", &(-5_i64).to_le_bytes(), Kind::Int64, -5.),
        ("IntStorage", &(-5_i32).to_le_bytes(), Kind::Int64, -5.),
        ("ShortStorage", &(-5_i16).to_le_bytes(), Kind::Int64, -5.),
        ("CharStorage", &[0xfb], Kind::Int64, -5.),
        ("ByteStorage", &[0xfb], Kind::Int64, 251.),
        ("BoolStorage", &[1], Kind::Int64, 1.),
    ];
    for (class, bytes, kind, value) in cases {
        let state = pickle(&dict(&[("a", tensor(storage(class, "key", 1), 0, &[1], &[1]))]));
        let entries = [("data.pkl", &state[..]), ("data/key", bytes)];
        let weights = Weights::read(&archive(folder.path(), "kind.pth", &entries)).unwrap();
        assert_eq!(weights.get("a").unwrap().kind(), kind, "{class}");
        assert_eq!(floats(&weights, "a"), [value], "{class}");
    }
}

/// Tensors and integers by their path; other attributes are of no interest.
#[test]
fn attributes_of_modules_are_named_by_their_path() {
    let folder = tempfile::tempdir().unwrap();
    let inner = object(
        "clip.Inner",
        dict(&[
            ("weight", row("0", 2)),
            ("training", b"\x89".to_vec()),
            ("level", int(4)),
        ]),
    );
    let root = object(
        "clip.Outer",
        dict(&[
            ("input_resolution", int(224)),
            ("visual", inner),
            ("name", text("RN50")),
            ("hook", b"N".to_vec()),
            ("bias", row("0", 1)),
        ]),
    );
    let model = pickle(&root);
    let entries = [
        ("data.pkl", &model[..]),
        ("constants.pkl", b"\x80\x02)."),
        ("data/0", &eight()),
    ];
    let weights = Weights::read(&archive(folder.path(), "model.pt", &entries)).unwrap();
    assert_eq!(
        weights.names().collect::<Vec<_>>(),
        ["bias", "input_resolution", "visual.level", "visual.weight"]
    );
    assert_eq!(floats(&weights, "input_resolution"), [224.]);
    assert_eq!(weights.shape("input_resolution"), Some(vec![]));
    assert_eq!(floats(&weights, "visual.weight"), [0., 1.]);
}
