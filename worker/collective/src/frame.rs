//! Frames: what travels between two workers once they know each other.
//!
//! A header of 64 bytes, little-endian, then `length` bytes of payload unless that lies on the sender's segment:
//!
//! | bytes  | field      | meaning                                                           |
//! |--------|------------|-------------------------------------------------------------------|
//! | 0..4   | magic      | `ULF2`                                                            |
//! | 4      | kind       | [`FrameKind`]                                                     |
//! | 5      | operation  | [`OperationId`]                                                   |
//! | 6..8   | op         | the tag's op code                                                 |
//! | 8..16  | generation |                                                                   |
//! | 16..24 | step       | of the tag                                                        |
//! | 24..28 | iteration  | of the tag                                                        |
//! | 28..32 | part       | of the tag                                                        |
//! | 32     | stage      | the tag's stage code                                              |
//! | 33     |            | 0                                                                 |
//! | 34..36 | slot       | 1 + the slot of the segment that holds the payload, or 0            |
//! | 36..40 | from       | the shard that speaks; in an abort, the worker that gave up       |
//! | 40..44 | piece      | number of the piece; in an abort, 1 + the suspected worker or 0   |
//! | 44..48 | length     | payload bytes, at most [`PIECE_BYTES`]                            |
//! | 48..56 | total      | bytes of the whole buffer the piece is of                         |
//! | 56..60 | group      | fingerprint of the group                                          |
//! | 60..64 | check      | FNV-1a of the 60 bytes before                                     |
//!
//! Invariant: a header is believed only when its check, kind, length and generation hold; nothing is
//! allocated before.

use thiserror::Error;
use ulda_run::ids::{Generation, Shard};

use crate::segment::SegmentSlot;
use crate::tag::TagKey;

/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 64;
/// Greatest payload of a frame.
pub(crate) const PIECE_BYTES: usize = 1024 * 1024;

const MAGIC: [u8; 4] = *b"ULF2";

/// Why bytes are not a frame of this generation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The stream is out of step.
    #[error("no frame starts here: {0:02x?}")]
    Magic([u8; 4]),
    /// Header bytes were changed.
    #[error("header check {got:08x}, computed {computed:08x}")]
    Check { got: u32, computed: u32 },
    /// A frame of another membership.
    #[error("frame of {got} on a connection of {current}")]
    Generation { got: Generation, current: Generation },
    /// An unknown kind or operation.
    #[error("unknown {field} {code}")]
    Code { field: &'static str, code: u32 },
    /// A payload longer than any frame has.
    #[error("payload of {got_bytes} bytes, the limit is {PIECE_BYTES}")]
    Length { got_bytes: u32 },
    /// A frame that speaks for a shard of another worker.
    #[error("the frame speaks for {0}, which that worker does not serve")]
    Speaker(Shard),
    /// A payload where the sender's segment has no place, or where no segment is shared with it.
    #[error("payload of {got_bytes} bytes in slot {slot} of a segment that has no such slot")]
    Slot { slot: u16, got_bytes: u32 },
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum FrameKind {
    /// A shard's whole contribution, or a piece of it, for all receivers.
    Whole = 1,
    /// A piece of a shard's contribution, for the shard that sums this piece.
    Contribution = 2,
    /// A summed piece, for all receivers.
    Sum = 3,
    /// The speaker's worker is ready to take the broadcast.
    Ready = 4,
    /// The speaker's worker gives the generation up; the payload says why.
    Abort = 5,
    /// The speaker's worker has done its part in this generation.
    Bye = 6,
}

/// Which operation a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum OperationId {
    None = 0,
    ReduceF32 = 1,
    ReduceU64 = 2,
    Gather = 3,
    Broadcast = 4,
    Barrier = 5,
}

/// A header; see the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub kind: FrameKind,
    pub operation: OperationId,
    pub generation: Generation,
    pub tag: TagKey,
    pub from: u32,
    pub piece: u32,
    pub length: u32,
    /// Where the payload lies on the sender's segment, if it does not follow the header.
    pub slot: Option<SegmentSlot>,
    pub total: u64,
    pub group: u32,
}

impl FrameHeader {
    /// A frame that belongs to no operation.
    pub fn control(kind: FrameKind, generation: Generation, from: u32) -> FrameHeader {
        FrameHeader {
            kind,
            operation: OperationId::None,
            generation,
            tag: TagKey::default(),
            from,
            piece: 0,
            length: 0,
            slot: None,
            total: 0,
            group: 0,
        }
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = self.kind as u8;
        bytes[5] = self.operation as u8;
        bytes[6..8].copy_from_slice(&self.tag.op.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.generation.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.tag.step.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.tag.iteration.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.tag.part.to_le_bytes());
        bytes[32] = self.tag.stage;
        let slot = self.slot.map_or(0, |slot| slot.0.saturating_add(1));
        bytes[34..36].copy_from_slice(&slot.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.from.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.piece.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.length.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.total.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.group.to_le_bytes());
        let check = check(&bytes[..60]);
        bytes[60..64].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads a header of a connection of `current`.
    ///
    /// # Errors
    /// Any [`FrameError`] but `Speaker` and `Slot`.
    pub fn decode(bytes: &[u8; HEADER_BYTES], current: Generation) -> Result<FrameHeader, FrameError> {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let magic = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if magic != MAGIC {
            return Err(FrameError::Magic(magic));
        }
        let (got, computed) = (u32_at(60), check(&bytes[..60]));
        if got != computed {
            return Err(FrameError::Check { got, computed });
        }
        let generation = Generation(u64_at(8));
        if generation != current {
            return Err(FrameError::Generation {
                got: generation,
                current,
            });
        }
        let kind = match bytes[4] {
            1 => FrameKind::Whole,
            2 => FrameKind::Contribution,
            3 => FrameKind::Sum,
            4 => FrameKind::Ready,
            5 => FrameKind::Abort,
            6 => FrameKind::Bye,
            code => {
                return Err(FrameError::Code {
                    field: "kind",
                    code: code.into(),
                });
            }
        };
        let operation = match bytes[5] {
            0 => OperationId::None,
            1 => OperationId::ReduceF32,
            2 => OperationId::ReduceU64,
            3 => OperationId::Gather,
            4 => OperationId::Broadcast,
            5 => OperationId::Barrier,
            code => {
                return Err(FrameError::Code {
                    field: "operation",
                    code: code.into(),
                });
            }
        };
        if bytes[33] != 0 {
            return Err(FrameError::Code {
                field: "byte 33",
                code: bytes[33].into(),
            });
        }
        let slot = u16::from_le_bytes([bytes[34], bytes[35]]);
        let length = u32_at(44);
        if length as usize > PIECE_BYTES {
            return Err(FrameError::Length { got_bytes: length });
        }
        Ok(FrameHeader {
            kind,
            operation,
            generation,
            tag: TagKey {
                step: u64_at(16),
                iteration: u32_at(24),
                part: u32_at(28),
                op: u16::from_le_bytes([bytes[6], bytes[7]]),
                stage: bytes[32],
            },
            from: u32_at(36),
            piece: u32_at(40),
            length,
            slot: slot.checked_sub(1).map(SegmentSlot),
            total: u64_at(48),
            group: u32_at(56),
        })
    }
}

/// Whether these 60 bytes, with their check behind them, are a header of generation 1: for tests with bytes that no
/// worker sends.
#[must_use]
pub fn is_header(bytes: &[u8]) -> bool {
    let Some(fields) = bytes.first_chunk::<60>() else {
        return false;
    };
    let mut header = [0; HEADER_BYTES];
    header[..60].copy_from_slice(fields);
    header[60..].copy_from_slice(&check(fields).to_le_bytes());
    FrameHeader::decode(&header, Generation(1)).is_ok()
}

fn check(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Sum,
            operation: OperationId::ReduceU64,
            generation: Generation(u64::MAX - 3),
            tag: TagKey {
                step: 1 << 40,
                iteration: 2,
                part: 3,
                op: 500,
                stage: 9,
            },
            from: 7,
            piece: 8,
            length: PIECE_BYTES as u32,
            slot: Some(SegmentSlot(77)),
            total: 1 << 33,
            group: 0xdead_beef,
        }
    }

    proptest! {
        #[test]
        fn damage_is_found(at in 0..HEADER_BYTES, bit in 0u8..8) {
            let mut bytes = header().encode();
            prop_assert_eq!(FrameHeader::decode(&bytes, header().generation), Ok(header()));
            bytes[at] ^= 1 << bit;
            prop_assert!(FrameHeader::decode(&bytes, header().generation).is_err());
        }
    }

    #[test]
    fn bounds_and_generation_are_checked() {
        let long = FrameHeader {
            length: PIECE_BYTES as u32 + 1,
            ..header()
        }
        .encode();
        let error = FrameHeader::decode(&long, header().generation);
        assert_eq!(
            error,
            Err(FrameError::Length {
                got_bytes: PIECE_BYTES as u32 + 1
            })
        );
        let current = Generation(4);
        let error = FrameHeader::decode(&header().encode(), current);
        assert_eq!(
            error,
            Err(FrameError::Generation {
                got: header().generation,
                current
            })
        );
    }
}
