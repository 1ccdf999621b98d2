//! The restyled feature and the gradient of a style against libtorch's operations.

#![allow(clippy::unwrap_used)]

use tch::{Device, Kind, Tensor};
use ulda_torch::runtime::{channels_last, set_threads};
use ulda_torch::{restyle, style_gradient};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

/// Normalised feature [B, C, h, w], mean and deviation [D·B, C, 1, 1].
fn input([domains, images, channels, height, width]: [i64; 5]) -> [Tensor; 3] {
    tch::manual_seed(5);
    let style = || Tensor::randn([domains * images, channels, 1, 1], CPU);
    [
        Tensor::randn([images, channels, height, width], CPU),
        style(),
        style().abs(),
    ]
}

/// Several domains, sizes that fill no block of pixels and no vector of channels, a single pixel, and no image.
const SIZES: [[i64; 5]; 5] = [
    [1, 2, 32, 40, 50],
    [3, 2, 13, 9, 7],
    [2, 1, 256, 33, 32],
    [1, 1, 5, 1, 1],
    [2, 0, 8, 4, 4],
];

/// One operation after the other, each rounded, differentiated by autograd.
fn by_operations(normalised: &Tensor, mean: &Tensor, std: &Tensor) -> Tensor {
    let domains = match normalised.size()[0] {
        0 => 1,
        images => mean.size()[0] / images,
    };
    let content = normalised.repeat([domains, 1, 1, 1]);
    (content * std + mean).relu()
}

#[test]
fn the_product_is_rounded_before_the_sum() {
    for size in SIZES {
        let [normalised, mean, std] = input(size);
        let expected = by_operations(&normalised, &mean, &std);
        for layout in [normalised.copy(), channels_last(&normalised).unwrap()] {
            assert!(
                restyle(&layout, &mean, &std).unwrap().equal(&expected),
                "{size:?}"
            );
        }
    }
}

#[test]
fn a_normalised_zero_comes_back_as_zero() {
    let feature = Tensor::randn([1, 64, 50, 50], CPU).relu();
    let (mean, std) = (
        feature.mean_dim([2i64, 3].as_slice(), true, Kind::Float),
        feature.std_dim([2i64, 3].as_slice(), true, true),
    );
    let styled = restyle(&((&feature - &mean) / &std), &mean, &std).unwrap();
    let zeros = feature.eq(0.0);
    let positive = styled
        .gt(0.0)
        .logical_and(&zeros)
        .sum(Kind::Int64)
        .int64_value(&[]);
    let all = zeros.sum(Kind::Int64).int64_value(&[]);
    // How many are depends on the numbers drawn, some 5 to 12 %; a fused multiply-add makes half of them positive.
    assert!(positive * 4 < all, "{positive} of {all} are positive");
}

#[test]
fn the_gradient_is_autograds() {
    for size in SIZES {
        let [normalised, mean, std] = input(size);
        let (mean, std) = (mean.set_requires_grad(true), std.set_requires_grad(true));
        let styled = by_operations(&normalised, &mean, &std);
        let weight = Tensor::randn(styled.size(), CPU);
        (&styled * &weight).sum(Kind::Float).backward();
        let styled = styled.detach();
        let (of_mean, of_std) = style_gradient(&normalised, &styled, &weight).unwrap();
        for (ours, theirs) in [(of_mean, mean.grad()), (of_std, std.grad())] {
            assert_eq!(ours.size(), theirs.size());
            let gap = (&ours - &theirs).abs().sum(Kind::Float).double_value(&[]);
            let scale = theirs.abs().sum(Kind::Float).double_value(&[]).max(1.0);
            assert!(gap < 1e-5 * scale, "{size:?}: off by {gap} of {scale}");
        }
    }
}

#[test]
fn sums_do_not_depend_on_the_threads() {
    let [normalised, mean, std] = input([2, 2, 24, 90, 70]);
    let run = |threads| {
        set_threads(threads).unwrap();
        let styled = restyle(&normalised, &mean, &std).unwrap();
        let (of_mean, of_std) = style_gradient(&normalised, &styled, &styled).unwrap();
        [styled, of_mean, of_std]
    };
    let (one, two) = (run(1), run(2));
    assert!(one.iter().zip(&two).all(|(one, two)| one.equal(two)));
}

#[test]
fn a_style_that_does_not_fit_is_refused() {
    let [normalised, mean, std] = input([1, 2, 8, 4, 4]);
    let other = Tensor::zeros([3, 8, 1, 1], CPU);
    for (mean, std) in [(&other, &std), (&mean, &other), (&normalised, &std)] {
        let refused = restyle(&normalised, mean, std).unwrap_err().to_string();
        assert!(
            refused.contains("does not fit a feature [2, 8, 4, 4]"),
            "{refused}"
        );
    }
    assert!(style_gradient(&normalised, &normalised, &other).is_err());
}
