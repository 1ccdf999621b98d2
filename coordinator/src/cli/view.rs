//! `coordinator view`: the status page of a run that nobody serves, until interrupted.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::arguments::ViewArguments;
use super::common::{block_on, print, run_directory};
use crate::exit::{Exit, Stop};
use crate::http::{self, HttpError, Site};

pub fn view(arguments: &ViewArguments) -> Result<Exit, Stop> {
    let directory = run_directory(&arguments.run)?;
    block_on(async move {
        let listener = http::bind(arguments.http).await.map_err(refused)?;
        let Some(listener) = listener else {
            return Err(
                Stop::bad_input(anyhow::anyhow!("`--http off` leaves nothing to view"))
                    .with_hint("give an address, or `auto`"),
            );
        };
        print(&format!("http://{}/\n", listener.local_addr()?))?;
        let mut server = http::serve(listener, Site::of_directory(directory));
        let mut terminate = signal(SignalKind::terminate()).context("listen for signals")?;
        let exit = tokio::select! {
            biased;
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("listen for signals")?;
                Exit::Interrupted
            }
            _ = terminate.recv() => Exit::Terminated,
            () = server.until_closed() => Exit::Failed,
        };
        server.close().await;
        Ok(exit)
    })?
}

/// What a page that cannot be served means for the exit code.
pub(super) fn refused(cause: HttpError) -> Stop {
    match cause {
        HttpError::Taken { .. } => Stop::unavailable(cause),
        HttpError::Bind { .. } => Stop::bad_input(cause),
    }
}
