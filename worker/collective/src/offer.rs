//! What two workers tell each other of their segments while they shake hands.
//!
//! An offer is process, descriptor (4 bytes each), slots (2 bytes) and mark, little-endian; all zeros for no segment.
//! Invariant: an offer that cannot be taken up costs nothing but the sharing.

use std::sync::Arc;

use crate::membership::Membership;
use crate::segment::{PeerSegment, SharedSegment};

/// Bytes of a mark.
pub(crate) const MARK_BYTES: usize = 32;
/// Bytes of an offer.
pub(crate) const OFFER_BYTES: usize = 10 + MARK_BYTES;

/// Where a segment is to be found, and how to be sure of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub process: u32,
    pub descriptor: u32,
    /// 0 for no segment.
    pub slots: u16,
    pub mark: [u8; MARK_BYTES],
}

/// The offer of `segment`.
pub(crate) fn encode_offer(segment: Option<&SharedSegment>) -> Vec<u8> {
    let Some(offer) = segment.and_then(SharedSegment::offer) else {
        return vec![0; OFFER_BYTES];
    };
    let mut bytes = offer.process.to_le_bytes().to_vec();
    bytes.extend_from_slice(&offer.descriptor.to_le_bytes());
    bytes.extend_from_slice(&offer.slots.to_le_bytes());
    bytes.extend_from_slice(&offer.mark);
    bytes
}

fn decode_offer(bytes: &[u8]) -> Option<Offer> {
    let (process, rest) = bytes.split_first_chunk()?;
    let (descriptor, rest) = rest.split_first_chunk()?;
    let (slots, rest) = rest.split_first_chunk()?;
    let (mark, _) = rest.split_first_chunk()?;
    let slots = u16::from_le_bytes(*slots);
    (slots > 0).then(|| Offer {
        process: u32::from_le_bytes(*process),
        descriptor: u32::from_le_bytes(*descriptor),
        slots,
        mark: *mark,
    })
}

/// The segment that the other side has offered, if both have one and this one is in reach.
pub(crate) fn find_segment(
    offer: &[u8],
    membership: &Membership,
    mine: Option<&SharedSegment>,
) -> Option<Arc<PeerSegment>> {
    mine?;
    match PeerSegment::open(&decode_offer(offer)?, membership.workers.len()) {
        Ok(segment) => Some(Arc::new(segment)),
        Err(error) => {
            tracing::debug!(%error, "a worker's payloads come over its connection: its memory is out of reach");
            None
        }
    }
}
