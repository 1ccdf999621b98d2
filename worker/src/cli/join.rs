//! `worker join`.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use ulda_run::Exit;

use clap::Args;
use ulda_collective::{DataPlaneListener, Sharing, Tls};
use ulda_credentials::{RefusalLog, WorkerCredentials as Credentials};
use ulda_run::spec::DeviceChoice;
use ulda_telemetry::Sender;

use crate::agent::{Agent, Introduction};
use crate::device::DeviceSurvey;
use crate::exit::{exit_of, with_hint};
use crate::group::{GroupMember, run_group};
use crate::observe::{Meters, MetricsAddress, MetricsServer, StepTraces, WorkerExposition, WorkerIdentity};
use crate::trainer::{Setup, Trainer};

#[derive(Args)]
pub struct Join {
    /// Address of the coordinator, such as https://10.0.0.1:7070
    #[arg(long, env = "ULDA_COORDINATOR")]
    coordinator: String,
    /// Name of the run to serve
    #[arg(long, env = "ULDA_RUN")]
    run: String,
    /// Stable number of this worker's place in the run; with --processes, of this group of workers
    #[arg(long, env = "ULDA_SLOT")]
    slot: u32,
    /// Start N workers in processes of their own, in the slots N·SLOT to N·SLOT+N-1, each on a GPU of its own where this
    /// host has so many; their ports follow on those given
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    processes: u32,
    /// With --processes: time to leave for the others once one has failed, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 90)]
    grace: u64,
    /// Where the data plane listens; port 0 lets the system choose
    #[arg(long, env = "ULDA_DATA_LISTEN", default_value = "127.0.0.1:0")]
    data_listen: String,
    /// HOST or HOST:PORT that other workers reach the data plane by, if it differs from where it listens
    #[arg(long, env = "ULDA_DATA_ADVERTISE")]
    data_advertise: Option<String>,
    /// Folder with the run's token and certificates: a copy of, or the one in, the run's directory
    #[arg(long, env = "ULDA_CREDENTIALS")]
    credentials: PathBuf,
    /// Longest search for the coordinator, seconds
    #[arg(long, env = "ULDA_SEARCH", default_value_t = 60)]
    search: u64,
    /// Address of this worker's metrics: `auto` is port 9465 + slot of this host or any free one, `off` is none
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "ULDA_WORKER_HTTP",
        default_value = "off"
    )]
    http: MetricsAddress,
    /// What to compute on: `auto` is a GPU where there is one, `cuda` a GPU or nothing, `cpu`. Where it is auto, the
    /// run's compute.device decides
    #[arg(
        long,
        value_name = "auto|cpu|cuda",
        env = "ULDA_DEVICE",
        default_value = "auto"
    )]
    device: DeviceChoice,
    /// Whether workers of one host hand long payloads over in shared memory, where they are not encrypted
    #[arg(long, value_name = "on|off", env = "ULDA_SHARED_MEMORY", default_value = "on", value_parser = ["on", "off"])]
    shared_memory: String,
    /// Folder where this worker keeps the run's files; by default the run directory, as the coordinator names it
    #[arg(long, env = "ULDA_WORKER_DIRECTORY")]
    directory: Option<PathBuf>,
    /// Folder where this host keeps inputs fetched by URL; by default storage.cache, else ~/.cache/ulda/inputs
    #[arg(long, env = "ULDA_CACHE")]
    cache: Option<PathBuf>,
}

impl Join {
    pub fn run(self, cuda: bool) -> ExitCode {
        if self.processes > 1 {
            if let Some(what) = self.beyond_range() {
                tracing::error!("{what}; hint: give smaller ones, or fewer --processes");
                return ExitCode::from(Exit::BadInput);
            }
            let members = (0..self.processes).map(|number| self.member(number));
            return run_group(members.collect(), self.http, Duration::from_secs(self.grace));
        }
        let span = tracing::info_span!(
            "worker",
            run = %self.run,
            slot = self.slot,
            worker = tracing::field::Empty
        );
        let _entered = span.enter();
        let survey = DeviceSurvey::for_choice(self.device, cuda);
        let chosen = match survey.choose(self.device, self.slot) {
            Ok(chosen) => chosen,
            Err(error) => {
                tracing::error!("{}", with_hint(&error, error.hint()));
                return ExitCode::from(Exit::BadInput);
            }
        };
        if let Some(why) = survey.wasted() {
            tracing::warn!("training on the CPU: {}", with_hint(&why, why.hint()));
        }
        let credentials = match Credentials::read(&self.credentials) {
            Ok(credentials) => Arc::new(credentials),
            Err(error) => {
                tracing::error!("{}", with_hint(&error, error.hint()));
                return ExitCode::from(exit_of(&error, Exit::BadInput));
            }
        };
        let listener = match DataPlaneListener::bind(self.data_listen.as_str()) {
            Ok(listener) => listener,
            Err(error) => {
                let cause = with_hint(&error, Some("give --data-listen a free port".to_owned()));
                tracing::error!("data plane cannot listen on {}: {cause}", self.data_listen);
                return ExitCode::from(exit_of(&error, Exit::Failed));
            }
        };
        guard(&listener, &credentials);
        if self.shared_memory == "off" {
            listener.share(Sharing::Off);
        }
        let data_address = match self.data_advertise {
            Some(given) => with_port(given, listener.local_addr().port()),
            None => listener.local_addr().to_string(),
        };
        let exposition = Arc::new(WorkerExposition::new(WorkerIdentity {
            run: self.run.clone(),
            slot: self.slot,
            device: chosen.name(),
            gpu: chosen.index(),
        }));
        let server = MetricsServer::start(self.http, self.slot, Arc::clone(&exposition));
        let server = server.unwrap_or_else(|error| {
            tracing::warn!(
                "training goes on without metrics: {}",
                with_hint(&error, error.hint())
            );
            None
        });
        let introduction = Introduction {
            coordinator: self.coordinator,
            run: self.run.clone(),
            slot: self.slot,
            metrics_address: server
                .as_ref()
                .map(|server| reached_at(server.address(), &data_address)),
            data_address,
            device: chosen.name(),
            credentials,
            search: Duration::from_secs(self.search),
        };
        let (agent, joined) = match Agent::start(&introduction) {
            Ok(started) => started,
            Err(error) => {
                match error.exit() {
                    Exit::Done => tracing::info!("{error}"),
                    _ => tracing::error!("{}", with_hint(&error, error.hint())),
                }
                return ExitCode::from(error.exit());
            }
        };
        tracing::info!(
            worker = joined.worker.0,
            address = introduction.data_address,
            metrics = introduction.metrics_address,
            "joined"
        );
        // Held until the worker ends, when it sends what waits.
        let _traces = trace(&joined.trace_parent, &self.run, self.slot, &exposition.meters());
        let wanted = joined.spec.config().compute.device;
        let chosen = match (self.device, wanted) {
            (DeviceChoice::Auto, wanted) => survey.choose(wanted, self.slot),
            _ => Ok(chosen),
        };
        let setup = Setup {
            spec: joined.spec,
            run_directory: self.directory.unwrap_or(joined.run_directory),
            cache: self.cache,
            run: self.run,
            secret: joined.secret,
            listener,
            device: chosen,
            meters: exposition.meters(),
        };
        Trainer::run(agent, setup)
    }

    /// What of the last worker of a group would be no slot or no port any more.
    fn beyond_range(&self) -> Option<String> {
        let further = self.processes - 1;
        let first = self.slot.checked_mul(self.processes);
        if first.and_then(|first| first.checked_add(further)).is_none() {
            return Some(format!("--slot {}: there are no such slots", self.slot));
        }
        let addresses = [
            ("--data-listen", Some(&self.data_listen)),
            ("--data-advertise", self.data_advertise.as_ref()),
        ];
        let given = addresses
            .into_iter()
            .filter_map(|(name, given)| Some((name, given?)));
        let mut beyond = given.filter(|(_, given)| behind(given, further).is_none());
        let (name, given) = beyond.next()?;
        Some(format!(
            "{name} {given}: the ports of {} workers go beyond 65535",
            self.processes
        ))
    }

    /// The worker `number` of a group that this command line asks for, all of whose slots and ports are in range.
    fn member(&self, number: u32) -> GroupMember {
        let slot = self.slot.saturating_mul(self.processes).saturating_add(number);
        let metrics = self.http.of_member(number, slot);
        let mut arguments: Vec<OsString> = vec!["join".into()];
        let mut give = |name: &str, value: &OsStr| arguments.extend([name.into(), value.to_owned()]);
        give("--coordinator", self.coordinator.as_ref());
        give("--run", self.run.as_ref());
        give("--slot", slot.to_string().as_ref());
        for (name, given) in [
            ("--data-listen", Some(&self.data_listen)),
            ("--data-advertise", self.data_advertise.as_ref()),
        ] {
            if let Some(address) = given.and_then(|given| behind(given, number)) {
                give(name, address.as_ref());
            }
        }
        give("--credentials", self.credentials.as_ref());
        give("--search", self.search.to_string().as_ref());
        let served = metrics.map_or_else(|| "off".to_owned(), |address| address.to_string());
        give("--http", served.as_ref());
        give("--device", self.device.name().as_ref());
        give("--shared-memory", self.shared_memory.as_ref());
        for (name, folder) in [("--directory", &self.directory), ("--cache", &self.cache)] {
            if let Some(folder) = folder {
                give(name, folder.as_ref());
            }
        }
        GroupMember {
            slot,
            arguments,
            metrics,
        }
    }
}

/// The same host, `number` ports further, if there is such a port; without a port, or with 0, as it is.
fn behind(address: &str, number: u32) -> Option<String> {
    let split = address
        .rsplit_once(':')
        .filter(|_| address.parse::<IpAddr>().is_err());
    let port = split.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match port {
        Some((host, port @ 1..)) => {
            let port = u16::try_from(u32::from(port).checked_add(number)?).ok()?;
            Some(format!("{host}:{port}"))
        }
        Some(_) | None => Some(address.to_owned()),
    }
}

/// Gives the data plane its certificate, and logs each caller that it refuses as none of the run.
fn guard(listener: &DataPlaneListener, credentials: &Credentials) {
    listener.use_tls(Tls {
        dials: credentials.to_peers(),
        accepts: credentials.from_peers(),
        peer: credentials.peer_name(),
    });
    let refusals = RefusalLog::default();
    listener.on_refusal(move |refusal| {
        let claim = refusal.claim.as_deref().map(str::as_bytes);
        if refusal.cause.is_unauthenticated() {
            refusals.refused("data plane", Some(refusal.address), claim, &with_hint(&refusal.cause, refusal.cause.hint()));
        } else {
            tracing::debug!(address = %refusal.address, claim = refusal.claim, cause = %refusal.cause, "caller refused");
        }
    });
}

/// Starts tracing where the run is traced and the environment names a collector.
fn trace(parent: &str, run: &str, slot: u32, meters: &Meters) -> Option<Sender> {
    let context = parent.parse().ok().filter(|_| Sender::is_wanted())?;
    match StepTraces::start(context, run, slot) {
        Ok((traces, sender)) => {
            meters.trace(traces);
            Some(sender)
        }
        Err(error) => {
            tracing::warn!(%error, "no traces: their thread cannot be started");
            None
        }
    }
}

/// An address alone gets the port that is listened on, a whole one stays.
fn with_port(given: String, port: u16) -> String {
    match given.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        Ok(IpAddr::V4(address)) => format!("{address}:{port}"),
        Err(_) if given.contains(':') => given,
        Err(_) => format!("{given}:{port}"),
    }
}

/// Where others find what listens on `listens`: a server on all addresses is at the data plane's host.
fn reached_at(listens: SocketAddr, data_address: &str) -> String {
    match data_address.rsplit_once(':') {
        Some((host, _)) if listens.ip().is_unspecified() => format!("{host}:{}", listens.port()),
        Some(_) | None => listens.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_alone_gets_the_port_that_is_listened_on() {
        let whole = |given: &str| with_port(given.to_owned(), 7071);
        assert_eq!(whole("10.1.2.3"), "10.1.2.3:7071");
        assert_eq!(whole("fd00::7"), "[fd00::7]:7071");
        assert_eq!(whole("worker-3.fog"), "worker-3.fog:7071");
        assert_eq!(whole("worker-3.fog:9"), "worker-3.fog:9");
        assert_eq!(whole("[fd00::7]:9"), "[fd00::7]:9");
    }

    #[test]
    fn a_server_on_all_addresses_is_found_at_the_data_planes_host() {
        let reached = |listens: &str| reached_at(listens.parse().unwrap(), "worker-3.ulda:7071");
        assert_eq!(reached("0.0.0.0:9465"), "worker-3.ulda:9465");
        assert_eq!(reached("127.0.0.1:9465"), "127.0.0.1:9465");
    }

    #[test]
    fn workers_of_a_group_have_slots_and_ports_behind_each_other() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            join: Join,
        }
        let given = "worker --coordinator https://c:7070 --run fog --slot 2 --processes 4 --credentials keys \
                     --data-listen 0.0.0.0:7071 --data-advertise fd00::7 --http 0.0.0.0:9465 --cache /c";
        let line: Line = clap::Parser::parse_from(given.split_whitespace());
        let member = line.join.member(3);
        assert_eq!(member.slot, 11);
        assert_eq!(member.metrics, Some("127.0.0.1:9469".parse().unwrap()));
        let told: Vec<&str> = member
            .arguments
            .iter()
            .filter_map(|argument| argument.to_str())
            .collect();
        assert_eq!(
            told.join(" "),
            "join --coordinator https://c:7070 --run fog --slot 11 --data-listen 0.0.0.0:7074 --data-advertise fd00::7 \
             --credentials keys --search 60 --http 127.0.0.1:9469 --device auto --shared-memory on --cache /c"
        );
        assert_eq!(behind("127.0.0.1:0", 3).as_deref(), Some("127.0.0.1:0"));
        assert_eq!(behind("[fd00::7]:9", 3).as_deref(), Some("[fd00::7]:12"));
        assert_eq!(behind("10.0.0.7:65533", 3), None);
        assert_eq!(line.join.beyond_range(), None);
        let given = given.replace(":7071", ":65533");
        let line: Line = clap::Parser::parse_from(given.split_whitespace());
        assert_eq!(
            line.join.beyond_range().unwrap(),
            "--data-listen 0.0.0.0:65533: the ports of 4 workers go beyond 65535"
        );
        let given = given.replace("--slot 2", "--slot 1073741824");
        let line: Line = clap::Parser::parse_from(given.split_whitespace());
        assert_eq!(
            line.join.beyond_range().unwrap(),
            "--slot 1073741824: there are no such slots"
        );
    }
}
