//! All-reduce, summed in ascending shard order.
//!
//! Short buffers take one hop: every contributor speaks to every receiver, and each receiver sums. Long
//! ones are cut into pieces, dealt in turn to the receivers; the owner of a piece sums it and tells the
//! other receivers. Pieces flow in rounds of one per owner, with the sending some rounds ahead of the
//! summing and that ahead of the collecting, so that what is summed is still in the cache. Invariant:
//! pieces, owners and the order of additions follow from the group and the length alone, never from workers
//! or time. (Which payload a NaN carries is the processor's choice.)

use ulda_run::ids::Shard;

use crate::bytes::Summand;
use crate::call::Call;
use crate::core::Core;
use crate::error::CollectiveError;
use crate::frame::{FrameKind, PIECE_BYTES};
use crate::group::ShardGroup;
use crate::mailbox::{FramePlace, Piece};
use crate::tag::Tag;

/// Longest buffer that takes one hop.
const ONE_HOP_BYTES: usize = 32 * 1024;
/// Shortest piece of a longer one.
const SHORT_PIECE_BYTES: usize = 8 * 1024;
/// What is summed at once.
const BLOCK_BYTES: usize = 8 * 1024;
/// Rounds that sending is ahead of summing.
const SUM_BEHIND: usize = 1;
/// Rounds that sending is ahead of collecting.
const COLLECT_BEHIND: usize = 3;

/// Rank `me`'s part in the sum of `buffer` over the group's contributors.
///
/// # Errors
/// The plane's fault; see [`CollectiveError`].
pub(crate) fn all_reduce<E: Summand>(
    core: &Core,
    me: Shard,
    tag: Tag,
    group: &ShardGroup,
    buffer: &mut [E],
) -> Result<(), CollectiveError> {
    let total = size_of_val(buffer);
    Call::run(
        core,
        me,
        tag,
        group,
        (E::REDUCE, Some(total as u64)),
        |call| match total {
            0..=ONE_HOP_BYTES => one_hop(call, buffer),
            _ => in_pieces(call, buffer),
        },
    )
}

fn one_hop<E: Summand>(call: &Call<'_>, buffer: &mut [E]) -> Result<(), CollectiveError> {
    if call.group.gives(call.me) {
        let total = size_of_val(buffer) as u64;
        call.send_to_receivers((FrameKind::Whole, 0), E::as_bytes(buffer), total)?;
    }
    match call.group.gets(call.me) {
        true => sum(call, FrameKind::Whole, 0, buffer),
        false => Ok(()),
    }
}

/// Takes the contributions of all others to `numbers` and adds them up in shard order, this rank's own in
/// its place.
fn sum<E: Summand>(
    call: &Call<'_>,
    kind: FrameKind,
    piece: u32,
    numbers: &mut [E],
) -> Result<(), CollectiveError> {
    let contributors = call.group.contributors();
    let others: Vec<FramePlace> = contributors
        .iter()
        .filter(|shard| **shard != call.me)
        .map(|shard| FramePlace {
            kind,
            from: *shard,
            piece,
        })
        .collect();
    let mut parcels = call.take(&others)?;
    for (place, parcel) in others.iter().zip(&parcels) {
        check_length(call, place.from, parcel, size_of_val(numbers))?;
    }
    let before = others.partition_point(|place| place.from < call.me);
    let after = parcels.split_off(before);
    if call.group.gives(call.me) {
        add_around(&parcels, &after, numbers);
    } else {
        for (place, parcel) in parcels.iter().chain(&after).enumerate() {
            match place {
                0 => E::assign(numbers, parcel.payload.bytes()),
                _ => E::add(numbers, parcel.payload.bytes()),
            }
        }
    }
    Ok(())
}

/// `numbers = (((c0 + c1) + …) + numbers) + …`, in blocks that stay in the innermost cache.
fn add_around<E: Summand>(before: &[Piece], after: &[Piece], numbers: &mut [E]) {
    let mut prefix = [0; BLOCK_BYTES];
    for (block, numbers) in numbers.chunks_mut(BLOCK_BYTES / E::BYTES).enumerate() {
        let start = block * BLOCK_BYTES;
        let range = start..start + size_of_val(numbers);
        match before {
            [] => {}
            [only] => E::add_to_prefix(numbers, &only.payload.bytes()[range.clone()]),
            [first, rest @ ..] => {
                let prefix = &mut prefix[..range.len()];
                prefix.copy_from_slice(&first.payload.bytes()[range.clone()]);
                for parcel in rest {
                    E::fold(prefix, &parcel.payload.bytes()[range.clone()]);
                }
                E::add_to_prefix(numbers, prefix);
            }
        }
        for parcel in after {
            E::add(numbers, &parcel.payload.bytes()[range.clone()]);
        }
    }
}

fn check_length(
    call: &Call<'_>,
    shard: Shard,
    parcel: &Piece,
    expected: usize,
) -> Result<(), CollectiveError> {
    let got = parcel.payload.bytes().len();
    if got == expected {
        return Ok(());
    }
    let (bytes, other_bytes) = (got as u64, expected as u64);
    Err(CollectiveError::LengthMismatch {
        tag: call.tag.key(),
        shard,
        bytes,
        other: call.me,
        other_bytes,
    })
}

/// Which numbers each piece covers, and who owns it.
struct Cut {
    length: usize,
    piece: usize,
    owners: usize,
}

impl Cut {
    fn new<E: Summand>(length: usize, owners: usize) -> Cut {
        let even = (length * E::BYTES).div_ceil(owners).next_multiple_of(64);
        Cut {
            length,
            piece: even.clamp(SHORT_PIECE_BYTES, PIECE_BYTES) / E::BYTES,
            owners,
        }
    }

    fn rounds(&self) -> usize {
        self.length.div_ceil(self.piece).div_ceil(self.owners)
    }

    /// The piece that `owner` has in `round`, and its numbers; none past the end.
    fn piece(&self, round: usize, owner: usize) -> Option<(u32, std::ops::Range<usize>)> {
        let number = round * self.owners + owner;
        let start = number * self.piece;
        (start < self.length).then(|| (number as u32, start..(start + self.piece).min(self.length)))
    }
}

fn in_pieces<E: Summand>(call: &Call<'_>, buffer: &mut [E]) -> Result<(), CollectiveError> {
    let owners = call.group.receivers();
    let mine = owners.binary_search(&call.me).ok();
    let cut = Cut::new::<E>(buffer.len(), owners.len());
    for round in 0..cut.rounds() + COLLECT_BEHIND {
        if round < cut.rounds() && call.group.gives(call.me) {
            contribute(call, &cut, round, mine, buffer)?;
        }
        let Some(mine) = mine else { continue };
        if let Some(summing) = round.checked_sub(SUM_BEHIND)
            && let Some((piece, range)) = cut.piece(summing, mine)
        {
            let total = size_of_val(buffer) as u64;
            let numbers = &mut buffer[range];
            sum(call, FrameKind::Contribution, piece, numbers)?;
            call.send_to_receivers((FrameKind::Sum, piece), E::as_bytes(numbers), total)?;
        }
        if let Some(collecting) = round.checked_sub(COLLECT_BEHIND) {
            collect(call, &cut, collecting, mine, buffer)?;
        }
    }
    Ok(())
}

/// Sends this rank's part of the round's pieces to their owners, beginning with the next one after itself.
fn contribute<E: Summand>(
    call: &Call<'_>,
    cut: &Cut,
    round: usize,
    mine: Option<usize>,
    buffer: &[E],
) -> Result<(), CollectiveError> {
    let owners = call.group.receivers();
    let total = size_of_val(buffer) as u64;
    let first = owners.partition_point(|owner| *owner <= call.me);
    for owner in (first..owners.len())
        .chain(0..first)
        .filter(|owner| Some(*owner) != mine)
    {
        if let Some((piece, range)) = cut.piece(round, owner) {
            let to = call.core.worker_of(owners[owner]);
            call.send(
                to,
                (FrameKind::Contribution, piece),
                E::as_bytes(&buffer[range]),
                total,
            )?;
        }
    }
    Ok(())
}

/// Takes the sums of the round's other pieces.
fn collect<E: Summand>(
    call: &Call<'_>,
    cut: &Cut,
    round: usize,
    mine: usize,
    buffer: &mut [E],
) -> Result<(), CollectiveError> {
    let owners = call.group.receivers();
    let pieces: Vec<(FramePlace, std::ops::Range<usize>)> = (0..owners.len())
        .filter(|owner| *owner != mine)
        .filter_map(|owner| {
            let (piece, range) = cut.piece(round, owner)?;
            Some((
                FramePlace {
                    kind: FrameKind::Sum,
                    from: owners[owner],
                    piece,
                },
                range,
            ))
        })
        .collect();
    let wanted: Vec<FramePlace> = pieces.iter().map(|(place, _)| *place).collect();
    for ((place, range), parcel) in pieces.into_iter().zip(call.take(&wanted)?) {
        let numbers = &mut buffer[range];
        check_length(call, place.from, &parcel, size_of_val(numbers))?;
        E::assign(numbers, parcel.payload.bytes());
    }
    Ok(())
}
