//! The style bank in the run's state.

use std::fs;
use std::io::Write;

use tch::Tensor;
use ulda_method::stylebank::{BankHeader, StyleBank};

use super::pieces::BankPieces;
use crate::stages::context::Context;
use crate::stages::{Extent, StageError};
use crate::state::{RunState, names};
use crate::style_sources::bank_header;

/// The style bank within the run directory.
pub const STYLE_BANK: &str = "styles/bank.safetensors";

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
    bank.check(&header_of(context), origin)?;
    Ok(Some(bank))
}

/// The bank a state carries, as its file has it.
///
/// # Errors
/// When libtorch refuses to copy it.
pub fn bank_bytes(state: &RunState) -> Result<Option<Vec<u8>>, StageError> {
    state.tensors.get(names::BANK).map(bytes_of).transpose()
}

/// The bytes in a tensor of them.
pub(super) fn bytes_of(tensor: &Tensor) -> Result<Vec<u8>, StageError> {
    let mut bytes = vec![0u8; tensor.numel()];
    tensor.f_copy_data(&mut bytes, tensor.numel())?;
    Ok(bytes)
}

/// Leaves the bank in the run directory, whole or not at all, and has it brought to the run's storage; one that is there
/// already stays.
///
/// # Errors
/// When the disk refuses.
pub fn leave_bank(context: &Context, bytes: &[u8]) -> Result<(), StageError> {
    let folder = context.resources.run_directory.join("styles");
    let (path, beside) = (folder.join("bank.safetensors"), folder.join("bank.writing"));
    let there = ulda_files::read_file(&path, bytes.len() as u64);
    if !there.is_ok_and(|there| there == bytes) {
        fs::create_dir_all(&folder)
            .and_then(|()| ulda_files::create_file(&beside)?.write_all(bytes))
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(|source| {
                // What is left of it would only take the space that was too little.
                let _ = fs::remove_file(&beside);
                StageError::Write { path, source }
            })?;
    }
    context.left(STYLE_BANK.to_owned());
    Ok(())
}

/// The styles so far in the run's state; at the stage's end as one bank, also in the run directory.
pub(super) fn keep_styles(
    context: &Context,
    styles: &BankPieces,
    state: &mut RunState,
    extent: Extent,
) -> Result<(), StageError> {
    if extent == Extent::Midway {
        styles.save(state);
        return Ok(());
    }
    let bytes = styles.whole()?.to_bytes()?;
    BankPieces::clear(state);
    state
        .tensors
        .insert(names::BANK.to_owned(), Tensor::f_from_slice(&bytes)?);
    if context.leads() {
        // The state holds it as well; the run does not end before it lies there.
        if let Err(error) = leave_bank(context, &bytes) {
            tracing::warn!(error = error.with_hint(), "style bank not written yet");
        }
    }
    Ok(())
}

/// A bank of this run without styles.
pub(super) fn empty_bank(context: &Context) -> StyleBank {
    StyleBank::new(header_of(context))
}

pub(super) fn header_of(context: &Context) -> BankHeader {
    bank_header(context.spec.config(), &context.resources.clip)
}
