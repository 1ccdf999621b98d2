//! Writes checkpoints while training goes on.

use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::checkpoints::Checkpoints;
use super::error::CheckpointError;
use super::store::Written;
use crate::state::RunState;

/// One thread that writes, one checkpoint at a time; a second one waits its turn, a third is left out.
#[derive(Debug)]
pub struct CheckpointWriter {
    states: Option<SyncSender<RunState>>,
    thread: Option<JoinHandle<()>>,
}

impl CheckpointWriter {
    /// Outcomes go to `outcomes`.
    #[must_use]
    pub fn start(checkpoints: Checkpoints, outcomes: Sender<Result<Written, CheckpointError>>) -> Self {
        let (states, inbox) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || write_all(&checkpoints, &inbox, &outcomes))
            .expect("a thread can be started");
        Self {
            states: Some(states),
            thread: Some(thread),
        }
    }

    /// Hands over a state that no one else will change. Never waits: training goes on, whatever the disk does.
    pub fn write(&self, state: RunState) {
        if let Some(states) = &self.states {
            let cursor = state.cursor;
            // The thread ends only when this writer is dropped, so an error means that it is behind.
            if states.try_send(state).is_err() {
                tracing::warn!(at = %cursor, "checkpoint left out: the disk is two behind");
            }
        }
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        self.states = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_all(
    checkpoints: &Checkpoints,
    states: &Receiver<RunState>,
    outcomes: &Sender<Result<Written, CheckpointError>>,
) {
    for state in states {
        let digest = state.digest();
        if outcomes.send(checkpoints.write(&state, &digest)).is_err() {
            return;
        }
    }
}
