//! Who attends, and where orders to them go.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use ulda_machine::Directive;
use ulda_proto::v1;
use ulda_run::ids::{Generation, WorkerId};

use crate::rpc::{Attachment, directive_to_wire};

/// The attend streams that are open, one per worker.
#[derive(Debug)]
pub(super) struct Streams {
    /// Number of this coordinator, on every order.
    term: u64,
    /// Whether the members of generations to come encrypt what they tell each other.
    data_tls: bool,
    open: BTreeMap<WorkerId, Stream>,
}

#[derive(Debug)]
struct Stream {
    attachment: Attachment,
    directives: mpsc::Sender<v1::Directive>,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    OnItsWay,
    /// The worker does not read its stream, which is closed now.
    Unread,
    NotAttending,
}

impl Streams {
    pub fn new(term: u64, data_tls: bool) -> Self {
        Self {
            term,
            data_tls,
            open: BTreeMap::new(),
        }
    }

    /// Opens a stream; an older one of the same worker ends.
    pub fn open(
        &mut self,
        worker: WorkerId,
        attachment: Attachment,
        directives: mpsc::Sender<v1::Directive>,
    ) {
        self.open.insert(
            worker,
            Stream {
                attachment,
                directives,
            },
        );
    }

    /// Whether a message of this attachment is of the worker's present stream.
    pub fn is_current(&self, worker: WorkerId, attachment: Attachment) -> bool {
        self.open
            .get(&worker)
            .is_some_and(|stream| stream.attachment == attachment)
    }

    pub fn attends(&self, worker: WorkerId) -> bool {
        self.open.contains_key(&worker)
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// Ends the worker's stream.
    pub fn close(&mut self, worker: WorkerId) {
        self.open.remove(&worker);
    }

    pub fn send(&mut self, worker: WorkerId, generation: Generation, directive: &Directive) -> Sent {
        let Some(stream) = self.open.get(&worker) else {
            return Sent::NotAttending;
        };
        match stream
            .directives
            .try_send(directive_to_wire(self.term, generation, directive, self.data_tls))
        {
            Ok(()) => Sent::OnItsWay,
            Err(_) => {
                self.open.remove(&worker);
                Sent::Unread
            }
        }
    }
}
