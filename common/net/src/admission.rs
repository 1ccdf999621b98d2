//! Caps on the connections of peers that have proved nothing, per address and in total.
//!
//! A full table makes room by closing the connection that has been idle for longest: of the same address where that has
//! reached its cap, else of the address that holds most. So a peer that answers promptly gets through even beside a
//! flood from its own address, and a flood from one address costs no other address anything.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::descriptors::descriptor_limit;

/// Most connections of one listener, however many descriptors the process may open.
const MOST: u64 = 256;
/// Refusals are counted for this long before they are logged in one line.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// How many connections a listener admits at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionCaps {
    pub total: usize,
    /// From one address; of IPv6, from one /64 network.
    pub per_peer: usize,
}

impl AdmissionCaps {
    /// A quarter of what this process may open, at most 256; half of that for one address.
    #[must_use]
    pub fn of_process() -> Self {
        Self::of_limit(descriptor_limit())
    }

    fn of_limit(descriptors: u64) -> Self {
        let total = usize::try_from((descriptors / 4).clamp(2, MOST)).unwrap_or(2);
        Self {
            total,
            per_peer: total / 2,
        }
    }
}

/// The connections that one listener has admitted; clones share them.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    listener: &'static str,
    caps: AdmissionCaps,
    open: HashMap<u64, Entry>,
    /// Ids and turns are drawn from it.
    next: u64,
    refused: u64,
    /// When the first of `refused` was.
    refused_since: Option<Instant>,
}

struct Entry {
    peer: IpAddr,
    /// Requests in progress.
    busy: u32,
    /// The lower, the longer idle.
    turn: u64,
    close: Box<dyn Fn() + Send>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("peer", &self.peer)
            .field("busy", &self.busy)
            .field("turn", &self.turn)
            .finish_non_exhaustive()
    }
}

impl Admission {
    /// `listener` names it in the log.
    #[must_use]
    pub fn new(listener: &'static str, caps: AdmissionCaps) -> Self {
        Self(Arc::new(Mutex::new(Table {
            listener,
            caps,
            open: HashMap::new(),
            next: 0,
            refused: 0,
            refused_since: None,
        })))
    }

    #[must_use]
    pub fn caps(&self) -> AdmissionCaps {
        self.lock().caps
    }

    /// Connections that hold a place now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().open.len()
    }

    /// A place for a connection of `peer`; `None` where all places are busy with requests. `close` is called, and must
    /// not wait, when another connection needs the place.
    pub fn admit(&self, peer: IpAddr, close: impl Fn() + Send + 'static) -> Option<AdmittedConnection> {
        let mut table = self.lock();
        let peer = network_of(peer);
        let has_room = table.make_room(peer);
        let admitted = has_room.then(|| {
            let id = table.next_number();
            let entry = Entry {
                peer,
                busy: 0,
                turn: id,
                close: Box::new(close),
            };
            table.open.insert(id, entry);
            AdmittedConnection {
                admission: self.clone(),
                id,
            }
        });
        let due = table.take_due(Instant::now());
        drop(table);
        log_refusals(due);
        admitted
    }

    /// Whether it still had its place.
    fn remove(&self, id: u64) -> bool {
        let mut table = self.lock();
        let was_there = table.open.remove(&id).is_some();
        let due = table.take_due(Instant::now());
        drop(table);
        log_refusals(due);
        was_there
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be logged about a listener: refused connections and those still open.
type DueLine = Option<(&'static str, u64, usize)>;

fn log_refusals(due: DueLine) {
    if let Some((listener, refused, open)) = due {
        tracing::warn!(
            listener,
            refused,
            open,
            "connections refused: too many were open, those idle for longest were closed"
        );
    }
}

impl Table {
    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether there is room for one more of `peer`, if need be in place of an idle one.
    fn make_room(&mut self, peer: IpAddr) -> bool {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for entry in self.open.values() {
            *counts.entry(entry.peer).or_default() += 1;
        }
        let full = if counts
            .get(&peer)
            .is_some_and(|&count| count >= self.caps.per_peer)
        {
            self.longest_idle(|entry| (entry.peer == peer).then_some(0))
        } else if self.open.len() >= self.caps.total {
            self.longest_idle(|entry| counts.get(&entry.peer).copied())
        } else {
            return true;
        };
        self.refused += 1;
        self.refused_since.get_or_insert_with(Instant::now);
        let Some(closed) = full.and_then(|id| self.open.remove(&id)) else {
            return false;
        };
        (closed.close)();
        true
    }

    /// The idle connection of the highest `weight` that has been idle for longest; none without a weight.
    fn longest_idle(&self, weight: impl Fn(&Entry) -> Option<usize>) -> Option<u64> {
        let idle = self.open.iter().filter(|(_, entry)| entry.busy == 0);
        let weighed =
            idle.filter_map(|(&id, entry)| Some((weight(entry)?, std::cmp::Reverse(entry.turn), id)));
        weighed.max().map(|(_, _, id)| id)
    }

    fn take_due(&mut self, now: Instant) -> DueLine {
        self.refused_since
            .take_if(|since| now.duration_since(*since) >= LOG_EVERY)
            .map(|_| (self.listener, std::mem::take(&mut self.refused), self.open.len()))
    }
}

/// A connection that holds one of its listener's places until it is dropped or released.
#[derive(Debug)]
pub struct AdmittedConnection {
    admission: Admission,
    id: u64,
}

impl AdmittedConnection {
    /// Gives the place back: the peer has proved to be one of the run's, whose connections are not counted. False where
    /// the connection was closed for another one before.
    pub fn release(&self) -> bool {
        self.admission.remove(self.id)
    }

    /// Connections that hold a place of the same listener now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.admission.count()
    }

    /// Keeps the connection from being closed for another one until the request is over.
    #[must_use]
    pub fn begin_request(self: &Arc<Self>) -> RequestInProgress {
        if let Some(entry) = self.admission.lock().open.get_mut(&self.id) {
            entry.busy += 1;
        }
        RequestInProgress(self.clone())
    }

    fn end_request(&self) {
        let mut table = self.admission.lock();
        let turn = table.next_number();
        if let Some(entry) = table.open.get_mut(&self.id) {
            entry.busy = entry.busy.saturating_sub(1);
            entry.turn = turn;
        }
    }
}

impl Drop for AdmittedConnection {
    fn drop(&mut self) {
        self.release();
    }
}

/// Ends the request of an [`AdmittedConnection`] when it is dropped.
#[derive(Debug)]
pub struct RequestInProgress(Arc<AdmittedConnection>);

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.0.end_request();
    }
}

/// Whom an address belongs to: of IPv6, one host has a whole /64 network.
fn network_of(address: IpAddr) -> IpAddr {
    const NETWORK: u128 = !0 << 64;
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => Ipv6Addr::from_bits(v6.to_bits() & NETWORK).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

    /// A listener of four places, two per address, and a way to admit connections whose closing is received.
    fn small() -> (
        Admission,
        impl Fn(IpAddr, u32) -> Option<Arc<AdmittedConnection>>,
        Receiver<u32>,
    ) {
        let caps = AdmissionCaps {
            total: 4,
            per_peer: 3,
        };
        let admission = Admission::new("test", caps);
        let (closed, closings) = channel();
        let admit = {
            let admission = admission.clone();
            move |peer, number| {
                let closed = closed.clone();
                let close = move || closed.send(number).unwrap();
                admission.admit(peer, close).map(Arc::new)
            }
        };
        (admission, admit, closings)
    }

    #[test]
    fn an_address_at_its_cap_loses_its_own_longest_idle_connection() {
        let (_, admit, closings) = small();
        let _other = admit(HERE, 0).unwrap();
        let held = [1, 2, 3].map(|number| admit(THERE, number).unwrap());
        assert!(closings.try_recv().is_err());
        // The first one was idle for longest, but has just had a request.
        drop(held[0].begin_request());
        let _fourth = admit(THERE, 4).unwrap();
        assert_eq!(closings.try_iter().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_full_listener_makes_room_at_the_cost_of_whoever_holds_most() {
        let (admission, admit, closings) = small();
        let _mine = admit(HERE, 0).unwrap();
        let _held = [1, 2, 3].map(|number| admit(THERE, number).unwrap());
        let _new = admit(HERE, 4).unwrap();
        assert_eq!(closings.try_iter().collect::<Vec<_>>(), [1]);
        assert_eq!(admission.count(), 4);
    }

    #[test]
    fn requests_in_progress_are_not_broken_off() {
        let (_, admit, closings) = small();
        let held = [1, 2, 3].map(|number| admit(THERE, number).unwrap());
        let working = held.each_ref().map(AdmittedConnection::begin_request);
        assert!(admit(THERE, 4).is_none());
        drop(working);
        assert!(admit(THERE, 5).is_some());
        assert_eq!(closings.try_iter().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn released_and_dropped_connections_count_no_longer() {
        let (admission, admit, closings) = small();
        let trusted: Vec<_> = (0..10)
            .map(|number| {
                let connection = admit(HERE, number).unwrap();
                connection.release();
                connection
            })
            .collect();
        assert_eq!(admission.count(), 0);
        drop(admit(HERE, 10));
        assert_eq!(admission.count(), 0);
        drop(trusted);
        assert!(closings.try_recv().is_err());
    }

    #[test]
    fn refusals_are_counted_and_due_once_in_a_while() {
        let (admission, admit, _closings) = small();
        let _held: Vec<_> = (0..13).map(|number| admit(THERE, number)).collect();
        let now = Instant::now();
        let mut table = admission.lock();
        assert_eq!(table.take_due(now), None);
        assert_eq!(table.take_due(now + LOG_EVERY), Some(("test", 10, 3)));
        assert_eq!(table.take_due(now + 2 * LOG_EVERY), None);
    }

    #[test]
    fn caps_leave_the_run_most_descriptors_and_admit_a_fleet_on_one_host() {
        let usual = AdmissionCaps::of_limit(1024);
        assert_eq!((usual.total, usual.per_peer), (256, 128));
        assert_eq!(AdmissionCaps::of_limit(1 << 20), usual);
        assert_eq!(AdmissionCaps::of_limit(64).total, 16);
    }

    #[test]
    fn one_host_is_one_peer() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2:3"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("::1"), of("::2"));
    }
}
