//! All-gather, broadcast and barrier.
//!
//! A buffer travels in pieces of at most [`PIECE_BYTES`], at least one even when it is empty, each telling
//! the length of the whole. A broadcast starts once the receiving workers have said that they are ready, so
//! that no state of hundreds of megabytes piles up at one that is not. Invariant: what is allocated grows
//! with what has arrived, not with what a frame promises.

use ulda_run::ids::Shard;

use crate::call::Call;
use crate::core::Core;
use crate::error::CollectiveError;
use crate::frame::{FrameKind, OperationId, PIECE_BYTES};
use crate::group::ShardGroup;
use crate::mailbox::{FramePlace, Piece};
use crate::tag::Tag;

/// Pieces of a buffer of `total` bytes.
fn pieces(total: u64) -> u32 {
    let pieces = total.div_ceil(PIECE_BYTES as u64).max(1);
    // A buffer of more than 2^32 pieces is longer than any memory.
    u32::try_from(pieces).unwrap_or(u32::MAX)
}

fn piece_of(bytes: &[u8], piece: u32) -> &[u8] {
    let start = piece as usize * PIECE_BYTES;
    &bytes[start..(start + PIECE_BYTES).min(bytes.len())]
}

fn send_all(call: &Call<'_>, bytes: &[u8]) -> Result<(), CollectiveError> {
    let total = bytes.len() as u64;
    (0..pieces(total)).try_for_each(|piece| {
        call.send_to_receivers((FrameKind::Whole, piece), piece_of(bytes, piece), total)
    })
}

/// Collects what `from` sends to all receivers into `bytes`, which is emptied first.
fn take_all(call: &Call<'_>, from: Shard, bytes: &mut Vec<u8>) -> Result<(), CollectiveError> {
    bytes.clear();
    let first = call.take_one(FrameKind::Whole, from, 0)?;
    let total = first.total;
    bytes.extend_from_slice(first.payload.bytes());
    for piece in 1..pieces(total) {
        let parcel: Piece = call.take_one(FrameKind::Whole, from, piece)?;
        bytes.extend_from_slice(parcel.payload.bytes());
    }
    if bytes.len() as u64 != total {
        let (tag, got) = (call.tag.key(), bytes.len() as u64);
        let (shard, other) = (from, from);
        return Err(CollectiveError::LengthMismatch {
            tag,
            shard,
            bytes: got,
            other,
            other_bytes: total,
        });
    }
    Ok(())
}

/// Rank `me`'s part in a gather: every contributor's bytes in shard order, or nothing for a rank that only
/// gives.
///
/// # Errors
/// The plane's fault; see [`CollectiveError`].
pub(crate) fn all_gather(
    core: &Core,
    me: Shard,
    tag: Tag,
    group: &ShardGroup,
    mine: &[u8],
) -> Result<Vec<Vec<u8>>, CollectiveError> {
    Call::run(core, me, tag, group, (OperationId::Gather, None), |call| {
        if group.gives(me) {
            send_all(call, mine)?;
        }
        if !group.gets(me) {
            return Ok(Vec::new());
        }
        let take = |from: &Shard| {
            if *from == me {
                return Ok(mine.to_vec());
            }
            let mut bytes = Vec::new();
            take_all(call, *from, &mut bytes)?;
            Ok(bytes)
        };
        group.contributors().iter().map(take).collect()
    })
}

/// Rank `me`'s part in a broadcast of the root's `buffer` to the group's receivers.
///
/// # Errors
/// The plane's fault; see [`CollectiveError`].
pub(crate) fn broadcast(
    core: &Core,
    me: Shard,
    tag: Tag,
    group: &ShardGroup,
    root: Shard,
    buffer: &mut Vec<u8>,
) -> Result<(), CollectiveError> {
    // With the root as the only contributor, ranks that differ about it are found out.
    let group = ShardGroup::reduce_to([root], group.members());
    Call::run(core, me, tag, &group, (OperationId::Broadcast, None), |call| {
        let here = core.membership.me;
        if me == root {
            let firsts = call.remote_receivers().iter().filter_map(|worker| {
                let first = group
                    .receivers()
                    .iter()
                    .find(|shard| core.worker_of(**shard) == *worker)?;
                Some(FramePlace {
                    kind: FrameKind::Ready,
                    from: *first,
                    piece: 0,
                })
            });
            call.take(&firsts.collect::<Vec<FramePlace>>())?;
            return send_all(call, buffer);
        }
        let speaker = core.worker_of(root);
        if speaker != here && call.leads_receivers() {
            call.send(speaker, (FrameKind::Ready, 0), &[], 0)?;
        }
        take_all(call, root, buffer)
    })
}

/// Rank `me`'s part in a barrier: a receiver returns once every contributor has called.
///
/// # Errors
/// The plane's fault; see [`CollectiveError`].
pub(crate) fn barrier(core: &Core, me: Shard, tag: Tag, group: &ShardGroup) -> Result<(), CollectiveError> {
    Call::run(core, me, tag, group, (OperationId::Barrier, None), |call| {
        if group.gives(me) {
            call.send_to_receivers((FrameKind::Whole, 0), &[], 0)?;
        }
        if group.gets(me) {
            let others = group.contributors().iter().filter(|shard| **shard != me);
            let wanted = others.map(|shard| FramePlace {
                kind: FrameKind::Whole,
                from: *shard,
                piece: 0,
            });
            call.take(&wanted.collect::<Vec<FramePlace>>())?;
        }
        Ok(())
    })
}
