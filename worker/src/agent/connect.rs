//! Finding the coordinator: at the address this worker was given, and, when that one stays silent, where the
//! run directory says that the run's present coordinator listens.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::watch;
use tonic::transport::Endpoint;
use ulda_credentials::channel::{AuthenticatedClient, CoordinatorAccess, Distrust, host_of, is_loopback};
use ulda_files::MOST_CONFIGURATION_BYTES;
use ulda_proto::v1;
use ulda_run::Exit;
use ulda_run::ids::WorkerId;

use super::error::AgentError;
use super::introduction::Introduction;

/// Longest wait for one connection attempt or one answer.
pub(super) const RPC_DEADLINE: Duration = Duration::from_secs(10);
/// A worker that still looks for its coordinator says so this often.
const LOG_EVERY: Duration = Duration::from_secs(15);
/// In the metadata of a refusal to take part in a run that is over: what the worker's process is to end with.
const EXIT_CODE: &str = "ulda-exit-code";
/// The given address is tried alone for so long.
const OTHERS_AFTER: Duration = Duration::from_secs(1);
/// The first and the longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How addresses begin, with TLS and without.
const SECURE: &str = "https://";
const PLAIN: &str = "http://";
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
pub(super) struct CoordinatorLink {
    end: watch::Receiver<End>,
}

/// Whom the line leads to, and under which id this worker is known there.
#[derive(Clone, Debug)]
struct End {
    client: AuthenticatedClient,
    worker: WorkerId,
}

impl CoordinatorLink {
    pub fn client(&self) -> AuthenticatedClient {
        self.end.borrow().client.clone()
    }

    pub fn worker(&self) -> WorkerId {
        self.end.borrow().worker
    }
}

/// Turns the line to another address where the coordinator has moved.
#[derive(Debug)]
pub(super) struct Switchboard {
    address: String,
    run_directory: PathBuf,
    way: CoordinatorAccess,
    end: watch::Sender<End>,
}

/// What a coordinator writes into its run directory.
#[derive(Deserialize)]
struct Server {
    address: String,
    #[serde(default)]
    tls: bool,
}

impl Switchboard {
    pub fn new(
        address: &str,
        run_directory: &Path,
        way: CoordinatorAccess,
        client: AuthenticatedClient,
        worker: WorkerId,
    ) -> (Self, CoordinatorLink) {
        let (end, line) = watch::channel(End { client, worker });
        let switchboard = Self {
            address: address.to_owned(),
            run_directory: run_directory.to_owned(),
            way,
            end,
        };
        (switchboard, CoordinatorLink { end: line })
    }

    /// Where the coordinator was last found.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How coordinators of this run are reached.
    pub fn way(&self) -> &CoordinatorAccess {
        &self.way
    }

    /// The worker joined anew.
    pub fn joined(&mut self, client: AuthenticatedClient, worker: WorkerId) {
        self.end.send_replace(End { client, worker });
    }

    /// After `lost_for` without an answer: takes the address in the run directory, if it is another one.
    pub fn look_around(&mut self, lost_for: Duration) {
        if lost_for < OTHERS_AFTER {
            return;
        }
        let Some(found) = announced(&self.run_directory).filter(|found| *found != self.address) else {
            return;
        };
        if is_secure(&found) != is_secure(&self.address) {
            // The token is not said in the clear because a file asks for it.
            return;
        }
        let Ok(endpoint) = endpoint(&found) else { return };
        tracing::info!(
            from = self.address,
            to = found,
            "coordinator looked for at its new address"
        );
        self.address = found;
        let client = self.way.client(&endpoint);
        self.end.send_modify(|end| end.client = client);
    }
}

/// Nothing, if the coordinator listens on all addresses of its host: which one leads there is not said.
fn announced(run_directory: &Path) -> Option<String> {
    let text = ulda_files::read_text(&run_directory.join(SERVER_FILE), MOST_CONFIGURATION_BYTES).ok()?;
    let server: Server = serde_json::from_str(&text).ok()?;
    let address = server.address.parse::<std::net::SocketAddr>();
    if address.is_ok_and(|address| address.ip().is_unspecified()) {
        return None;
    }
    Some(format!(
        "{}{}",
        if server.tls { SECURE } else { PLAIN },
        server.address
    ))
}

fn is_secure(address: &str) -> bool {
    address.starts_with(SECURE)
}

/// The way to the coordinator that `introduction` names.
///
/// # Errors
/// No address, or one that would have the token said in the clear to another host.
pub(super) fn way(introduction: &Introduction) -> Result<CoordinatorAccess, AgentError> {
    let address = &introduction.coordinator;
    let claim = format!("run `{}`, slot {}", introduction.run, introduction.slot);
    let endpoint = endpoint(address)?;
    let credentials = &introduction.credentials;
    let tls = is_secure(address);
    if !tls && !is_loopback(host_of(endpoint.uri())) {
        return Err(AgentError::InTheClear(address.clone()));
    }
    Ok(CoordinatorAccess::new(
        credentials.token(),
        tls.then(|| credentials.to_coordinator()),
        &claim,
    ))
}

fn endpoint(address: &str) -> Result<Endpoint, AgentError> {
    let bad = || AgentError::Address(address.to_owned());
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|_| bad())?;
    let known = [SECURE, PLAIN].iter().any(|scheme| address.starts_with(scheme));
    if !known || endpoint.uri().host().is_none_or(str::is_empty) {
        return Err(bad());
    }
    Ok(endpoint
        .connect_timeout(RPC_DEADLINE)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(10)))
}

/// Introduces this worker to the coordinator at the address it was given.
pub(super) async fn join(
    introduction: &Introduction,
    way: &CoordinatorAccess,
) -> Result<(AuthenticatedClient, v1::JoinReply), AgentError> {
    let address = &introduction.coordinator;
    let endpoint = endpoint(address)?;
    let folder = || introduction.credentials.folder().to_owned();
    let started = Instant::now();
    let mut logged = None;
    let mut backoff = Backoff::new();
    loop {
        let problem = match try_join(&endpoint, introduction, way).await {
            Ok(joined) => return Ok(joined),
            Err(Attempt::Ended(why)) => return Err(why),
            Err(Attempt::Distrusted(why)) => {
                return Err(AgentError::Distrust {
                    folder: folder(),
                    why,
                });
            }
            Err(Attempt::WrongToken(reason)) => {
                return Err(AgentError::WrongToken {
                    folder: folder(),
                    reason,
                });
            }
            Err(Attempt::Again(problem)) => problem,
        };
        let waited = started.elapsed();
        if logged.is_none_or(|last: Instant| last.elapsed() > LOG_EVERY) {
            logged = Some(Instant::now());
            let (waited, longest) = (waited.as_secs(), introduction.search.as_secs());
            tracing::info!(address, waited, longest, problem, "waiting for the coordinator");
        }
        if waited > introduction.search {
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
    Ended(AgentError),
    Distrusted(Distrust),
    WrongToken(String),
}

async fn try_join(
    endpoint: &Endpoint,
    introduction: &Introduction,
    way: &CoordinatorAccess,
) -> Result<(AuthenticatedClient, v1::JoinReply), Attempt> {
    // A connection that failed for want of trust told the way why.
    let again = |problem: String| match way.distrust() {
        Some(distrust) => Attempt::Distrusted(distrust),
        None => Attempt::Again(problem),
    };
    let connected = way.connect(endpoint).await;
    let mut client = connected.map_err(|error| again(crate::with_causes(&error)))?;
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
        Err(_) => Err(again(format!(
            "no answer to join within {} s",
            RPC_DEADLINE.as_secs()
        ))),
        Ok(Ok(reply)) => Ok((client, reply.into_inner())),
        Ok(Err(status)) if is_passing(&status) => Err(again(status.to_string())),
        Ok(Err(status)) if status.code() == tonic::Code::Unauthenticated => {
            Err(Attempt::WrongToken(status.message().to_owned()))
        }
        Ok(Err(status)) => Err(Attempt::Ended(refused(&status))),
    }
}

fn refused(status: &tonic::Status) -> AgentError {
    let why = status.message().to_owned();
    let code = status
        .metadata()
        .get(EXIT_CODE)
        .and_then(|code| code.to_str().ok()?.parse::<i32>().ok());
    match code {
        Some(code) => AgentError::Over {
            why,
            exit: Exit::from(code),
        },
        None => AgentError::Refused(why),
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

    fn switchboard(here: &str, run_directory: &Path) -> (Switchboard, CoordinatorLink) {
        let token = ulda_credentials::Token::draw().unwrap();
        let way = CoordinatorAccess::new(&token, None, "run `small`, slot 0");
        let client = way.client(&endpoint(here).unwrap());
        Switchboard::new(here, run_directory, way, client, WorkerId(0))
    }

    fn announce(folder: &Path, address: &str, tls: bool) {
        let text = format!("{{\"process_id\":1,\"address\":\"{address}\",\"tls\":{tls},\"more\":0}}");
        std::fs::write(folder.join(SERVER_FILE), text).unwrap();
    }

    #[tokio::test]
    async fn a_coordinator_that_moved_is_found_by_the_run_directory() {
        let folder = tempfile::tempdir().unwrap();
        let here = "https://127.0.0.1:1";
        let (mut switchboard, line) = switchboard(here, folder.path());
        let there = "127.0.0.1:2";
        announce(folder.path(), there, true);

        switchboard.look_around(Duration::ZERO);
        assert_eq!(switchboard.address, here, "too early");
        switchboard.look_around(OTHERS_AFTER);
        assert_eq!(switchboard.address, format!("https://{there}"));
        assert!(
            line.end.has_changed().unwrap(),
            "whoever holds the line hears of it"
        );
        announce(folder.path(), "127.0.0.1:3", false);
        switchboard.look_around(OTHERS_AFTER);
        assert_eq!(
            switchboard.address,
            format!("https://{there}"),
            "the token stays secret"
        );
    }

    #[tokio::test]
    async fn a_run_directory_out_of_reach_changes_nothing() {
        let here = "http://127.0.0.1:1";
        let (mut switchboard, _line) = switchboard(here, Path::new("/nowhere"));
        switchboard.look_around(OTHERS_AFTER);
        assert_eq!(switchboard.address, here);
    }

    #[test]
    fn addresses_are_told_apart() {
        for good in [
            "https://10.0.0.1:7070",
            "http://localhost:1",
            "https://[::1]:5",
            "https://node1.example:7",
        ] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "10.0.0.1:7070",
            "ftp://a:1",
            "https://",
            "https:///x",
            "http://a b:1",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_coordinator_on_all_addresses_is_looked_for_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let here = "https://fog-coordinator-0:7070";
        let (mut switchboard, _line) = switchboard(here, folder.path());
        announce(folder.path(), "0.0.0.0:7070", true);
        switchboard.look_around(OTHERS_AFTER);
        assert_eq!(switchboard.address, here);
    }

    #[test]
    fn a_run_that_is_over_says_what_to_end_with() {
        let mut status = tonic::Status::failed_precondition("the run is finished");
        assert_eq!(refused(&status).exit(), Exit::Unavailable);
        status.metadata_mut().insert(EXIT_CODE, "0".parse().unwrap());
        assert_eq!(refused(&status).exit(), Exit::Done);
        assert_eq!(
            refused(&status).to_string(),
            "nothing is left to do: the run is finished"
        );
    }
}
