//! Finding the coordinator: at the address this worker was given, and, when that one stays silent, where the
//! run directory says that the run's present coordinator listens.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};
use ulda_proto::v1;
use ulda_proto::v1::coordinator_client::CoordinatorClient;

use super::session::{AgentError, Introduction};

/// Longest wait for one connection attempt or one answer.
pub(super) const RPC_DEADLINE: Duration = Duration::from_secs(10);
/// How long a worker that starts looks for its coordinator.
const SEARCH_DEADLINE: Duration = Duration::from_secs(60);
/// The given address is tried alone for so long.
const OTHERS_AFTER: Duration = Duration::from_secs(1);
/// The first and the longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// File in the run directory that names the coordinator.
const SERVER_FILE: &str = "run.lock";

/// Grows from attempt to attempt.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub fn new() -> Self {
        Self(PAUSES.0)
    }

    pub async fn pause(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSES.1);
    }
}

/// The way to the coordinator, shared by all who speak with it.
#[derive(Clone, Debug)]
pub(super) struct Line {
    client: watch::Receiver<CoordinatorClient<Channel>>,
}

impl Line {
    pub fn client(&self) -> CoordinatorClient<Channel> {
        self.client.borrow().clone()
    }
}

/// Turns the line to another address where the coordinator has moved.
#[derive(Debug)]
pub(super) struct Switchboard {
    address: String,
    run_directory: PathBuf,
    client: watch::Sender<CoordinatorClient<Channel>>,
}

/// What a coordinator writes into its run directory.
#[derive(Deserialize)]
struct Server {
    address: String,
}

impl Switchboard {
    pub fn new(address: &str, run_directory: &Path, client: CoordinatorClient<Channel>) -> (Self, Line) {
        let (client, line) = watch::channel(client);
        let board = Self {
            address: address.to_owned(),
            run_directory: run_directory.to_owned(),
            client,
        };
        (board, Line { client: line })
    }

    /// After `lost_for` without an answer: takes the address in the run directory, if it is another one.
    pub fn look_around(&mut self, lost_for: Duration) {
        if lost_for < OTHERS_AFTER {
            return;
        }
        let Some(found) = announced(&self.run_directory).filter(|found| *found != self.address) else {
            return;
        };
        let Ok(endpoint) = endpoint(&found) else { return };
        tracing::info!(
            from = self.address,
            to = found,
            "coordinator looked for at its new address"
        );
        self.address = found;
        self.client
            .send_replace(CoordinatorClient::new(endpoint.connect_lazy()));
    }
}

fn announced(run_directory: &Path) -> Option<String> {
    let text = std::fs::read_to_string(run_directory.join(SERVER_FILE)).ok()?;
    let server: Server = serde_json::from_str(&text).ok()?;
    Some(format!("http://{}", server.address))
}

fn endpoint(address: &str) -> Result<Endpoint, AgentError> {
    let endpoint =
        Endpoint::from_shared(address.to_owned()).map_err(|_| AgentError::Address(address.to_owned()))?;
    Ok(endpoint
        .connect_timeout(RPC_DEADLINE)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(10)))
}

/// Introduces this worker to the coordinator at the address it was given.
pub(super) async fn join(
    introduction: &Introduction,
) -> Result<(CoordinatorClient<Channel>, v1::JoinReply), AgentError> {
    let address = &introduction.coordinator;
    let endpoint = endpoint(address)?;
    let started = Instant::now();
    let mut backoff = Backoff::new();
    loop {
        let problem = match try_join(&endpoint, introduction).await {
            Ok(joined) => return Ok(joined),
            Err(Attempt::Refused(why)) => return Err(AgentError::Refused(why)),
            Err(Attempt::Again(problem)) => problem,
        };
        let waited = started.elapsed();
        if waited > SEARCH_DEADLINE {
            return Err(AgentError::Unreachable {
                address: address.clone(),
                waited,
                last: problem,
            });
        }
        backoff.pause().await;
    }
}

enum Attempt {
    Again(String),
    Refused(String),
}

async fn try_join(
    endpoint: &Endpoint,
    introduction: &Introduction,
) -> Result<(CoordinatorClient<Channel>, v1::JoinReply), Attempt> {
    let channel = endpoint.connect().await;
    let channel = channel.map_err(|error| Attempt::Again(crate::with_causes(&error)))?;
    let mut client = CoordinatorClient::new(channel);
    let request = v1::JoinRequest {
        run: introduction.run.clone(),
        slot: introduction.slot,
        data_address: introduction.data_address.clone(),
        device: introduction.device.clone(),
        process_id: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        metrics_address: introduction.metrics_address.clone().unwrap_or_default(),
    };
    let answer = tokio::time::timeout(RPC_DEADLINE, client.join(request)).await;
    match answer {
        Err(_) => Err(Attempt::Again(format!(
            "no answer to join within {} s",
            RPC_DEADLINE.as_secs()
        ))),
        Ok(Ok(reply)) => Ok((client, reply.into_inner())),
        Ok(Err(status)) if is_passing(&status) => Err(Attempt::Again(status.to_string())),
        Ok(Err(status)) => Err(Attempt::Refused(status.message().to_owned())),
    }
}

/// Whether trying again may help.
pub(super) fn is_passing(status: &tonic::Status) -> bool {
    matches!(
        status.code(),
        tonic::Code::Unavailable
            | tonic::Code::DeadlineExceeded
            | tonic::Code::Cancelled
            | tonic::Code::Unknown
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_coordinator_that_moved_is_found_by_the_run_directory() {
        let folder = tempfile::tempdir().unwrap();
        let here = "http://127.0.0.1:1";
        let client = CoordinatorClient::new(endpoint(here).unwrap().connect_lazy());
        let (mut board, line) = Switchboard::new(here, folder.path(), client);
        let there = "127.0.0.1:2";
        std::fs::write(
            folder.path().join(SERVER_FILE),
            format!("{{\"process_id\":1,\"address\":\"{there}\",\"more\":0}}"),
        )
        .unwrap();

        board.look_around(Duration::ZERO);
        assert_eq!(board.address, here, "too early");
        board.look_around(OTHERS_AFTER);
        assert_eq!(board.address, format!("http://{there}"));
        assert!(
            line.client.has_changed().unwrap(),
            "whoever holds the line hears of it"
        );
    }

    #[tokio::test]
    async fn a_run_directory_out_of_reach_changes_nothing() {
        let here = "http://127.0.0.1:1";
        let client = CoordinatorClient::new(endpoint(here).unwrap().connect_lazy());
        let (mut board, _line) = Switchboard::new(here, Path::new("/nowhere"), client);
        board.look_around(OTHERS_AFTER);
        assert_eq!(board.address, here);
    }
}
