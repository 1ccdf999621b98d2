//! The style bank in the run's state.

use ulda_method::stylebank::{BankDomain, BankHeader, StyleBank};

use crate::stages::context::Context;
use crate::stages::{StageError, names};
use crate::state::RunState;

/// The bank a state carries, checked against this run's weights and domains.
///
/// # Errors
/// When it is unreadable or was made with something else.
pub fn load_bank(context: &Context, state: &RunState) -> Result<Option<StyleBank>, StageError> {
    let Some(tensor) = state.tensors.get(names::BANK) else {
        return Ok(None);
    };
    let mut bytes = vec![0u8; tensor.numel()];
    tensor.f_copy_data(&mut bytes, tensor.numel())?;
    let origin = "bank of the run's state";
    let bank = StyleBank::from_bytes(&bytes, origin)?;
    bank.check(&bank_header(context), origin)?;
    Ok(Some(bank))
}

pub(super) fn bank_header(context: &Context) -> BankHeader {
    let config = context.resources.clip.config();
    let domains = context.spec.config().domains.iter();
    BankHeader {
        backbone: context.resources.clip.digest().to_owned(),
        channels: config.low_channels() as usize,
        domains: domains
            .map(|domain| BankDomain {
                name: domain.name.clone(),
                prompt: domain.prompt.clone(),
            })
            .collect(),
    }
}
