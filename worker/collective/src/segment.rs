//! Payloads for workers on the same host lie in shared memory instead of travelling over loopback.
//!
//! Each worker of a plane has one *segment*, which it alone writes and its peers map read-only:
//!
//! ```text
//! mark (32 random bytes) | returns: by peer and slot of the peer's segment, a u32 | slots of PIECE_BYTES each
//! ```
//!
//! A payload is written into a free slot once, however many peers read it there, and frames carry the slot's number.
//! A reader gives the slot back by counting up its own number for it; the writer compares these numbers with how often
//! it gave the slot to that peer. Invariants: a slot is written only while every peer it was given to has given it back,
//! so nothing that is still read is overwritten; there is no lock that a dead process could hold, and nobody waits for
//! a slot: where none is free, the payload goes over the connection. A segment is one plane's, so nothing of an older
//! generation can be read as a newer one's.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex};

use crate::frame::PIECE_BYTES;
use crate::membership::WorkerIndex;
use crate::memory::Memory;
use crate::offer::{MARK_BYTES, Offer};
use crate::wait::lock;

/// Most slots of a segment.
pub(crate) const SLOTS: u16 = 64;
/// Payloads up to this size go over the connection: a system call copies them anyway.
const INLINE_BYTES: usize = 8 * 1024;
/// Where the returns begin.
const RETURNS: usize = 4096;

/// Which payloads a worker lets its peers on this host read in its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Long ones, as many at once as this; at most 64. Each takes up to 1 MiB, once it is needed.
    Slots(u16),
    /// None; all travel over connections.
    Off,
    /// Says where they would be, in vain, as a worker in another container does; for tests.
    Misplaced,
}

impl Default for Sharing {
    fn default() -> Sharing {
        Sharing::Slots(SLOTS)
    }
}

/// A slot of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentSlot(pub u16);

/// Sizes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    workers: usize,
    slots: u16,
}

impl Layout {
    fn first_slot(self) -> usize {
        (RETURNS + self.workers * usize::from(SLOTS) * size_of::<u32>()).next_multiple_of(4096)
    }

    fn bytes(self) -> usize {
        self.slot(SegmentSlot(self.slots))
    }

    fn slot(self, slot: SegmentSlot) -> usize {
        self.first_slot() + usize::from(slot.0) * PIECE_BYTES
    }

    /// The count of how often `peer`'s slot was given back.
    fn returns(self, peer: WorkerIndex, slot: SegmentSlot) -> usize {
        RETURNS + (peer.0 as usize * usize::from(SLOTS) + usize::from(slot.0)) * size_of::<u32>()
    }
}

/// A worker's own segment.
#[derive(Debug)]
pub(crate) struct SharedSegment {
    memory: Memory,
    layout: Layout,
    mark: [u8; MARK_BYTES],
    misplaced: bool,
    /// Until the mesh is formed.
    file: Mutex<Option<File>>,
}

impl SharedSegment {
    /// A segment for a mesh of `workers`; none where `sharing` is off.
    pub fn create(
        workers: usize,
        sharing: Sharing,
        mark: [u8; MARK_BYTES],
    ) -> io::Result<Option<Arc<SharedSegment>>> {
        let (slots, misplaced) = match sharing {
            Sharing::Slots(slots) => (slots.min(SLOTS), false),
            Sharing::Misplaced => (SLOTS, true),
            Sharing::Off => (0, false),
        };
        if slots == 0 {
            return Ok(None);
        }
        let layout = Layout { workers, slots };
        let (memory, file) = Memory::create(layout.bytes())?;
        if !memory.populate(0, layout.first_slot()) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        // SAFETY: made a moment ago, and nobody has been told of it.
        unsafe { memory.write(0, &mark) };
        Ok(Some(Arc::new(SharedSegment {
            memory,
            layout,
            mark,
            misplaced,
            file: Mutex::new(Some(file)),
        })))
    }

    /// What peers are told of it; none once it is closed to newcomers.
    pub fn offer(&self) -> Option<Offer> {
        let descriptor = lock(&self.file).as_ref()?.as_raw_fd() as u32;
        let mut mark = self.mark;
        mark[0] ^= u8::from(self.misplaced);
        Some(Offer {
            process: std::process::id(),
            descriptor,
            slots: self.layout.slots,
            mark,
        })
    }

    /// From now on nobody can open it.
    pub fn close(&self) {
        lock(&self.file).take();
    }

    fn give_back(&self, owner: WorkerIndex, slot: SegmentSlot) {
        let returns = self.memory.number(self.layout.returns(owner, slot));
        // Whatever was read of the slot was read before.
        returns.fetch_add(1, Ordering::Release);
    }
}

/// A peer's segment.
#[derive(Debug)]
pub(crate) struct PeerSegment {
    memory: Memory,
    layout: Layout,
}

impl PeerSegment {
    /// Maps what a peer of a mesh of `workers` has offered.
    ///
    /// # Errors
    /// When it is not there, not to be had, or not what the peer meant.
    pub fn open(offer: &Offer, workers: usize) -> io::Result<PeerSegment> {
        if !(1..=SLOTS).contains(&offer.slots) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let layout = Layout {
            workers,
            slots: offer.slots,
        };
        let memory = Memory::open(offer.process, offer.descriptor, layout.bytes())?;
        // SAFETY: a mark is written before it is offered, and never again.
        if unsafe { memory.read(0, MARK_BYTES) } != offer.mark {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(PeerSegment { memory, layout })
    }

    /// Whether it has such a slot.
    pub fn has(&self, slot: SegmentSlot) -> bool {
        slot.0 < self.layout.slots
    }

    /// How often this peer has given back `slot` of `owner`.
    fn returned(&self, owner: WorkerIndex, slot: SegmentSlot) -> u32 {
        let returns = self.memory.number(self.layout.returns(owner, slot));
        let count = returns.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        count
    }
}

/// All segments of a plane, as one worker sees them.
#[derive(Debug)]
pub(crate) struct SharedSegments {
    me: WorkerIndex,
    mine: Arc<SharedSegment>,
    /// By worker; none for this one and for those elsewhere.
    peers: Vec<Option<Arc<PeerSegment>>>,
    slots: Mutex<Slots>,
}

#[derive(Debug)]
struct Slots {
    /// The latest one given back comes first, as it may still be in the cache.
    free: Vec<SegmentSlot>,
    lent: Vec<Lent>,
    /// How often each slot was given to each peer: by peer, then slot.
    given: Vec<[u32; SLOTS as usize]>,
    /// Slots that were used before.
    has_memory: [bool; SLOTS as usize],
}

#[derive(Debug)]
struct Lent {
    slot: SegmentSlot,
    to: Vec<WorkerIndex>,
}

impl SharedSegments {
    pub fn new(
        me: WorkerIndex,
        mine: Arc<SharedSegment>,
        peers: Vec<Option<Arc<PeerSegment>>>,
    ) -> SharedSegments {
        let slots = Slots {
            free: (0..mine.layout.slots).rev().map(SegmentSlot).collect(),
            lent: Vec::new(),
            given: vec![[0; SLOTS as usize]; peers.len()],
            has_memory: [false; SLOTS as usize],
        };
        SharedSegments {
            me,
            mine,
            peers,
            slots: Mutex::new(slots),
        }
    }

    /// Whether `worker` reads this worker's segment, and this one that worker's.
    pub fn shares_with(&self, worker: WorkerIndex) -> bool {
        self.peers[worker.0 as usize].is_some()
    }

    /// Lays `payload` where those of `receivers` that share a segment with this worker can read it; each of them must then
    /// be told of the slot. None when it is too short, when nobody shares, or when there is no room.
    pub fn lend(&self, payload: &[u8], receivers: &[WorkerIndex]) -> Option<SegmentSlot> {
        if !(INLINE_BYTES + 1..=PIECE_BYTES).contains(&payload.len()) {
            return None;
        }
        let shares = |worker: &WorkerIndex| self.shares_with(*worker);
        let to: Vec<WorkerIndex> = receivers.iter().copied().filter(shares).collect();
        if to.is_empty() {
            return None;
        }
        let slot = {
            let mut slots = lock(&self.slots);
            self.take_back(&mut slots);
            let slot = slots.free.pop()?;
            // A slot that cannot be used is left out for good.
            if !self.is_usable(&mut slots, slot, &to) {
                return None;
            }
            slot
        };
        // SAFETY: the slot was free, so that every peer which had it has given it back, and no other thread has it: it
        // is in neither list.
        unsafe { self.mine.memory.write(self.mine.layout.slot(slot), payload) };
        let mut slots = lock(&self.slots);
        for worker in &to {
            let given = &mut slots.given[worker.0 as usize][usize::from(slot.0)];
            *given = given.wrapping_add(1);
        }
        slots.lent.push(Lent { slot, to });
        // The payload is there before the frame that tells of it.
        fence(Ordering::Release);
        Some(slot)
    }

    /// Whether `slot`, a free one, has memory and no peer counts a return that it does not owe.
    fn is_usable(&self, slots: &mut Slots, slot: SegmentSlot, to: &[WorkerIndex]) -> bool {
        let at = usize::from(slot.0);
        let settled = |worker: &WorkerIndex| {
            let peer = self.peers[worker.0 as usize].as_ref();
            peer.is_some_and(|peer| peer.returned(self.me, slot) == slots.given[worker.0 as usize][at])
        };
        if !to.iter().all(settled) {
            return false;
        }
        slots.has_memory[at] = slots.has_memory[at]
            || self
                .mine
                .memory
                .populate(self.mine.layout.slot(slot), PIECE_BYTES);
        slots.has_memory[at]
    }

    /// Frees the slots that all their readers have given back.
    fn take_back(&self, slots: &mut Slots) {
        let Slots {
            free, lent, given, ..
        } = slots;
        lent.retain(|lent| {
            let returned = |worker: &WorkerIndex| {
                let given = given[worker.0 as usize][usize::from(lent.slot.0)];
                let peer = self.peers[worker.0 as usize].as_ref();
                peer.is_some_and(|peer| peer.returned(self.me, lent.slot) == given)
            };
            let back = lent.to.iter().all(returned);
            if back {
                free.push(lent.slot);
            }
            !back
        });
    }

    /// The payload that `owner` says is in `slot`; none where it has no such slot. `length` is at most [`PIECE_BYTES`].
    pub fn borrow(&self, owner: WorkerIndex, slot: SegmentSlot, length: usize) -> Option<Loan> {
        let segment = self.peers[owner.0 as usize].as_ref()?;
        if !segment.has(slot) || length > PIECE_BYTES {
            return None;
        }
        // The frame that tells of the payload came after it.
        fence(Ordering::Acquire);
        Some(Loan {
            segment: segment.clone(),
            reader: self.mine.clone(),
            owner,
            slot,
            length,
        })
    }
}

/// A payload on a peer's segment; given back when dropped.
#[derive(Debug)]
pub(crate) struct Loan {
    segment: Arc<PeerSegment>,
    reader: Arc<SharedSegment>,
    owner: WorkerIndex,
    slot: SegmentSlot,
    length: usize,
}

impl Loan {
    pub fn bytes(&self) -> &[u8] {
        let offset = self.segment.layout.slot(self.slot);
        // SAFETY: the owner writes the slot again only after it was given back, which the slice's end precedes. Only it
        // can write, and it has proved that it is one of the run.
        unsafe { self.segment.memory.read(offset, self.length) }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.reader.give_back(self.owner, self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: WorkerIndex = WorkerIndex(0);
    const PEER: WorkerIndex = WorkerIndex(1);

    /// Both ends of two workers that share segments of `slots`.
    fn pair(slots: u16) -> [SharedSegments; 2] {
        let segments = [1, 2].map(|mark| {
            let segment = SharedSegment::create(2, Sharing::Slots(slots), [mark; MARK_BYTES]);
            segment.unwrap().unwrap()
        });
        let peer = |of: usize| Arc::new(PeerSegment::open(&segments[of].offer().unwrap(), 2).unwrap());
        let ends = [
            (ME, 0, vec![None, Some(peer(1))]),
            (PEER, 1, vec![Some(peer(0)), None]),
        ];
        ends.map(|(me, mine, peers)| SharedSegments::new(me, segments[mine].clone(), peers))
    }

    #[test]
    fn a_slot_is_not_written_before_it_was_given_back() {
        let [lender, reader] = pair(2);
        let payload = |byte: u8| vec![byte; INLINE_BYTES + 1];
        let lend = |byte| lender.lend(&payload(byte), &[PEER]);
        let borrow = |slot| reader.borrow(ME, slot, INLINE_BYTES + 1).unwrap();
        let (first, second) = (borrow(lend(1).unwrap()), borrow(lend(2).unwrap()));
        assert_eq!(lend(3), None);
        assert!(first.bytes() == payload(1) && second.bytes() == payload(2));
        drop(first);
        for round in 4..200 {
            let next = borrow(lend(round).unwrap());
            assert_eq!(lend(0), None, "the other one is still read");
            assert!(next.bytes() == payload(round) && second.bytes() == payload(2));
        }
    }

    #[test]
    fn slots_and_lengths_beyond_the_segment_are_not_borrowed() {
        let [_, reader] = pair(2);
        assert!(reader.borrow(ME, SegmentSlot(1), PIECE_BYTES).is_some());
        assert!(reader.borrow(ME, SegmentSlot(2), 1).is_none());
        assert!(reader.borrow(ME, SegmentSlot(u16::MAX), 1).is_none());
        assert!(reader.borrow(ME, SegmentSlot(0), PIECE_BYTES + 1).is_none());
        assert!(reader.borrow(PEER, SegmentSlot(0), 1).is_none());
    }

    #[test]
    fn short_payloads_and_workers_that_share_nothing_get_no_slot() {
        let [lender, _] = pair(2);
        assert_eq!(lender.lend(&[0; INLINE_BYTES], &[PEER]), None);
        assert_eq!(lender.lend(&[0; PIECE_BYTES], &[ME]), None);
        assert_eq!(lender.lend(&[0; PIECE_BYTES + 1], &[PEER]), None);
        assert!(lender.lend(&[0; PIECE_BYTES], &[PEER]).is_some());
    }

    #[test]
    fn a_segment_is_known_by_its_mark_and_closed_in_the_end() {
        let segment = SharedSegment::create(2, Sharing::default(), [1; MARK_BYTES]);
        let segment = segment.unwrap().unwrap();
        let offer = segment.offer().unwrap();
        let other = Offer {
            mark: [2; MARK_BYTES],
            ..offer
        };
        assert!(PeerSegment::open(&offer, 2).is_ok());
        assert!(PeerSegment::open(&other, 2).is_err());
        assert!(PeerSegment::open(&offer, 2000).is_err(), "another mesh");
        segment.close();
        assert!(segment.offer().is_none() && PeerSegment::open(&offer, 2).is_err());
    }
}
