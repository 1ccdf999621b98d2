//! Several workers of one host as one program: a pod that has all GPUs of its node.
//!
//! [`run_group`] starts each worker as a process of its own, forwards signals, and passes their lines on. The first worker
//! that fails ends the group: the others are asked to leave, as by SIGTERM, and the group ends with the code of the one
//! that failed. So whoever started it decides by one exit code, as for a single worker, and starts all anew.
//! Invariant: when it ends, none of its processes is left.

mod lines;
mod member;
mod metrics;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

pub use member::GroupMember;
use member::{MemberEnd, RunningMember};
use metrics::GroupMetrics;

use crate::exit::with_hint;
use crate::observe::{MetricsAddress, MetricsServer};

/// Lines that a dead worker's pipe still holds are waited for so long.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What becomes of a group.
enum GroupEvent {
    Ended(MemberEnd),
    Signal(libc::c_int),
    GraceOver,
}

/// Runs the workers to their end. `grace` is how long they get to leave once one has failed or a signal came.
#[must_use]
pub fn run_group(members: Vec<GroupMember>, http: MetricsAddress, grace: Duration) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(run_to_end(members, http, grace))) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tracing::error!("the workers cannot be started: {error}");
            ExitCode::from(crate::exit::exit_of(&error, ulda_run::Exit::Failed))
        }
    }
}

async fn run_to_end(members: Vec<GroupMember>, http: MetricsAddress, grace: Duration) -> io::Result<u8> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let metrics = GroupMetrics::new(&members);
    let server = MetricsServer::serve(http, 0, metrics.router()).unwrap_or_else(|error| {
        tracing::warn!("the group has no metrics: {}", with_hint(&error, error.hint()));
        None
    });
    let (sender, mut ended) = mpsc::channel(members.len());
    let mut group = Group::default();
    for member in &members {
        group.running.push(RunningMember::start(member, sender.clone())?);
    }
    tracing::info!(
        workers = members.len(),
        metrics = server.as_ref().map(|server| server.address().to_string()),
        "started the workers of this group"
    );
    while !group.is_over() {
        let deadline = group.kill_at;
        let grace_over = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            biased;
            _ = terminate.recv() => GroupEvent::Signal(libc::SIGTERM),
            _ = interrupt.recv() => GroupEvent::Signal(libc::SIGINT),
            // The group holds a sender, so the channel stays open.
            Some(end) = ended.recv() => GroupEvent::Ended(end),
            () = grace_over => GroupEvent::GraceOver,
        };
        if let GroupEvent::Ended(end) = &event {
            metrics.forget(end.slot);
        }
        group.handle(event, Instant::now() + grace);
    }
    group.repeat_first_failure().await;
    Ok(group.first_failure.map_or(0, |end| end.code))
}

/// The processes of the group, and what it ends with.
#[derive(Default)]
struct Group {
    running: Vec<RunningMember>,
    first_failure: Option<MemberEnd>,
    /// The workers were asked to leave.
    is_leaving: bool,
    kill_at: Option<Instant>,
}

impl Group {
    fn is_over(&self) -> bool {
        self.running.iter().all(|member| member.has_ended)
    }

    fn handle(&mut self, event: GroupEvent, kill_at: Instant) {
        match event {
            GroupEvent::Signal(signal) => {
                self.is_leaving = true;
                self.kill_at.get_or_insert(kill_at);
                self.signal_all(signal);
            }
            GroupEvent::GraceOver => {
                tracing::warn!("workers of this group did not leave in time and are killed");
                self.kill_at = None;
                self.signal_all(libc::SIGKILL);
            }
            GroupEvent::Ended(end) => {
                let ended = self.running.iter_mut().find(|member| member.slot == end.slot);
                if let Some(member) = ended {
                    member.has_ended = true;
                }
                if end.code == 0 || self.first_failure.is_some() {
                    return;
                }
                if !self.is_leaving {
                    tracing::warn!(
                        failed = end.slot,
                        exit_code = end.code,
                        "a worker of this group ended; the others are asked to leave"
                    );
                    self.is_leaving = true;
                    self.kill_at = Some(kill_at);
                    self.signal_all(libc::SIGTERM);
                }
                self.first_failure = Some(end);
            }
        }
    }

    fn signal_all(&self, signal: libc::c_int) {
        for member in self.running.iter().filter(|member| !member.has_ended) {
            member.signal(signal);
        }
    }

    /// The last error of the worker that failed becomes the last line of the group, where its supervisor looks for a reason.
    async fn repeat_first_failure(&mut self) {
        for member in &mut self.running {
            let _ = tokio::time::timeout(LAST_LINES, &mut member.lines).await;
        }
        let Some(end) = &self.first_failure else { return };
        let failed = self.running.iter().find(|member| member.slot == end.slot);
        if let Some(line) = failed.and_then(|member| member.last_error.line()) {
            lines::write(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_stays_after_a_signal_is_killed_in_the_end() {
        let mut group = Group::default();
        let (first, later) = (Instant::now(), Instant::now() + Duration::from_secs(9));
        group.handle(GroupEvent::Signal(libc::SIGTERM), first);
        group.handle(GroupEvent::Signal(libc::SIGTERM), later);
        assert_eq!(group.kill_at, Some(first), "a second signal gives no more time");
    }
}
