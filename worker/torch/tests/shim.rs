//! Hooks, gradient slots, dropout and switches.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use tch::{Device, Kind, Tensor};
use ulda_torch::grad::GradientHooks;
use ulda_torch::runtime::{self, Autocast, InferenceMode};
use ulda_torch::{
    ConvStep, RunningStatistic, Staging, Update, conv2d_relu, dropout, dropout_parts, fused_sgd,
    gather_gradients, host_values, host_values_mut, move_running, set_grad,
};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

fn leaf(values: &[f32]) -> Tensor {
    Tensor::from_slice(values).set_requires_grad(true)
}

#[test]
fn hooks_see_every_gradient_last_layer_first_until_the_guard_goes() {
    let parameters = [leaf(&[1.0, 2.0]), leaf(&[3.0, 4.0])];
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let guard = GradientHooks::install(&parameters, move |index| {
        log.lock().unwrap().push(index);
        Ok(())
    })
    .unwrap();
    let run = || {
        ((&parameters[0] * 2.0).exp() * &parameters[1])
            .sum(Kind::Float)
            .f_backward()
    };
    run().unwrap();
    assert_eq!(*seen.lock().unwrap(), [1, 0]);
    drop(guard);
    run().unwrap();
    assert_eq!(seen.lock().unwrap().len(), 2);
    assert_eq!(
        Arc::strong_count(&seen),
        1,
        "the closure is dropped with its guard"
    );
}

#[test]
fn an_error_or_panic_of_a_hook_comes_out_of_backward() {
    let parameters = [leaf(&[1.0])];
    for (panics, text) in [(false, "bucket 3 is gone"), (true, "callback panicked: oh")] {
        let _guard = GradientHooks::install(&parameters, move |_| {
            assert!(!panics, "oh");
            Err("bucket 3 is gone".to_owned())
        })
        .unwrap();
        let error = (&parameters[0] * 2.0)
            .sum(Kind::Float)
            .f_backward()
            .unwrap_err()
            .to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn a_hook_on_a_tensor_without_gradient_is_refused() {
    let error = GradientHooks::install(&[Tensor::zeros([2], CPU)], |_| Ok(()))
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "libtorch: gradient hook: parameter 0 is no leaf that requires a gradient"
    );
}

#[test]
fn gradients_accumulate_in_a_flat_buffer() {
    let parameters = [leaf(&[1.0, 2.0]), leaf(&[3.0, 4.0, 5.0])];
    let flat = Tensor::zeros([5], CPU);
    let mut offset = 0;
    for parameter in &parameters {
        let count = parameter.numel() as i64;
        set_grad(
            parameter,
            Some(&flat.narrow(0, offset, count).view_as(parameter).data()),
        )
        .unwrap();
        offset += count;
    }
    let run =
        || ((&parameters[0] * 2.0).sum(Kind::Float) + (&parameters[1] * 3.0).sum(Kind::Float)).backward();
    run();
    run();
    assert_eq!(flat, Tensor::from_slice(&[4.0_f32, 4.0, 6.0, 6.0, 6.0]));
    set_grad(&parameters[0], None).unwrap();
    assert!(!parameters[0].grad().defined());
}

#[test]
fn gradients_are_gathered_in_their_places() {
    let parameters = [leaf(&[1.0, 2.0]), leaf(&[3.0]), leaf(&[4.0])];
    let places = [2, 1, 1].map(|count| Tensor::full([count], 9.0, CPU));
    ((&parameters[0] * 2.0).sum(Kind::Float) + (&parameters[2] * 5.0).sum(Kind::Float)).backward();
    gather_gradients(&parameters, &places).unwrap();
    assert_eq!(
        Tensor::cat(&places, 0),
        Tensor::from_slice(&[2.0_f32, 2.0, 0.0, 5.0])
    );
    assert!(parameters[0].grad().defined(), "it stays where it was");
    let refused = gather_gradients(&parameters, &places[1..]).unwrap_err();
    assert!(
        refused.to_string().contains("2 places for 3 parameters"),
        "{refused}"
    );
    let refused = gather_gradients(&parameters[..1], &places[1..2]).unwrap_err();
    assert!(
        refused.to_string().contains("gradient 0 is [2], its place [1]"),
        "{refused}"
    );
}

#[test]
fn running_statistics_move_by_the_momentum() {
    let [mean, var] = [[1.0_f32, -2.0], [4.0, 0.5]].map(|values| Tensor::from_slice(&values));
    let [found_mean, found_var] = [[0.5_f32, 3.0], [2.0, 1.0]].map(|values| Tensor::from_slice(&values));
    let batches = Tensor::from_slice(&[7_i64]);
    let expected = [
        &mean * 0.9 + &found_mean * 0.1,
        &var * 0.9 + (&found_var * 1.25) * 0.1,
    ];
    let entry = |running, found, factor| RunningStatistic {
        running,
        found,
        factor,
    };
    let entries = [entry(&mean, &found_mean, 1.0), entry(&var, &found_var, 1.25)];
    move_running(&entries, &[&batches], 0.1).unwrap();
    assert_eq!([mean, var], expected);
    assert_eq!(batches, Tensor::from_slice(&[8_i64]));
}

#[test]
fn staged_bytes_arrive_in_order_and_parts_of_other_lengths_are_refused() {
    let parts: [&[u8]; 2] = [&[1, 2, 3, 4, 5, 6], &[7, 8, 9, 10, 11, 12]];
    let staged = |parts: &[&'static [u8]]| {
        Staging::of_bytes(parts.iter().copied(), &[2, 3], Device::Cpu).map(|staged| staged.send().unwrap())
    };
    let bytes = staged(&parts).unwrap();
    assert_eq!((bytes.size(), bytes.kind()), (vec![2, 2, 3], Kind::Uint8));
    let flat: Vec<u8> = bytes.flatten(0, -1).try_into().unwrap();
    assert_eq!(flat, (1..=12).collect::<Vec<u8>>());
    assert_eq!(staged(&[]).unwrap().size(), [0, 2, 3]);
    let refused = staged(&[&[1, 2, 3]]).unwrap_err();
    assert!(
        refused.to_string().contains("part 0 has 3 bytes, expected 6"),
        "{refused}"
    );
}

#[test]
fn a_frozen_convolution_takes_no_trained_weight() {
    let step = ConvStep {
        stride: 1,
        padding: 0,
        dilation: 1,
    };
    let (x, weight, bias) = (
        Tensor::ones([1, 2, 3, 3], CPU),
        Tensor::ones([1, 2, 1, 1], CPU),
        Tensor::full([1], -1.5, CPU),
    );
    let residual = Tensor::full([1, 1, 3, 3], -1.0, CPU);
    let y = conv2d_relu(&x, &weight, &bias, None, step).unwrap();
    assert_eq!(y.double_value(&[0, 0, 0, 0]), 0.5);
    let y = conv2d_relu(&x, &weight, &bias, Some(&residual), step).unwrap();
    assert_eq!(y.abs().max().double_value(&[]), 0.0);
    let trained = weight.copy().set_requires_grad(true);
    let refused = conv2d_relu(&x, &trained, &bias, None, step).unwrap_err();
    assert!(refused.to_string().contains("require no gradient"), "{refused}");
}

#[test]
fn dropout_depends_on_its_seed_alone() {
    let x = Tensor::ones([2, 8, 50, 50], CPU).set_requires_grad(true);
    tch::manual_seed(3);
    let untouched = Tensor::rand([4], CPU);
    tch::manual_seed(3);
    let first = dropout(&x, 0.1, 42).unwrap();
    assert_eq!(
        Tensor::rand([4], CPU),
        untouched,
        "the global generator is left alone"
    );
    let again = std::thread::scope(|scope| {
        let x = x.shallow_clone();
        let again = scope.spawn(move || {
            runtime::set_threads(1).unwrap();
            dropout(&x, 0.1, 42).unwrap()
        });
        again.join().unwrap()
    });
    assert_eq!(first, again);
    assert_ne!(first, dropout(&x, 0.1, 43).unwrap());
    let kept = first
        .gt(0.0)
        .to_kind(Kind::Float)
        .mean(Kind::Float)
        .double_value(&[]);
    assert!((kept - 0.9).abs() < 0.01, "{kept}");
    assert!((first.max().double_value(&[]) - 1.0 / 0.9).abs() < 1e-6);
    first.sum(Kind::Float).backward();
    assert_eq!(
        x.grad(),
        first.detach(),
        "the gradient passes where the value did"
    );
    assert_eq!(dropout(&x, 0.0, 1).unwrap(), x);
    assert_eq!(
        dropout(&x, 1.5, 1).unwrap_err().to_string(),
        "libtorch: dropout: dropout probability 1.5 is not in [0, 1)"
    );
}

#[test]
fn dropout_of_parts_has_the_mask_of_each_seed() {
    let x = Tensor::rand([6, 3, 4, 5], CPU);
    let parts = dropout_parts(&x, 0.3, &[5, 6, 7]).unwrap();
    for (part, seed) in [5, 6, 7].into_iter().enumerate() {
        let alone = dropout(&x.narrow(0, 2 * part as i64, 2), 0.3, seed).unwrap();
        assert_eq!(parts.narrow(0, 2 * part as i64, 2), alone);
    }
    assert_ne!(parts, dropout_parts(&x, 0.3, &[5, 6, 8]).unwrap());
    let error = dropout_parts(&x, 0.3, &[0; 4]).unwrap_err().to_string();
    assert_eq!(error, "libtorch: dropout: [6, 3, 4, 5] in 4 parts");
}

#[test]
fn guards_and_switches_restore_what_was() {
    let a = Tensor::rand([4, 4], CPU);
    {
        let _autocast = Autocast::enter(Device::Cpu, Kind::BFloat16).unwrap();
        assert_eq!(a.matmul(&a).kind(), Kind::BFloat16);
    }
    assert_eq!(a.matmul(&a).kind(), Kind::Float);
    assert!(Autocast::enter(Device::Cpu, Kind::Double).is_err());
    let weight = leaf(&[1.0]);
    {
        let _inference = InferenceMode::enter().unwrap();
        assert!(!(&weight * 2.0).requires_grad());
    }
    assert!((&weight * 2.0).requires_grad());
    let x = Tensor::rand([1, 3, 4, 5], CPU);
    let last = runtime::channels_last(&x).unwrap();
    assert_eq!(last, x);
    assert_eq!(last.stride(), [60, 1, 15, 3]);
    runtime::set_tf32(false).unwrap();
    runtime::set_deterministic(true).unwrap();
    runtime::set_deterministic(false).unwrap();
}

#[test]
fn threads_are_counted_per_thread() {
    std::thread::spawn(|| {
        runtime::set_threads(2).unwrap();
        assert_eq!(runtime::threads().unwrap(), 2);
        let other = std::thread::spawn(|| {
            runtime::set_threads(1).unwrap();
            runtime::threads().unwrap()
        });
        assert_eq!(other.join().unwrap(), 1);
        assert_eq!(runtime::threads().unwrap(), 2);
    })
    .join()
    .unwrap();
}

#[test]
fn cuda_memory_without_cuda_is_an_error() {
    if !tch::Cuda::is_available() {
        let error = ulda_torch::cuda::memory(0).unwrap_err().to_string();
        assert!(error.contains("no CUDA"), "{error}");
    }
}

#[test]
fn the_fused_update_is_pytorchs_sgd_on_every_entry_of_a_list() {
    let mut parameters = [Tensor::from_slice(&[1.0, -2.0]), Tensor::from_slice(&[3.0])];
    let mut velocities = [
        Tensor::zeros([2], (Kind::Double, Device::Cpu)),
        Tensor::from_slice(&[0.5]),
    ];
    let gradients = [Tensor::from_slice(&[0.25, 0.5]), Tensor::from_slice(&[-1.0])];
    for _ in 0..2 {
        let entries = parameters.iter_mut().zip(&gradients).zip(&mut velocities);
        let mut updates: Vec<Update<'_>> = entries
            .map(|((parameter, gradient), velocity)| Update {
                parameter,
                gradient,
                velocity,
            })
            .collect();
        fused_sgd(&mut updates, 0.5, 0.9, 0.1).unwrap();
    }
    let by_hand = |mut p: f64, g: f64, mut v: f64| {
        for _ in 0..2 {
            v = 0.9 * v + g + 0.1 * p;
            p -= 0.5 * v;
        }
        (p, v)
    };
    let close =
        |tensor: &Tensor, at: i64, expected: f64| (tensor.double_value(&[at]) - expected).abs() < 1e-12;
    for (tensor, at, (p, g, v)) in [
        (0, 0, (1.0, 0.25, 0.0)),
        (0, 1, (-2.0, 0.5, 0.0)),
        (1, 0, (3.0, -1.0, 0.5)),
    ] {
        let (parameter, velocity) = by_hand(p, g, v);
        assert!(
            close(&parameters[tensor], at, parameter),
            "{:?}",
            parameters[tensor]
        );
        assert!(
            close(&velocities[tensor], at, velocity),
            "{:?}",
            velocities[tensor]
        );
    }
}

#[test]
fn updates_whose_tensors_do_not_fit_are_refused_before_anything_changes() {
    let refused = |gradient: &Tensor, velocity: &mut Tensor, told: &str| {
        let mut parameters = [Tensor::from_slice(&[5.0f32]), Tensor::from_slice(&[1.0f32, 2.0])];
        let good = Tensor::ones([1], CPU);
        let mut velocity_of_good = Tensor::zeros([1], CPU);
        let [first, second] = &mut parameters;
        let mut updates = [
            Update {
                parameter: first,
                gradient: &good,
                velocity: &mut velocity_of_good,
            },
            Update {
                parameter: second,
                gradient,
                velocity,
            },
        ];
        let error = fused_sgd(&mut updates, 1.0, 0.9, 0.0).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
        assert_eq!(Vec::<f32>::try_from(&parameters[0]).unwrap(), [5.0]);
        assert_eq!(Vec::<f32>::try_from(&parameters[1]).unwrap(), [1.0, 2.0]);
    };
    let ones = Tensor::ones([2], CPU);
    let strided = Tensor::ones([2, 2], CPU).select(1, 0);
    refused(
        &strided,
        &mut Tensor::zeros([2], CPU),
        "are not contiguous tensors of one shape",
    );
    let told = "entry 1 has a Double on cpu beside the first parameter, a Float on cpu";
    refused(&ones.to_kind(Kind::Double), &mut Tensor::zeros([2], CPU), told);
    refused(&ones, &mut Tensor::zeros([2], (Kind::Double, Device::Cpu)), told);
}

#[test]
fn host_values_are_the_tensors_own_and_only_where_they_can_be() {
    let mut tensor = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0]).view([2, 2]);
    // SAFETY: nobody else has the tensor.
    unsafe { host_values_mut::<f32>(&mut tensor) }.unwrap()[3] = 9.0;
    assert_eq!(tensor.double_value(&[1, 1]), 9.0);
    // SAFETY: nobody writes.
    let refused = |tensor: &Tensor| unsafe { host_values::<f32>(tensor) }.unwrap_err().to_string();
    assert!(
        refused(&tensor.tr()).contains("strides [1, 2]"),
        "{}",
        refused(&tensor.tr())
    );
    assert!(refused(&tensor.to_kind(Kind::Double)).contains("got Double"));
}
