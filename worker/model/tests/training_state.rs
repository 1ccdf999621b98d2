//! Trainings that the authors' scripts saved, as PyTorch wrote one and as files that lack something.

#![allow(clippy::unwrap_used)]

mod forge;

use std::path::{Path, PathBuf};

use forge::*;
use tch::Kind;
use ulda_model::{Head, TrainingState, Weights};

/// Three steps of stage 2 by `make_training.py` beside it.
fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stage2_training.pth")
}

fn head() -> Head {
    Head::load(&Weights::read(&fixture()).unwrap()).unwrap()
}

#[test]
fn momentum_belongs_to_the_parameter_whose_number_it_has() {
    let head = head();
    let training = TrainingState::read(&fixture(), &head).unwrap();
    assert_eq!(training.steps, 3);
    assert_eq!(training.lr, Some(0.01));
    assert_eq!(training.momentum_factor, Some(0.9));
    assert_eq!(training.weight_decay, Some(1e-4));
    assert_eq!(training.schedule_steps, Some(8));
    assert!(!training.trains_backbone);
    let parameters = head.parameters();
    assert_eq!(training.momentum.len(), parameters.len());
    for (number, ((name, momentum), (parameter, value))) in
        (1..).zip(training.momentum.iter().zip(&parameters))
    {
        assert_eq!(name, parameter);
        assert_eq!(momentum.size(), value.size(), "{name}");
        let off = (momentum - 2.71 * f64::from(number)).abs().max();
        assert!(off.double_value(&[]) < 1e-3, "{name} is number {number}");
    }
}

/// The optimiser of a head of 26 parameters, whose group stands after `before` others.
fn optimiser(before: usize, momentum: impl Fn(i64) -> Option<Vec<u8>>) -> Vec<u8> {
    let group = |params: std::ops::Range<i64>| {
        dict(&[
            ("lr", float(0.05)),
            ("params", list(&params.map(int).collect::<Vec<_>>())),
        ])
    };
    let first = 3 * before as i64;
    let mut groups: Vec<_> = (0..before as i64).map(|at| group(3 * at..3 * at + 3)).collect();
    groups.push(group(first..first + 26));
    let states: Vec<_> = (0..first + 26)
        .filter_map(|number| Some((number, dict(&[("momentum_buffer", momentum(number)?)]))))
        .collect();
    dict(&[("state", numbered_dict(&states)), ("param_groups", list(&groups))])
}

fn training(root: &[(&str, Vec<u8>)]) -> Result<TrainingState, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = state_archive(folder.path(), "training.pth", &dict(root));
    TrainingState::read(&path, &head()).map_err(|error| format!("{error}; hint: {}", error.hint().unwrap()))
}

#[test]
fn what_a_file_lacks_is_named_and_what_it_may_lack_is_not() {
    let head = head();
    let shapes: Vec<_> = head
        .parameters()
        .into_iter()
        .map(|(_, value)| value.size())
        .collect();
    // All of one storage of eight numbers, whatever the shape.
    let of_shape = |size: &[i64]| {
        let strides = vec![0; size.len()];
        tensor(storage("HalfStorage", "0", 16), 0, size, &strides)
    };
    let nothing = |_: i64| Some(b"N".to_vec());
    let steps = ("cur_itrs", int(7));
    let halves = optimiser(2, |number| {
        let shape = shapes.get(usize::try_from(number - 6).ok()?)?;
        (number != 8).then(|| of_shape(shape))
    });
    let found = training(&[steps.clone(), ("optimizer_state", halves.clone())]).unwrap();
    assert!(found.trains_backbone);
    assert_eq!((found.steps, found.lr), (7, Some(0.05)));
    assert_eq!((found.momentum_factor, found.schedule_steps), (None, None));
    assert!(
        found
            .momentum
            .iter()
            .all(|(_, tensor)| tensor.kind() == Kind::Float)
    );
    let schedule = dict(&[("max_iters", float(200e3))]);
    let found = training(&[
        steps.clone(),
        ("optimizer_state", halves.clone()),
        ("scheduler_state", schedule),
    ]);
    assert_eq!(found.unwrap().schedule_steps, Some(200_000));

    let short = dict(&[
        ("state", numbered_dict(&[])),
        ("param_groups", list(&[dict(&[("params", list(&[int(0)]))])])),
    ]);
    for (root, what) in [
        (
            vec![steps.clone()],
            "is of a model alone: it has no `optimizer_state`",
        ),
        (vec![("optimizer_state", halves.clone())], "it has no `cur_itrs`"),
        (
            vec![("cur_itrs", int(-1)), ("optimizer_state", halves)],
            "it has no `cur_itrs`",
        ),
        (
            vec![steps.clone(), ("optimizer_state", short)],
            "an optimiser without a group of 26 parameters",
        ),
        (
            vec![steps.clone(), ("optimizer_state", optimiser(0, nothing))],
            "without momentum of the head, unlike SGD with momentum",
        ),
        (
            vec![
                steps,
                ("optimizer_state", optimiser(0, |_| Some(of_shape(&[2, 2])))),
            ],
            "has momentum of shape [2, 2] for `classifier.project.0.weight`, expected [1, 3, 1, 1]",
        ),
    ] {
        let said = training(&root).unwrap_err();
        assert!(
            said.contains(what) && said.contains("so its training cannot go on; hint: name a checkpoint"),
            "{what}: {said}"
        );
    }
}

/// A source checkpoint as the authors' `main.py` saves it.
#[test]
fn a_source_checkpoint_is_a_training_and_other_formats_hold_none() {
    let source = ulda_golden::path("tiny_source.pth");
    let head = Head::load(&Weights::read(&source).unwrap()).unwrap();
    let training = TrainingState::read(&source, &head).unwrap();
    assert_eq!(
        (training.steps, training.schedule_steps, training.lr),
        (200_000, Some(200_000), Some(0.1))
    );
    for file in ["tiny_source.safetensors", "tiny_clip.pt"] {
        let path = ulda_golden::path(file);
        let said = TrainingState::read(&path, &head).unwrap_err().to_string();
        assert!(said.contains("it has no `optimizer_state`"), "{said}");
    }
}
