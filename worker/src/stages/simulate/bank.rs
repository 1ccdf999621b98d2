//! The style bank in the run's state.

use std::fs;

use ulda_method::stylebank::{BankDomain, BankHeader, StyleBank};

use crate::stages::context::Context;
use crate::stages::{StageError, names};
use crate::state::RunState;

/// The bank a state carries, checked against this run's weights and domains.
///
/// # Errors
/// When it is unreadable or was made with something else.
pub fn load_bank(context: &Context, state: &RunState) -> Result<Option<StyleBank>, StageError> {
    let Some(bytes) = bank_bytes(state)? else {
        return Ok(None);
    };
    let origin = "bank of the run's state";
    let bank = StyleBank::from_bytes(&bytes, origin)?;
    bank.check(&bank_header(context), origin)?;
    Ok(Some(bank))
}

/// The bank a state carries, as its file has it.
///
/// # Errors
/// When libtorch refuses to copy it.
pub fn bank_bytes(state: &RunState) -> Result<Option<Vec<u8>>, StageError> {
    let Some(tensor) = state.tensors.get(names::BANK) else {
        return Ok(None);
    };
    let mut bytes = vec![0u8; tensor.numel()];
    tensor.f_copy_data(&mut bytes, tensor.numel())?;
    Ok(Some(bytes))
}

/// Leaves the bank in the run directory, whole or not at all, and has it brought to the run's storage; one that is there
/// already stays.
///
/// # Errors
/// When the disk refuses.
pub fn leave_bank(context: &Context, bytes: &[u8]) -> Result<(), StageError> {
    let folder = context.resources.run_directory.join("styles");
    let (path, beside) = (folder.join("bank.safetensors"), folder.join("bank.writing"));
    if !fs::read(&path).is_ok_and(|there| there == bytes) {
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&beside, bytes))
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(|source| {
                // What is left of it would only take the space that was too little.
                let _ = fs::remove_file(&beside);
                StageError::Write { path, source }
            })?;
    }
    context.left("styles/bank.safetensors".to_owned());
    Ok(())
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
