//! Which classes an image has at the resolution of the low-level feature. Golden README item 20.

use tch::{Kind, Tensor};
use ulda_torch::upload;

use super::IGNORED_LABEL;
use crate::error::{MethodError, Result, expect_shape};

/// Classes of one image after nearest-neighbour resizing of its labels (the top-left pixel of each cell).
#[derive(Debug)]
pub struct ClassMap {
    /// Train ids present, ascending, without 255; empty when everything is ignored.
    pub classes: Vec<i64>,
    /// `classes` as an index tensor `[K]`, int64.
    pub index: Tensor,
    /// [1, h·w], int64: position of each pixel's class in `classes`, 255 where ignored.
    pub targets: Tensor,
    /// [K, h·w]: row k is 1/count on the pixels of class k, so that `averaging · pixels` are class means.
    pub averaging: Tensor,
}

impl ClassMap {
    /// Resizes `labels` [H, W] (train ids, any integer kind) to `height` × `width`; `kind` is that of
    /// the feature, and `classes` the number of train ids.
    ///
    /// # Errors
    /// When a label is neither a train id nor 255, or `labels` is not two-dimensional.
    pub fn of(labels: &Tensor, height: i64, width: i64, classes: i64, kind: Kind) -> Result<ClassMap> {
        expect_shape("labels of one image", labels, &[-1, -1])?;
        let device = labels.device();
        let small = labels
            .f_to_kind(Kind::Float)?
            .f_unsqueeze(0)?
            .f_unsqueeze(0)?
            .f_upsample_nearest2d([height, width], None, None)?
            .f_to_kind(Kind::Int64)?
            .f_flatten(0, -1)?;
        let mut values = vec![0i64; (height * width) as usize];
        let count = values.len();
        small
            .f_to_device(tch::Device::Cpu)?
            .f_copy_data(&mut values, count)?;

        let mut present = vec![false; classes as usize];
        for &value in values.iter().filter(|value| **value != IGNORED_LABEL) {
            match usize::try_from(value).ok().and_then(|at| present.get_mut(at)) {
                Some(seen) => *seen = true,
                None => {
                    return Err(MethodError::Setting {
                        field: "label",
                        value: value as f64,
                        rule: "labels are train ids of the run's classes, or 255 for ignored pixels",
                    });
                }
            }
        }
        let classes: Vec<i64> = (0..classes).filter(|class| present[*class as usize]).collect();
        let mut position = [IGNORED_LABEL; IGNORED_LABEL as usize + 1];
        for (at, &class) in classes.iter().enumerate() {
            position[class as usize] = at as i64;
        }
        let targets: Vec<i64> = values.iter().map(|value| position[*value as usize]).collect();
        let targets = upload(&Tensor::f_from_slice(&targets)?.f_unsqueeze(0)?, device)?;
        let index = upload(&Tensor::f_from_slice(&classes)?, device)?;
        let rows = Tensor::f_arange(classes.len() as i64, (Kind::Int64, device))?.f_unsqueeze(1)?;
        let mask = targets.f_eq_tensor(&rows)?.f_to_kind(kind)?;
        let counts = mask.f_sum_dim_intlist([1i64].as_slice(), true, None)?;
        Ok(ClassMap {
            classes,
            index,
            targets,
            averaging: mask.f_div(&counts)?,
        })
    }

    /// Number of classes present, K.
    pub fn count(&self) -> i64 {
        self.classes.len() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_top_left_pixel_of_each_cell() {
        let labels = Tensor::from_slice(&[7i64, 3, 255, 3, 3, 3, 3, 3, 2, 3, 7, 3, 3, 3, 3, 3]).view([4, 4]);
        let map = ClassMap::of(&labels, 2, 2, 19, Kind::Float).unwrap();
        assert_eq!(map.classes, [2, 7]);
        assert_eq!(
            Vec::<i64>::try_from(map.targets.flatten(0, -1)).unwrap(),
            [1, 255, 0, 1]
        );
        assert_eq!(
            Vec::<f32>::try_from(map.averaging.get(1)).unwrap(),
            [0.5, 0.0, 0.0, 0.5]
        );
    }

    #[test]
    fn an_ignored_image_has_no_classes() {
        let labels = Tensor::full([4, 4], 255, (Kind::Uint8, tch::Device::Cpu));
        let map = ClassMap::of(&labels, 2, 2, 19, Kind::Float).unwrap();
        assert_eq!(map.count(), 0);
        assert_eq!(map.averaging.size(), [0, 4]);
    }

    #[test]
    fn a_raw_label_id_is_refused() {
        let labels = Tensor::full([4, 4], 33, (Kind::Int64, tch::Device::Cpu));
        let message = ClassMap::of(&labels, 2, 2, 19, Kind::Float)
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "`label` is 33, but labels are train ids of the run's classes, or 255 for ignored pixels"
        );
    }
}
