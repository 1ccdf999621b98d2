//! Segmentation scores from one confusion matrix summed over all images, never averaged per image or per worker.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why pixels could not be counted.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ScoresError {
    #[error("{labels} label pixels but {predictions} predicted ones")]
    Lengths { labels: usize, predictions: usize },
    #[error("prediction {value} at pixel {pixel} is no class; classes are 0 to {last}")]
    Prediction { value: u8, pixel: usize, last: usize },
    #[error("a confusion matrix is square, and {cells} cells are none")]
    Cells { cells: usize },
    #[error("the cells of a confusion matrix add up to more pixels than can be counted")]
    Total,
}

/// Pixel counts `[truth][prediction]` over the train ids. Integers, so sums do not depend on their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u64>", into = "Vec<u64>")]
pub struct ConfusionMatrix {
    classes: usize,
    /// `classes` rows of as many.
    cells: Vec<u64>,
}

impl ConfusionMatrix {
    /// Of no pixels yet.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            cells: vec![0; classes * classes],
        }
    }

    /// Counts pixels. Those whose label is not a class (255) are dropped, whatever was predicted there.
    ///
    /// On an error nothing is counted.
    pub fn add(&mut self, labels: &[u8], predictions: &[u8]) -> Result<(), ScoresError> {
        if labels.len() != predictions.len() {
            return Err(ScoresError::Lengths {
                labels: labels.len(),
                predictions: predictions.len(),
            });
        }
        let classes = self.classes;
        let mut counts = Self::new(classes);
        for (pixel, (&label, &prediction)) in labels.iter().zip(predictions).enumerate() {
            if usize::from(label) >= classes {
                continue;
            }
            if usize::from(prediction) >= classes {
                return Err(ScoresError::Prediction {
                    value: prediction,
                    pixel,
                    last: classes - 1,
                });
            }
            counts.cells[usize::from(label) * classes + usize::from(prediction)] += 1;
        }
        self.merge(&counts);
        Ok(())
    }

    /// Adds the counts of another matrix of the same classes.
    pub fn merge(&mut self, other: &ConfusionMatrix) {
        for (cell, more) in self.cells.iter_mut().zip(&other.cells) {
            *cell += more;
        }
    }

    /// Pixels of class `truth` predicted as `prediction`; both are train ids.
    pub fn count(&self, truth: usize, prediction: usize) -> u64 {
        self.cells[truth * self.classes + prediction]
    }

    /// Row by row, truth first.
    pub fn counts(&self) -> &[u64] {
        &self.cells
    }

    /// A matrix of stored counts, in the order of [`ConfusionMatrix::counts`].
    pub fn from_counts(counts: &[u64]) -> Result<Self, ScoresError> {
        let classes = counts.len().isqrt();
        if classes == 0 || classes * classes != counts.len() {
            return Err(ScoresError::Cells { cells: counts.len() });
        }
        let total = counts.iter().try_fold(0, |sum: u64, cell| sum.checked_add(*cell));
        total.ok_or(ScoresError::Total)?;
        Ok(Self {
            classes,
            cells: counts.to_vec(),
        })
    }

    /// The scores of the pixels counted so far.
    pub fn scores(&self) -> Scores {
        let classes = self.classes;
        let row = |class: usize| (0..classes).map(|other| self.count(class, other)).sum::<u64>();
        let column = |class: usize| (0..classes).map(|other| self.count(other, class)).sum::<u64>();
        let total: u64 = self.cells.iter().sum();
        let hits: u64 = (0..classes).map(|class| self.count(class, class)).sum();
        let iou = |class: usize| {
            let hit = self.count(class, class);
            ratio(hit, row(class) + (column(class) - hit))
        };
        let class_iou: Vec<_> = (0..classes).map(iou).collect();
        let accuracy = |class: usize| ratio(self.count(class, class), row(class));
        let class_accuracy: Vec<_> = (0..classes).map(accuracy).collect();
        let freq_weighted_accuracy = (0..classes)
            .filter_map(|class| Some(ratio(row(class), total)? * class_iou[class]?))
            .sum();
        Scores {
            overall_accuracy: ratio(hits, total),
            mean_accuracy: mean_of_known(&class_accuracy),
            freq_weighted_accuracy,
            mean_iou: mean_of_known(&class_iou),
            class_iou,
            class_accuracy,
        }
    }
}

impl TryFrom<Vec<u64>> for ConfusionMatrix {
    type Error = ScoresError;

    fn try_from(cells: Vec<u64>) -> Result<Self, ScoresError> {
        Self::from_counts(&cells)
    }
}

impl From<ConfusionMatrix> for Vec<u64> {
    fn from(matrix: ConfusionMatrix) -> Self {
        matrix.cells
    }
}

/// Scores as the published evaluation defines them, each in 0..1; none where it divides zero by zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Share of pixels predicted right.
    pub overall_accuracy: Option<f64>,
    /// Mean of the class accuracies over the classes with true pixels.
    pub mean_accuracy: Option<f64>,
    /// IoU weighted by how often a class occurs ("FreqW Acc"); 0 if no pixel counts.
    pub freq_weighted_accuracy: f64,
    /// Mean of the class IoUs over the classes in truth or prediction.
    pub mean_iou: Option<f64>,
    /// Intersection over union; none for a class in neither truth nor prediction, 0 for one only predicted.
    pub class_iou: Vec<Option<f64>>,
    /// Share of a class's true pixels predicted right; none for a class without true pixels.
    pub class_accuracy: Vec<Option<f64>>,
}

impl Scores {
    /// IoU of a class; none also for one that was not scored.
    pub fn iou(&self, class: usize) -> Option<f64> {
        self.class_iou.get(class).copied().flatten()
    }

    /// Accuracy of a class; none also for one that was not scored.
    pub fn accuracy(&self, class: usize) -> Option<f64> {
        self.class_accuracy.get(class).copied().flatten()
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean_of_known(values: &[Option<f64>]) -> Option<f64> {
    let known: Vec<f64> = values.iter().copied().flatten().collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_do_not_add_up_in_64_bits_are_no_matrix() {
        let mut cells = [0; 49];
        (cells[0], cells[1]) = (1 << 63, (1 << 63) - 1);
        let most = ConfusionMatrix::from_counts(&cells).unwrap();
        assert_eq!(most.scores().class_iou[0], Some(0.5));
        cells[48] = 1;
        assert_eq!(ConfusionMatrix::from_counts(&cells), Err(ScoresError::Total));
        assert_eq!(
            ConfusionMatrix::try_from(vec![u64::MAX; 361]),
            Err(ScoresError::Total)
        );
    }

    #[test]
    fn predicted_only_class_counts_as_zero() {
        let mut matrix = ConfusionMatrix::new(19);
        matrix.add(&[0, 0, 255, 0], &[0, 5, 99, 0]).unwrap();
        let scores = matrix.scores();
        assert_eq!(scores.class_iou[5], Some(0.0));
        assert_eq!(scores.class_accuracy[5], None);
        assert_eq!(scores.class_iou[1], None);
        assert_eq!(scores.mean_iou, Some((2.0 / 3.0) / 2.0));
        assert_eq!(scores.mean_accuracy, Some(2.0 / 3.0));
    }

    #[test]
    fn bad_input_changes_nothing() {
        let mut matrix = ConfusionMatrix::new(19);
        let error = matrix.add(&[0, 1], &[0, 19]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "prediction 19 at pixel 1 is no class; classes are 0 to 18"
        );
        let error = matrix.add(&[0, 1], &[0]).unwrap_err();
        assert_eq!(error.to_string(), "2 label pixels but 1 predicted ones");
        assert_eq!(matrix, ConfusionMatrix::new(19));
    }

    #[test]
    fn survives_json() {
        let mut matrix = ConfusionMatrix::new(19);
        matrix.add(&[3, 4, 18], &[3, 3, 18]).unwrap();
        let text = serde_json::to_string(&matrix).unwrap();
        assert_eq!(serde_json::from_str::<ConfusionMatrix>(&text).unwrap(), matrix);
        assert!(
            serde_json::from_str::<ConfusionMatrix>("[1,2]")
                .unwrap_err()
                .to_string()
                .contains("square, and 2 cells are none")
        );
        let scores = matrix.scores();
        let text = serde_json::to_string(&scores).unwrap();
        assert_eq!(serde_json::from_str::<Scores>(&text).unwrap(), scores);
    }
}
