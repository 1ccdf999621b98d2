//! Paths and their answers.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{from_fn, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use ulda_files::MOST_IMAGE_BYTES;
use ulda_run::spec::PathName;

use super::events;
use super::headers::strict;
use super::host::check_host;
use super::site::Site;
use super::stop;
use super::targets::targets;
use crate::observe::metrics::{CONTENT_TYPE, ScrapeError};
use crate::observe::status_page::{self, ICON, SCRIPT, style};
use crate::report::RunReadError;

/// Longest wait for an answer that reads the journal.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

type Shared = State<Arc<Site>>;

pub(super) fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/live", get(live))
        .route(
            "/style.css",
            get(async || typed("text/css; charset=utf-8", style())),
        )
        .route(
            "/page.js",
            get(async || typed("text/javascript; charset=utf-8", SCRIPT)),
        )
        .route("/icon.svg", get(async || typed("image/svg+xml", ICON)))
        .route("/examples/{set}/{file}", get(example))
        .route("/api/status", get(api_status))
        .route("/api/events", get(api_events))
        .route("/api/stop", post(api_stop))
        .route("/api/targets", get(api_targets))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .fallback(async || {
            refusal(
                StatusCode::NOT_FOUND,
                "there is no such page; hint: the status page is at /",
            )
        })
        .layer(from_fn(check_host))
        .layer(map_response(strict))
        .with_state(site)
}

fn typed(kind: &'static str, body: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

fn refusal(status: StatusCode, why: impl Display) -> Response {
    (status, format!("{why}\n")).into_response()
}

/// Work that may wait for a disk, with a deadline; `what` names it.
async fn answered<E>(
    what: &'static str,
    work: impl FnOnce() -> Result<Response, E> + Send + 'static,
) -> Response
where
    E: Display + Send + 'static,
{
    match tokio::time::timeout(ANSWER_DEADLINE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(Ok(answer))) => answer,
        Ok(Ok(Err(cause))) => refusal(StatusCode::INTERNAL_SERVER_ERROR, cause),
        Ok(Err(_)) => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("{what} could not be made"),
        ),
        Err(_) => {
            let waited = ANSWER_DEADLINE.as_secs();
            refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("waited {waited} s for {what}; hint: the run directory's disk may be slow"),
            )
        }
    }
}

async fn page(State(site): Shared, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    let stoppable = site.stopper().is_some() && stop::is_of_this_host(peer);
    answered("the page", move || {
        let live = site.live_part()?;
        let page = status_page::page(&live, stoppable);
        Ok::<_, RunReadError>(typed("text/html; charset=utf-8", page))
    })
    .await
}

async fn live(State(site): Shared) -> Response {
    answered("the page", move || {
        let live = site.live_part()?;
        Ok::<_, RunReadError>(typed("text/html; charset=utf-8", live.to_string()))
    })
    .await
}

async fn api_status(State(site): Shared) -> Response {
    answered("the status", move || {
        let status = site.status()?;
        Ok::<_, String>(typed("application/json", status.to_string()))
    })
    .await
}

async fn api_events(State(site): Shared) -> Response {
    match site.listeners.clone().try_acquire_owned() {
        Ok(permit) => events::stream(site, permit).into_response(),
        Err(_) => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many pages listen; hint: close some, or ask /api/status now and then",
        ),
    }
}

async fn api_stop(
    State(site): Shared,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    stop::stop(site.stopper(), peer, headers).await
}

async fn api_targets(State(site): Shared) -> Response {
    answered("the targets", move || {
        let targets = targets(site.directory()).map_err(|cause| cause.to_string())?;
        let json = serde_json::to_string(&targets).map_err(|cause| cause.to_string())?;
        Ok::<_, String>(typed("application/json", json + "\n"))
    })
    .await
}

async fn metrics(State(site): Shared) -> Response {
    answered("the metrics", move || {
        let Some(exposition) = site.exposition() else {
            let why = "this run is only looked at; hint: its coordinator has the metrics";
            return Ok(refusal(StatusCode::NOT_FOUND, why));
        };
        let text = exposition.text()?;
        site.scraped();
        Ok::<_, ScrapeError>(typed(CONTENT_TYPE, text))
    })
    .await
}

async fn healthz(State(site): Shared) -> Response {
    if site.is_well() {
        "ok\n".into_response()
    } else {
        refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "the run's owner has not looked around for long; hint: the journal's disk may be slow",
        )
    }
}

/// A picture below the run's `examples/`; any other name is not found.
async fn example(State(site): Shared, Path((set, file)): Path<(String, String)>) -> Response {
    answered("the picture", move || {
        let named = |name: &str| name.parse::<PathName>().ok();
        let bytes = named(&set).zip(named(&file)).and_then(|(set, file)| {
            let path = site.directory().examples().join(set).join(&file);
            let is_picture = file.as_str().ends_with(".png");
            is_picture
                .then(|| ulda_files::read_file(&path, MOST_IMAGE_BYTES).ok())
                .flatten()
        });
        Ok::<_, String>(match bytes {
            Some(bytes) => {
                let mut answer = typed("image/png", bytes);
                answer.headers_mut().insert(
                    header::CACHE_CONTROL,
                    axum::http::HeaderValue::from_static("max-age=3600"),
                );
                answer
            }
            None => refusal(StatusCode::NOT_FOUND, "there is no such picture"),
        })
    })
    .await
}
