//! The convolution with its own weight gradient against libtorch's.

#![allow(clippy::unwrap_used)]

use tch::{Device, Kind, Tensor};
use ulda_torch::conv2d;

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

/// y, gradient of x, gradient of weight.
fn by(convolve: impl Fn(&Tensor, &Tensor) -> Tensor, [x, weight, dy]: [&Tensor; 3]) -> [Tensor; 3] {
    let leaf = |tensor: &Tensor| tensor.detach().copy().set_requires_grad(true);
    let (x, weight) = (leaf(x), leaf(weight));
    let y = convolve(&x, &weight);
    (&y * dy).sum(Kind::Float).backward();
    [y.detach(), x.grad(), weight.grad()]
}

fn assert_like_libtorch(x: &Tensor, weight: &Tensor, padding: i64, dilation: i64) {
    let plain = |x: &Tensor, weight: &Tensor| {
        x.conv2d(
            weight,
            None::<&Tensor>,
            [1, 1],
            [padding, padding],
            [dilation, dilation],
            1,
        )
    };
    let dy = plain(x, weight).randn_like();
    let theirs = by(plain, [x, weight, &dy]);
    let ours = by(
        |x, weight| conv2d(x, weight, padding, dilation).unwrap(),
        [x, weight, &dy],
    );
    for ((name, ours), theirs) in ["y", "gradient of x", "gradient of weight"]
        .iter()
        .zip(&ours)
        .zip(&theirs)
    {
        let scale = theirs.abs().max().double_value(&[]).max(1e-6);
        let gap = (ours - theirs).abs().max().double_value(&[]) / scale;
        let what = format!(
            "{name}, {:?} by {:?}, padding {padding}, dilation {dilation}",
            x.size(),
            weight.size()
        );
        assert_eq!(ours.size(), theirs.size(), "{what}");
        assert!(gap < 1e-5, "{what}: off by {gap:.1e}");
    }
}

#[test]
fn every_reach_of_the_taps_gives_libtorchs_gradients() {
    tch::manual_seed(3);
    for (kernel, padding, dilation) in [
        ([1, 1], 0, 1),
        ([3, 3], 1, 1),
        // Some taps reach over the border with most, some with few of their outputs.
        ([3, 3], 6, 6),
        // These reach no input at all.
        ([3, 3], 18, 18),
        // The output is smaller, or larger, than the input.
        ([3, 3], 0, 2),
        ([3, 2], 4, 1),
        ([2, 5], 2, 3),
    ] {
        for layout in [false, true] {
            let x = Tensor::randn([2, 5, 17, 23], CPU);
            let x = if layout { x.permute([0, 1, 3, 2]) } else { x };
            let weight = Tensor::randn([4, 5, kernel[0], kernel[1]], CPU);
            assert_like_libtorch(&x, &weight, padding, dilation);
        }
    }
}

#[test]
fn equal_inputs_give_equal_bits() {
    tch::manual_seed(4);
    let [x, weight, dy] =
        [[1, 64, 32, 32], [32, 64, 3, 3], [1, 32, 32, 32]].map(|size| Tensor::randn(size, CPU));
    let step = || by(|x, weight| conv2d(x, weight, 6, 6).unwrap(), [&x, &weight, &dy]);
    assert_eq!(step(), step());
}

#[test]
fn a_shard_without_images_has_no_gradient() {
    let x = Tensor::zeros([0, 5, 7, 9], CPU);
    let weight = Tensor::ones([4, 5, 3, 3], CPU);
    let dy = Tensor::zeros([0, 4, 7, 9], CPU);
    let [y, of_x, of_weight] = by(|x, weight| conv2d(x, weight, 1, 1).unwrap(), [&x, &weight, &dy]);
    assert_eq!((y.size(), of_x.size()), (vec![0, 4, 7, 9], vec![0, 5, 7, 9]));
    assert_eq!(of_weight, weight.zeros_like());
}

#[test]
fn frozen_weights_and_tensors_that_do_not_fit() {
    let x = Tensor::ones([1, 2, 3, 3], CPU).set_requires_grad(true);
    let y = conv2d(&x, &Tensor::ones([1, 2, 1, 1], CPU), 0, 1).unwrap();
    y.sum(Kind::Float).backward();
    assert_eq!(x.grad(), Tensor::ones([1, 2, 3, 3], CPU));
    let error = conv2d(&x, &Tensor::ones([1, 5, 1, 1], CPU), 0, 1)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("libtorch: conv2d: "), "{error}");
}
