//! Where frames wait for the ranks that want them.
//!
//! One [`Exchange`] per tag, made by whatever comes first, a frame or a call, and gone when every local
//! member of the group has finished. Invariants: a waiter is woken once all it wants is there, not before;
//! frames for operations that nobody here has called yet are counted per sender, so that a sender far ahead
//! can be held back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ulda_run::ids::Shard;

use crate::error::CollectiveError;
use crate::frame::{FrameKind, OperationId};
use crate::membership::WorkerIndex;
use crate::pool::Payload;
use crate::tag::{Tag, TagKey};
use crate::wait::{Gate, lock};

/// Bytes a worker may be ahead before its reader waits.
const AHEAD_BYTES: u64 = 1 << 30;

/// What a frame is within its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FramePlace {
    pub kind: FrameKind,
    pub from: Shard,
    pub piece: u32,
}

/// What all callers of an operation must agree on; `total` in bytes, where lengths must be equal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OperationShape {
    pub speaker: Shard,
    pub operation: OperationId,
    pub group: u32,
    pub total: Option<u64>,
}

/// A payload, and the length in bytes of the buffer it is a piece of.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub payload: Arc<Payload>,
    pub total: u64,
}

struct Mail {
    parcel: Piece,
    reads: usize,
}

/// One operation under way.
pub(crate) struct Exchange {
    key: TagKey,
    gate: Gate<State>,
}

#[derive(Default)]
struct State {
    mail: HashMap<FramePlace, Mail>,
    waiters: Vec<(u64, Vec<FramePlace>)>,
    waiters_so_far: u64,
    shape: Option<OperationShape>,
    opened: Option<Tag>,
    finished: usize,
    unclaimed: Vec<(WorkerIndex, u64)>,
}

impl State {
    fn agree(&mut self, key: TagKey, shape: OperationShape) -> Result<(), CollectiveError> {
        let Some(known) = self.shape else {
            self.shape = Some(shape);
            return Ok(());
        };
        let (shard, other) = (shape.speaker, known.speaker);
        if known.operation != shape.operation || known.group != shape.group {
            return Err(CollectiveError::OperationMismatch {
                tag: key,
                shard,
                other,
            });
        }
        match (shape.total, known.total) {
            (Some(bytes), Some(other_bytes)) if bytes != other_bytes => {
                Err(CollectiveError::LengthMismatch {
                    tag: key,
                    shard,
                    bytes,
                    other,
                    other_bytes,
                })
            }
            _ => Ok(()),
        }
    }
}

impl Exchange {
    /// Waits until all of `wanted` is there and takes it, in that order. Each parcel is handed out
    /// `readers` times.
    ///
    /// `stop` is asked with what is still missing, at first and when woken; what it gives ends the wait.
    /// What is there is taken even from a broken plane: a peer that finished an operation and failed later
    /// has left its part. Also returns how long it took.
    ///
    /// # Errors
    /// What `stop` gives, or what is missing when `limit` has passed.
    pub fn take(
        &self,
        wanted: &[FramePlace],
        readers: impl Fn(FramePlace) -> usize,
        limit: Duration,
        stop: impl Fn(&[FramePlace]) -> Option<CollectiveError>,
    ) -> (Result<Vec<Piece>, Missing>, Duration) {
        let mut ticket = None;
        let (outcome, waited) = self.gate.wait(limit, |state| {
            let missing: Vec<FramePlace> = match ticket {
                None => wanted
                    .iter()
                    .copied()
                    .filter(|place| !state.mail.contains_key(place))
                    .collect(),
                Some(ticket) => {
                    let waiter = state.waiters.iter().find(|(known, _)| *known == ticket);
                    waiter.map(|(_, missing)| missing.clone()).unwrap_or_default()
                }
            };
            if !missing.is_empty() {
                if let Some(cause) = stop(&missing) {
                    return Some(Err(cause));
                }
                if ticket.is_none() {
                    state.waiters_so_far += 1;
                    ticket = Some(state.waiters_so_far);
                    state.waiters.push((state.waiters_so_far, missing));
                }
                return None;
            }
            state.waiters.retain(|(known, _)| Some(*known) != ticket);
            Some(Ok(wanted
                .iter()
                .filter_map(|place| hand_out(state, *place, readers(*place)))
                .collect()))
        });
        let outcome = match outcome {
            Some(Ok(parcels)) => Ok(parcels),
            Some(Err(cause)) => Err(Missing::Stopped(cause)),
            None => {
                let state = self.gate.lock();
                let waiter = state.waiters.iter().find(|(known, _)| Some(*known) == ticket);
                Err(Missing::Late(
                    waiter.map(|(_, missing)| missing.clone()).unwrap_or_default(),
                ))
            }
        };
        (outcome, waited)
    }
}

fn hand_out(state: &mut State, place: FramePlace, readers: usize) -> Option<Piece> {
    let mail = state.mail.get_mut(&place)?;
    mail.reads += 1;
    if mail.reads >= readers {
        return state.mail.remove(&place).map(|mail| mail.parcel);
    }
    Some(mail.parcel.clone())
}

/// Why parcels were not taken.
pub(crate) enum Missing {
    /// The wait was ended.
    Stopped(CollectiveError),
    /// The deadline passed without these.
    Late(Vec<FramePlace>),
}

/// All operations under way.
pub(crate) struct Mailbox {
    exchanges: Mutex<HashMap<TagKey, Arc<Exchange>>>,
    unclaimed: Gate<Vec<u64>>,
}

impl Mailbox {
    /// An empty mailbox for letters of `workers` workers.
    pub fn new(workers: usize) -> Mailbox {
        Mailbox {
            exchanges: Mutex::default(),
            unclaimed: Gate::new(vec![0; workers]),
        }
    }

    fn exchange(&self, key: TagKey) -> Arc<Exchange> {
        let mut exchanges = lock(&self.exchanges);
        let new = || {
            Arc::new(Exchange {
                key,
                gate: Gate::default(),
            })
        };
        exchanges.entry(key).or_insert_with(new).clone()
    }

    /// A local rank calls the operation.
    ///
    /// # Errors
    /// `LengthMismatch`, `OperationMismatch`.
    pub fn open(&self, tag: Tag, shape: OperationShape) -> Result<Arc<Exchange>, CollectiveError> {
        let exchange = self.exchange(tag.key());
        let mut state = exchange.gate.lock();
        state.agree(exchange.key, shape)?;
        state.opened = Some(tag);
        let claimed = std::mem::take(&mut state.unclaimed);
        drop(state);
        if !claimed.is_empty() {
            self.unclaimed.update(|unclaimed| {
                for (worker, bytes) in claimed {
                    unclaimed[worker.0 as usize] -= bytes;
                }
            });
        }
        Ok(exchange)
    }

    /// A local rank has finished; after the last of `members`, the operation is gone.
    pub fn close(&self, exchange: &Exchange, members: usize) {
        let mut state = exchange.gate.lock();
        state.finished += 1;
        let last = state.finished == members;
        drop(state);
        if last {
            lock(&self.exchanges).remove(&exchange.key);
        }
    }

    /// A parcel arrives; `carrier` is the peer that brought it, none for a rank of this worker.
    ///
    /// # Errors
    /// `LengthMismatch`, `OperationMismatch`.
    pub fn deliver(
        &self,
        key: TagKey,
        shape: OperationShape,
        place: FramePlace,
        parcel: Piece,
        carrier: Option<WorkerIndex>,
    ) -> Result<(), CollectiveError> {
        let exchange = self.exchange(key);
        let mut state = exchange.gate.lock();
        state.agree(key, shape)?;
        if let (None, Some(worker)) = (state.opened, carrier) {
            let bytes = parcel.payload.bytes().len() as u64;
            match state.unclaimed.iter_mut().find(|(known, _)| *known == worker) {
                Some((_, sum)) => *sum += bytes,
                None => state.unclaimed.push((worker, bytes)),
            }
            self.unclaimed.lock()[worker.0 as usize] += bytes;
        }
        state.mail.insert(place, Mail { parcel, reads: 0 });
        let mut complete = false;
        for (_, missing) in &mut state.waiters {
            let before = missing.len();
            missing.retain(|wanted| *wanted != place);
            complete |= missing.is_empty() && before > 0;
        }
        drop(state);
        if complete {
            exchange.gate.wake();
        }
        Ok(())
    }

    /// Waits until `worker` is no longer too far ahead, `stop` says so, or `limit` has passed; then its
    /// unclaimed bytes.
    pub fn admit(
        &self,
        worker: WorkerIndex,
        limit: Duration,
        stop: impl Fn() -> bool,
    ) -> Result<(), (u64, Duration)> {
        let place = worker.0 as usize;
        let fits = |unclaimed: &mut Vec<u64>| (unclaimed[place] <= AHEAD_BYTES || stop()).then_some(());
        match self.unclaimed.wait(limit, fits) {
            (Some(()), _) => Ok(()),
            (None, waited) => Err((self.unclaimed.lock()[place], waited)),
        }
    }

    /// Wakes every waiter, to have it ask `stop` again.
    pub fn wake(&self) {
        let exchanges: Vec<Arc<Exchange>> = lock(&self.exchanges).values().cloned().collect();
        for exchange in exchanges {
            exchange.gate.wake();
        }
        self.unclaimed.wake();
    }

    /// An operation that a local rank is in, the earliest by step.
    pub fn under_way(&self) -> Option<Tag> {
        let exchanges: Vec<Arc<Exchange>> = lock(&self.exchanges).values().cloned().collect();
        let tags = exchanges
            .iter()
            .filter_map(|exchange| exchange.gate.lock().opened);
        tags.min_by_key(|tag| (tag.stage.code, tag.step, tag.iteration, tag.op.code, tag.part))
    }
}
