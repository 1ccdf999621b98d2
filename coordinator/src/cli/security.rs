//! Which credentials a run is served with, and what is encrypted: settled before anything is listened on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ulda_credentials::{Coordinator, CredentialsError, RefusalLog, issue};
use ulda_run::Finding;

use super::arguments::{DataTls, ServeArguments};
use crate::exit::{Stop, StopCause};
use crate::host_names::host_names;
use crate::http::Stopper;
use crate::rpc::Guard;
use crate::run::{StopHandle, StopSignals};
use crate::run_directory::RunDirectory;

/// What a run is served with.
#[derive(Debug)]
pub struct Security {
    pub folder: PathBuf,
    pub guard: Guard,
    /// Whether workers dial the control plane with TLS.
    pub tls: bool,
    /// Whether workers encrypt what they tell each other.
    pub data_tls: bool,
    /// For the status page, and where the run receives it.
    pub stopper: Stopper,
    pub stop_signals: StopSignals,
}

#[derive(Debug, thiserror::Error)]
enum SecurityError {
    #[error(
        "--insecure-loopback would send the run's token in the clear to {listen}, which other hosts reach"
    )]
    PlainBeyondHost { listen: SocketAddr },
}

impl StopCause for SecurityError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::PlainBeyondHost { .. } => Some("leave it out, or --listen on 127.0.0.1".to_owned()),
        }
    }
}

/// What can be refused before the run's directory is touched.
pub fn refuse_early(serve: &ServeArguments) -> Result<(), Stop> {
    if serve.insecure_loopback && !serve.listen.ip().is_loopback() {
        return Err(Stop::bad_input(SecurityError::PlainBeyondHost {
            listen: serve.listen,
        }));
    }
    if let Some(folder) = &serve.credentials {
        read_given(folder, serve)?;
    }
    Ok(())
}

/// The same as a finding of `coordinator check`.
pub fn findings(serve: &ServeArguments) -> Vec<Finding> {
    let refused = refuse_early(serve).err();
    let finding = refused.map(|stop| {
        let what = format!("{:#}", stop.cause);
        Finding::new("--credentials", what, stop.hint.unwrap_or_default())
    });
    finding.into_iter().collect()
}

/// The credentials of a run that is about to be served at `listen`: those given, else its own.
pub fn settle(
    serve: &ServeArguments,
    directory: &RunDirectory,
    listen: SocketAddr,
) -> Result<Security, Stop> {
    let folder = match &serve.credentials {
        Some(folder) => std::path::absolute(folder)?,
        None => {
            let folder = directory.credentials();
            issue::keep(&folder, &hosts(listen)).map_err(refused)?;
            folder
        }
    };
    let coordinator = read_given(&folder, serve)?;
    let tls = !serve.insecure_loopback;
    let refusals = RefusalLog::default();
    let guard = Guard::new(
        coordinator.token(),
        tls.then(|| coordinator.tls()),
        refusals.clone(),
    );
    let data_tls = match serve.data_tls {
        DataTls::Always => true,
        DataTls::Auto => !listen.ip().is_loopback(),
    };
    let (stop_handle, stop_signals) = StopHandle::new();
    Ok(Security {
        folder,
        guard,
        stopper: Stopper::new(coordinator.token(), stop_handle, refusals),
        stop_signals,
        tls,
        data_tls,
    })
}

fn read_given(folder: &Path, serve: &ServeArguments) -> Result<Coordinator, Stop> {
    let coordinator = Coordinator::read(folder).map_err(refused)?;
    if !serve.no_launch && !serve.insecure_loopback {
        // Workers that are started here dial this address.
        let address = crate::run::dialled(serve.listen).ip().to_string();
        coordinator.covers(&address).map_err(refused)?;
    }
    Ok(coordinator)
}

fn refused(cause: CredentialsError) -> Stop {
    match cause {
        CredentialsError::Write { .. } | CredentialsError::Make { .. } => cause.into(),
        cause => Stop::bad_input(cause),
    }
}

/// What workers may dial a coordinator by that listens at `listen`.
fn hosts(listen: SocketAddr) -> Vec<String> {
    match issue::host_of(listen.ip()) {
        Some(host) => vec![host],
        None => host_names(),
    }
}
