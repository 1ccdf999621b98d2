//! Loss pieces of a round on their way from the lanes to the curve.

use serde::{Deserialize, Serialize};
use ulda_method::simulate::{DomainLosses, LossTerms, LossWeights};

use crate::stages::StageError;
use crate::state::StateError;

/// Key of the loss pieces in the header of a lane's message.
pub(super) const LOSSES_KEY: &str = "losses";

/// Loss pieces of a round's last iteration, for the domains of one lane.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct RoundLosses {
    pub domains: Vec<DomainLosses>,
    /// L_cross per image; the same on all lanes of a batch.
    pub cross: Vec<f64>,
}

impl RoundLosses {
    /// # Errors
    /// When the message carries none.
    pub fn read(message: &[u8]) -> Result<Self, StageError> {
        let (_, metadata) = safetensors::SafeTensors::read_metadata(message).map_err(StateError::Format)?;
        let text = metadata.metadata().as_ref().and_then(|map| map.get(LOSSES_KEY));
        Ok(serde_json::from_str(text.ok_or(StateError::NoHeader)?).map_err(StateError::Header)?)
    }
}

/// Mean loss terms over the batches of a round; `lanes` are in shard order, `prompt_groups` of them per batch.
pub(super) fn mean_terms(
    lanes: Vec<RoundLosses>,
    prompt_groups: usize,
    weights: &LossWeights,
) -> Vec<(&'static str, f64)> {
    let mut sums = [0.0; 7];
    let mut batches = 0;
    let mut lanes = lanes.into_iter().peekable();
    while lanes.peek().is_some() {
        let mut batch = RoundLosses::default();
        for lane in lanes.by_ref().take(prompt_groups) {
            batch.domains.extend(lane.domains);
            batch.cross = lane.cross;
        }
        let terms = LossTerms::combine(&batch.domains, &batch.cross, weights);
        let values = [
            terms.scene,
            terms.pixel,
            terms.region,
            terms.seg,
            terms.intra,
            terms.cross,
            terms.total,
        ];
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        batches += 1;
    }
    let names = ["scene", "pixel", "region", "seg", "intra", "cross", "total"];
    names
        .into_iter()
        .zip(sums.map(|sum| sum / f64::from(batches.max(1))))
        .collect()
}
