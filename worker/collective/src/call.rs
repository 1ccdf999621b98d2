//! One rank's part in one operation: whom it speaks to, and how it takes what others said.
//!
//! Invariant: payloads for shards of this worker go through memory, and a worker gets a payload once
//! however many of its shards want it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ulda_run::ids::Shard;

use crate::core::Core;
use crate::error::CollectiveError;
use crate::frame::{FrameHeader, FrameKind, OperationId};
use crate::group::ShardGroup;
use crate::mailbox::{Exchange, FramePlace, Missing, OperationShape, Piece};
use crate::membership::WorkerIndex;
use crate::pool::Payload;
use crate::tag::Tag;
use crate::wait::lock;

pub(crate) struct Call<'a> {
    pub core: &'a Core,
    pub me: Shard,
    pub tag: Tag,
    pub group: &'a ShardGroup,
    operation: OperationId,
    fingerprint: u32,
    exchange: Arc<Exchange>,
    local_members: usize,
    local_receivers: Vec<Shard>,
    remote_receivers: Vec<WorkerIndex>,
}

impl<'a> Call<'a> {
    /// Runs `body` as rank `me`'s part in the operation; `total` is the length in bytes all ranks must
    /// agree on.
    ///
    /// # Errors
    /// The plane's fault. Whatever goes wrong breaks the plane.
    pub fn run<R>(
        core: &'a Core,
        me: Shard,
        tag: Tag,
        group: &'a ShardGroup,
        (operation, total): (OperationId, Option<u64>),
        body: impl FnOnce(&Call<'a>) -> Result<R, CollectiveError>,
    ) -> Result<R, CollectiveError> {
        if let Some(fault) = core.fault() {
            return Err(fault.clone());
        }
        core.counters.operations.fetch_add(1, Ordering::Relaxed);
        let call = Call::open(core, me, tag, group, operation, total).map_err(|error| core.fail(error))?;
        let result = body(&call);
        core.mailbox.close(&call.exchange, call.local_members);
        result.map_err(|error| core.fail(error))
    }

    fn open(
        core: &'a Core,
        me: Shard,
        tag: Tag,
        group: &'a ShardGroup,
        operation: OperationId,
        total: Option<u64>,
    ) -> Result<Call<'a>, CollectiveError> {
        let members = group.members();
        let problem = if group.contributors().is_empty() {
            Some("without contributors")
        } else if group.receivers().is_empty() {
            Some("without receivers")
        } else if !group.contains(me) {
            Some("it is not in")
        } else if members
            .last()
            .is_some_and(|last| core.membership.worker_of(*last).is_none())
        {
            Some("of shards the run does not have")
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(CollectiveError::InvalidGroup {
                tag,
                shard: me,
                problem,
            });
        }
        if !lock(&core.ledgers[me.0 as usize]).enter(tag.key()) {
            return Err(CollectiveError::TagReused { tag, shard: me });
        }
        let here = core.membership.me;
        let is_local = |shard: &&Shard| core.worker_of(**shard) == here;
        let local_members = members.iter().filter(is_local).count();
        let local_receivers: Vec<Shard> = group.receivers().iter().filter(is_local).copied().collect();
        let remote = group.receivers().iter().map(|shard| core.worker_of(*shard));
        let mut remote_receivers: Vec<WorkerIndex> = remote.filter(|worker| *worker != here).collect();
        remote_receivers.sort_unstable();
        remote_receivers.dedup();
        // Those after this worker come first, so that not everybody starts with the same peer.
        let after = remote_receivers.partition_point(|worker| *worker < here);
        remote_receivers.rotate_left(after);
        let fingerprint = group.fingerprint();
        let shape = OperationShape {
            speaker: me,
            operation,
            group: fingerprint,
            total,
        };
        let exchange = core.mailbox.open(tag, shape)?;
        Ok(Call {
            core,
            me,
            tag,
            group,
            operation,
            fingerprint,
            exchange,
            local_members,
            local_receivers,
            remote_receivers,
        })
    }

    /// Local receivers of what `from` says to all: everyone but itself.
    pub fn listeners(&self, from: Shard) -> usize {
        self.local_receivers
            .iter()
            .filter(|receiver| **receiver != from)
            .count()
    }

    /// The workers, other than this one, that have receivers.
    pub fn remote_receivers(&self) -> &[WorkerIndex] {
        &self.remote_receivers
    }

    /// Whether this rank is the first of its worker's receivers.
    pub fn leads_receivers(&self) -> bool {
        self.local_receivers.first() == Some(&self.me)
    }

    fn header(&self, kind: FrameKind, piece: u32, length: usize, total: u64) -> FrameHeader {
        FrameHeader {
            kind,
            operation: self.operation,
            generation: self.core.membership.generation,
            tag: self.tag.key(),
            from: self.me.0,
            piece,
            length: length as u32,
            slot: None,
            total,
            group: self.fingerprint,
        }
    }

    /// Says `payload`, piece `piece` of a buffer of `total` bytes, to one worker.
    pub fn send(
        &self,
        to: WorkerIndex,
        (kind, piece): (FrameKind, u32),
        payload: &[u8],
        total: u64,
    ) -> Result<(), CollectiveError> {
        if to == self.core.membership.me {
            return self.keep((kind, piece), payload, total);
        }
        let header = self.header(kind, piece, payload.len(), total);
        self.core.send(self.tag, &[to], header, payload)
    }

    /// Says `payload` to all receivers but this rank.
    pub fn send_to_receivers(
        &self,
        (kind, piece): (FrameKind, u32),
        payload: &[u8],
        total: u64,
    ) -> Result<(), CollectiveError> {
        if self.listeners(self.me) > 0 {
            self.keep((kind, piece), payload, total)?;
        }
        let header = self.header(kind, piece, payload.len(), total);
        self.core.send(self.tag, &self.remote_receivers, header, payload)
    }

    fn keep(
        &self,
        (kind, piece): (FrameKind, u32),
        payload: &[u8],
        total: u64,
    ) -> Result<(), CollectiveError> {
        let header = self.header(kind, piece, payload.len(), total);
        let shape = OperationShape {
            speaker: self.me,
            operation: self.operation,
            group: self.fingerprint,
            total: None,
        };
        let place = FramePlace {
            kind,
            from: self.me,
            piece,
        };
        let parcel = Piece {
            payload: Arc::new(Payload::Own(self.core.pool.copy(payload))),
            total,
        };
        self.core.mailbox.deliver(header.tag, shape, place, parcel, None)
    }

    /// Waits for all of `wanted`; what is said to all receivers is handed out once to each local one.
    ///
    /// # Errors
    /// The plane's fault, `Timeout`, `PeerClosed`.
    pub fn take(&self, wanted: &[FramePlace]) -> Result<Vec<Piece>, CollectiveError> {
        let core = self.core;
        let readers = |place: FramePlace| match place.kind {
            FrameKind::Whole | FrameKind::Sum => self.listeners(place.from),
            FrameKind::Contribution | FrameKind::Ready | FrameKind::Abort | FrameKind::Bye => 1,
        };
        let stop = |missing: &[FramePlace]| {
            if let Some(fault) = core.fault() {
                return Some(fault.clone());
            }
            let worker = missing.iter().find_map(|place| core.departed(place.from))?;
            Some(CollectiveError::PeerClosed {
                worker,
                during: Some(self.tag),
            })
        };
        let limit = core.deadlines.operation;
        let (outcome, waited) = self.exchange.take(wanted, readers, limit, stop);
        core.counters.waited(waited);
        outcome.map_err(|missing| match missing {
            Missing::Stopped(cause) => cause,
            Missing::Late(places) => {
                let mut late: Vec<Shard> = places.iter().map(|place| place.from).collect();
                late.sort_unstable();
                late.dedup();
                let waiting_for = late
                    .into_iter()
                    .map(|shard| (shard, core.worker_of(shard)))
                    .collect();
                CollectiveError::Timeout {
                    tag: self.tag,
                    waiting_for,
                    waited,
                }
            }
        })
    }

    /// Waits for one.
    ///
    /// # Errors
    /// Like [`take`](Call::take).
    pub fn take_one(&self, kind: FrameKind, from: Shard, piece: u32) -> Result<Piece, CollectiveError> {
        let mut parcels = self.take(&[FramePlace { kind, from, piece }])?;
        // One place wanted gives one parcel.
        parcels.pop().ok_or(CollectiveError::Closed)
    }
}
