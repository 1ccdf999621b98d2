//! Forming a generation: the data plane stands, and all members have the same state.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select};
use ulda_collective::{
    AbortCause, DataPlane, DataPlaneListener, Membership, ShardGroup, WorkerIndex, WorkerPeer,
};
use ulda_run::StateClaim;
use ulda_run::ids::{Generation, Shard};

use super::form_error::FormError;
use super::{FORMING, Trainer, TrainerError, claim};
use crate::agent::{Form, Order};
use crate::link::{GpuSums, Link, Op};
use crate::state::RunState;

/// A data plane that stands, with the state in place.
pub struct Formed {
    pub plane: Arc<DataPlane>,
    pub shards: Vec<Shard>,
    pub state: RunState,
    /// Sums gradients where they lie; none where the data plane does.
    pub gpu_sums: Option<Arc<GpuSums>>,
}

/// Between two attempts to leave a forming.
const AGAIN: Duration = Duration::from_millis(50);

/// A forming that another thread can end: who was told to leave must not wait for a peer that is gone.
#[derive(Default)]
struct Escape {
    plane: OnceLock<Arc<DataPlane>>,
    taken: AtomicBool,
}

impl Escape {
    fn take(&self, listener: &DataPlaneListener, why: &str) {
        self.taken.store(true, Ordering::SeqCst);
        listener.abandon();
        if let Some(plane) = self.plane.get() {
            plane.abort(AbortCause::new(why));
        }
    }

    /// The plane stands; whoever takes the escape from now on breaks it.
    fn formed(&self, plane: &Arc<DataPlane>) {
        // Set once per forming.
        let _ = self.plane.set(Arc::clone(plane));
        if self.taken.load(Ordering::SeqCst) {
            plane.abort(AbortCause::new("left while forming"));
        }
    }
}

/// Receives the orders that come while `generation` forms, until `over` is dropped; one that ends the forming
/// takes the escape. Gives them all back, to be followed afterwards.
fn watch_orders(
    orders: &Receiver<Order>,
    over: &Receiver<()>,
    generation: Generation,
    escape: impl Fn(&str),
) -> VecDeque<Order> {
    let mut held = VecDeque::new();
    let mut left: Option<String> = None;
    loop {
        // It may have been taken a moment before there was anything to leave.
        let again = if left.is_some() { after(AGAIN) } else { never() };
        select! {
            recv(over) -> _ => return held,
            recv(again) -> _ => left.iter().for_each(|why| escape(why)),
            recv(orders) -> order => {
                let Ok(order) = order else { return held };
                if let Some(why) = ends_forming(&order, generation) {
                    escape(&why);
                    left = Some(why);
                }
                held.push_back(order);
            }
        }
    }
}

fn ends_forming(order: &Order, generation: Generation) -> Option<String> {
    match order {
        Order::Fence {
            generation: fenced,
            why,
        } => (*fenced >= generation).then(|| why.clone()),
        Order::Form(form) => (form.generation > generation).then(|| format!("{} forms", form.generation)),
        Order::Stop { why, .. } | Order::Orphaned { why } => Some(why.clone()),
        Order::Go { .. } => None,
    }
}

impl Trainer {
    /// Connects the data plane and gets the state in place, from another member if need be. Ends early where an order
    /// says so; orders that came meanwhile are held for `next_order`.
    pub(super) fn form(&mut self, form: &Form) -> Result<Formed, FormError> {
        let escape = Escape::default();
        let (orders, listener) = (self.agent.orders.clone(), self.listener.clone());
        let (forming, over): (Sender<()>, Receiver<()>) = bounded(0);
        let generation = form.generation;
        let (formed, held) = std::thread::scope(|scope| {
            let watcher =
                scope.spawn(|| watch_orders(&orders, &over, generation, |why| escape.take(&listener, why)));
            let formed = self.form_undisturbed(form, &escape);
            drop(forming);
            // It panics only where the channel library does; then no order was taken from it.
            (formed, watcher.join().unwrap_or_default())
        });
        self.held.extend(held);
        formed
    }

    fn form_undisturbed(&self, form: &Form, escape: &Escape) -> Result<Formed, FormError> {
        let membership = self.membership(form);
        let shards = membership.shards_of(membership.me);
        let speaker = *shards.first().ok_or(FormError::NoShard(form.generation))?;
        let speakers = speakers(&membership);
        let plane = Arc::new(DataPlane::connect(&self.listener, membership, self.deadlines())?);
        escape.formed(&plane);
        let link = Link::new(plane.rank(speaker)?);
        let state = self.agree(form, &link, &speakers)?;
        check_digests(&link, &speakers, &state)?;
        let gpu_sums = self.gpu_sums(&plane, &link, &speakers)?.map(Arc::new);
        Ok(Formed {
            plane,
            shards,
            state,
            gpu_sums,
        })
    }

    fn membership(&self, form: &Form) -> Membership {
        Membership {
            run: self.run.clone(),
            generation: form.generation,
            me: form.me,
            workers: form
                .addresses
                .iter()
                .map(|address| WorkerPeer {
                    address: address.clone(),
                })
                .collect(),
            shards: form.shard_owner.clone(),
            secret: self.secret.clone(),
            encrypted: form.data_tls,
        }
    }

    /// The state the generation starts from: this worker's own, another member's, or the run's beginning.
    fn agree(&self, form: &Form, link: &Link, speakers: &ShardGroup) -> Result<RunState, FormError> {
        let own = |error| FormError::Own(Box::new(TrainerError::State(error)));
        let Some(wanted) = &form.state else {
            let beginning = self.resources.beginning(&self.spec);
            return beginning.map_err(|error| FormError::Own(Box::new(TrainerError::Resources(error))));
        };
        let mine = self.state.as_ref().filter(|state| matches(state, wanted));
        let everyone = link.gather(FORMING, Op::StateHolders, speakers, &[u8::from(mine.is_some())])?;
        let holds: Vec<bool> = everyone.iter().map(|flag| flag.first() == Some(&1)).collect();
        let first = holds
            .iter()
            .position(|&holds| holds)
            .ok_or(FormError::NoSource(wanted.cursor))?;
        if holds.iter().all(|&holds| holds) {
            return mine
                .map(RunState::share)
                .ok_or(FormError::NoSource(wanted.cursor));
        }
        let root = speakers.contributors()[first];
        let mut bytes = match mine {
            Some(state) if root.0 == link.shard() => state.to_bytes().map_err(own)?,
            Some(_) | None => Vec::new(),
        };
        link.broadcast(FORMING, Op::StateHandOver, speakers, root.0, &mut bytes)?;
        match mine {
            Some(state) => Ok(state.share()),
            None => {
                tracing::info!(bytes = bytes.len(), from = %root, at = %wanted.cursor, "state received");
                RunState::from_bytes(&bytes).map_err(FormError::Received)
            }
        }
    }
}

/// The lowest shard of each worker.
fn speakers(membership: &Membership) -> ShardGroup {
    let workers = (0..membership.workers.len() as u32).map(WorkerIndex);
    let lowest: Vec<Shard> = workers
        .filter_map(|worker| membership.shards_of(worker).first().copied())
        .collect();
    ShardGroup::reduce_to(lowest.clone(), lowest)
}

fn matches(state: &RunState, wanted: &StateClaim) -> bool {
    state.cursor == wanted.cursor && (!wanted.digest.is_known() || state.digest() == wanted.digest.0)
}

fn check_digests(link: &Link, speakers: &ShardGroup, state: &RunState) -> Result<(), FormError> {
    let mine = claim(state);
    let text = format!("{} {}", mine.cursor, mine.digest);
    let all = link.gather(FORMING, Op::StateCheck, speakers, text.as_bytes())?;
    if all.iter().all(|other| other == text.as_bytes()) {
        return Ok(());
    }
    let shards = speakers.contributors().iter();
    let listed: Vec<String> = shards
        .zip(&all)
        .map(|(shard, text)| format!("{shard} has {}", String::from_utf8_lossy(text)))
        .collect();
    Err(FormError::Disagree(listed.join(", ")))
}
