//! A worker that the coordinator gave up while it was out of reach joins anew, with the state it keeps: nothing
//! is loaded again, and what it knows further than the others is not lost.

use std::time::Duration;

use ulda_run::StateClaim;
use ulda_run::ids::{Generation, WorkerId};

use super::connect::join;
use super::facts::Fact;
use super::introduction::Introduction;
use super::orders::Order;
use super::session::{Again, AttendSession};

impl AttendSession {
    /// Leaves the old generation and joins under a new id. The error says why that cannot be.
    pub(super) async fn join_again(&mut self, why: &str) -> Result<Again, String> {
        tracing::warn!(why, "joining again");
        if let Some(Fact::Ready { clip, .. }) = self.ready.clone() {
            let Some(state) = self.leave_generation(why).await? else {
                return Ok(Again::TrainerEnded);
            };
            self.ready = Some(Fact::Ready { state, clip });
        }
        let introduction = Introduction {
            coordinator: self.switchboard.address().to_owned(),
            ..self.introduction.clone()
        };
        let way = self.switchboard.way().clone();
        let joined = join(&introduction, &way).await;
        let (client, reply) = joined.map_err(|error| error.to_string())?;
        if reply.coordinator_term < self.term {
            let (got, current) = (reply.coordinator_term, self.term);
            return Err(format!(
                "the coordinator at {} has term {got}, but one of term {current} was heard of",
                introduction.coordinator
            ));
        }
        if reply.data_secret != self.secret {
            return Err(format!(
                "the coordinator at {} serves another run of this name",
                introduction.coordinator
            ));
        }
        self.worker = WorkerId(reply.worker);
        (self.term, self.generation) = (reply.coordinator_term, Generation::NONE);
        self.standing = None;
        self.switchboard.joined(client, self.worker);
        tracing::info!(worker = reply.worker, "joined again");
        Ok(Again::Joined)
    }

    /// Fences the trainer and takes the state that it keeps. `None` if it ended.
    async fn leave_generation(&mut self, why: &str) -> Result<Option<Option<StateClaim>>, String> {
        self.order(Order::Fence {
            generation: self.generation,
            why: why.to_owned(),
        });
        let fencing = self.fencing;
        let left = async {
            loop {
                match self.facts.recv().await? {
                    Fact::Broke { state, .. } => return Some(state),
                    Fact::Failed { .. }
                    | Fact::Ready { .. }
                    | Fact::Formed { .. }
                    | Fact::Progress { .. }
                    | Fact::Finished { .. }
                    | Fact::Storage(_) => {}
                }
            }
        };
        tokio::time::timeout(fencing, left)
            .await
            .map_err(|_| late(fencing))
    }
}

fn late(waited: Duration) -> String {
    format!(
        "waited {} s for the trainer to leave its generation",
        waited.as_secs()
    )
}
