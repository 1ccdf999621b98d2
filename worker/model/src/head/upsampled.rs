//! A 3×3 convolution of a bilinearly upsampled map, without the large map.
//!
//! Mixing channels commutes with resizing, so the nine taps mix channels at the small size (a sixteenth of the
//! pixels in DeepLabV3+'s head); resizing, shifting and adding up the taps is then one small matrix per axis.
//! Equal to upsampling first up to rounding.

use tch::{Device, Kind, Tensor};

use crate::kept::{KeptMatrices, MatrixKey};
use crate::segmentation::upsample;

static SHIFTING: KeptMatrices = KeptMatrices::new();

/// `weight` [O, C, 3, 3] over `x` [N, C, h, w] upsampled (bilinear, no corner alignment) to `size`, zero padding of
/// one pixel → [N, O, H, W], channels innermost in memory. Differentiable in both.
pub fn convolve(x: &Tensor, weight: &Tensor, size: [i64; 2]) -> Tensor {
    let (n, c, h, w) = x.size4().expect("feature maps have four dimensions");
    let outputs = weight.size()[0];
    let [height, width] = size;
    // [n, y, x, (ky, kx, o)]
    let taps = weight.permute([2, 3, 0, 1]).reshape([9 * outputs, c]);
    let mixed = x.permute([0, 2, 3, 1]).reshape([n * h * w, c]).matmul(&taps.tr());
    // [(n, ky, y), (kx, x), o]
    let rows = mixed
        .view([n, h, w, 3, 3, outputs])
        .permute([0, 3, 1, 4, 2, 5])
        .reshape([n * 3 * h, 3 * w, outputs]);
    let across = resize_and_shift(w, width, x.device());
    let wide = across.expand([n * 3 * h, width, 3 * w], false).bmm(&rows);
    // [n, (ky, y), (X, o)]
    let down = resize_and_shift(h, height, x.device());
    let tall = down
        .expand([n, height, 3 * h], false)
        .bmm(&wide.view([n, 3 * h, width * outputs]));
    tall.view([n, height, width, outputs]).permute([0, 3, 1, 2])
}

/// [1, to, 3·from]: column (k, i) of row p is what pixel i gives to the upsampled pixel p + k − 1, or 0 where that
/// is outside.
fn resize_and_shift(from: i64, to: i64, device: Device) -> Tensor {
    let key = MatrixKey {
        from,
        to,
        kind: Kind::Float,
        device,
    };
    SHIFTING.get(key, || {
        let unit = Tensor::eye(from, (Kind::Float, device)).view([1, from, from, 1]);
        let resized = upsample(&unit, [to, 1]).view([from, to]).tr();
        let padded = resized.constant_pad_nd([0, 0, 1, 1]);
        let taps: Vec<Tensor> = (0..3).map(|tap| padded.narrow(0, tap, to)).collect();
        Tensor::cat(&taps, 1).unsqueeze(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seeded;

    #[test]
    fn equals_upsampling_first_with_its_gradients() {
        let mut seeded = Seeded::new(5);
        for (small, size) in [([7_i64, 19], [13_i64, 37]), ([4, 5], [16, 20]), ([3, 3], [3, 3])] {
            let x = seeded
                .normal(&[2, 6, small[0], small[1]], 1.0)
                .set_requires_grad(true);
            let weight = seeded.normal(&[5, 6, 3, 3], 1.0).set_requires_grad(true);
            let outer = seeded.normal(&[2, 5, size[0], size[1]], 1.0);
            let plain = upsample(&x, size).conv2d(&weight, None::<&Tensor>, [1, 1], [1, 1], [1, 1], 1);
            let ours = convolve(&x, &weight, size);
            assert!(ours.allclose(&plain, 1e-5, 1e-4, false));
            let gradients = |y: &Tensor| {
                Tensor::run_backward(&[(y * &outer).sum(Kind::Float)], &[&x, &weight], false, false)
            };
            for (mine, theirs) in gradients(&ours).iter().zip(&gradients(&plain)) {
                assert!(mine.allclose(theirs, 1e-5, 1e-3, false));
            }
        }
    }

    #[test]
    fn a_shard_without_images_gives_an_empty_map() {
        let x = Tensor::zeros([0, 6, 2, 2], tch::kind::FLOAT_CPU);
        let weight = Tensor::zeros([5, 6, 3, 3], tch::kind::FLOAT_CPU);
        assert_eq!(convolve(&x, &weight, [8, 8]).size(), [0, 5, 8, 8]);
    }
}
