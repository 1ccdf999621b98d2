//! The style bank while simulate is under way: pieces of finished rounds, which nobody changes any more.
//!
//! A round adds a piece of its own; sixteen pieces of one size become one of the next, so there are few of them, and a
//! style is written again only as often as there are sizes. Invariant: which pieces there are depends on the rounds that
//! were done and on nothing else, so all shards have the same, whenever a state was saved.

use std::collections::BTreeMap;

use tch::Tensor;
use ulda_method::stylebank::{BankHeader, StyleBank};

use super::bank::{bytes_of, header_of};
use crate::stages::StageError;
use crate::stages::context::Context;
use crate::state::{RunState, names};

/// Pieces of one size that become one of the next.
const FAN: u64 = 16;
/// What errors call a piece.
const ORIGIN: &str = "styles of finished rounds in the run's state";

/// Styles by the first round of their piece.
#[derive(Debug)]
pub struct BankPieces {
    header: BankHeader,
    pieces: BTreeMap<u64, Piece>,
}

/// The bank of the rounds from the one it is kept under to `end`, which is not in it.
#[derive(Debug)]
struct Piece {
    end: u64,
    /// The bytes of its file, never changed in place: states share them.
    bytes: Tensor,
}

impl Piece {
    fn share(&self) -> Self {
        Self {
            end: self.end,
            bytes: self.bytes.shallow_clone(),
        }
    }
}

impl BankPieces {
    /// Those of a state, checked against this run's weights and domains.
    ///
    /// # Errors
    /// When one is unreadable or was made with something else.
    pub fn of(context: &Context, state: &RunState) -> Result<Self, StageError> {
        let mut found = Self::new(header_of(context));
        let pieces = &mut found.pieces;
        // A state of an earlier version has all its rounds in one.
        if let Some(bank) = state.tensors.get(names::BANK) {
            let piece = Piece {
                end: state.cursor.step,
                bytes: bank.shallow_clone(),
            };
            pieces.insert(0, piece);
        }
        for (name, tensor) in &state.tensors {
            if let Some((first, end)) = names::rounds_of(name) {
                let bytes = tensor.shallow_clone();
                pieces.insert(first, Piece { end, bytes });
            }
        }
        found.merged(0)?;
        Ok(found)
    }

    /// Without any styles.
    fn new(header: BankHeader) -> Self {
        Self {
            header,
            pieces: BTreeMap::new(),
        }
    }

    /// Adds the styles of `round`, whole or not at all.
    ///
    /// # Errors
    /// When they, or those they are put together with, are no bank of this run.
    pub fn add(&mut self, round: u64, styles: &StyleBank) -> Result<(), StageError> {
        let end = round + 1;
        let piece = Piece {
            end,
            bytes: piece_of(styles)?,
        };
        let mut pieces: BTreeMap<u64, Piece> = self
            .pieces
            .iter()
            .map(|(first, piece)| (*first, piece.share()))
            .collect();
        pieces.insert(round, piece);
        let mut grown = Self {
            header: self.header.clone(),
            pieces,
        };
        let sizes = std::iter::successors(Some(FAN), |size| size.checked_mul(FAN));
        if let Some(size) = sizes.take_while(|size| end.is_multiple_of(*size)).last() {
            let bytes = piece_of(&grown.merged(end - size)?)?;
            let last = grown.pieces.split_off(&(end - size));
            let first = last.keys().next().copied().unwrap_or(round);
            grown.pieces.insert(first, Piece { end, bytes });
        }
        *self = grown;
        Ok(())
    }

    /// The bank of all rounds.
    ///
    /// # Errors
    /// When a piece is no bank of this run.
    pub fn whole(&self) -> Result<StyleBank, StageError> {
        self.merged(0)
    }

    /// Puts them into `state`, in place of what it has.
    pub fn save(&self, state: &mut RunState) {
        Self::clear(state);
        for (first, piece) in &self.pieces {
            let name = names::rounds(*first, piece.end);
            state.tensors.insert(name, piece.bytes.shallow_clone());
        }
    }

    /// Takes the styles out of `state`.
    pub fn clear(state: &mut RunState) {
        state
            .tensors
            .retain(|name, _| name != names::BANK && names::rounds_of(name).is_none());
    }

    /// Those of the pieces from round `first` on; of two styles of one image the later one stays.
    fn merged(&self, first: u64) -> Result<StyleBank, StageError> {
        let mut bank = StyleBank::new(self.header.clone());
        for piece in self.pieces.range(first..).map(|(_, piece)| piece) {
            bank.merge(StyleBank::from_bytes(&bytes_of(&piece.bytes)?, ORIGIN)?, ORIGIN)?;
        }
        Ok(bank)
    }
}

fn piece_of(bank: &StyleBank) -> Result<Tensor, StageError> {
    Ok(Tensor::f_from_slice(&bank.to_bytes()?)?)
}

#[cfg(test)]
mod tests;
