//! `POST /api/stop`, the one request that changes something: ends the run, which can be resumed.
//!
//! The run's token is asked for, in a header that no form and no page of another origin can send. It is taken
//! over plain HTTP only from this host, so that it never crosses a network in the clear; who is elsewhere comes
//! through `ssh -L`, or uses `coordinator stop`. Wrong tokens are answered one a second.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use ulda_credentials::{RefusalLog, TokenDigest};
use ulda_run::hinted;

use crate::run::StopHandle;

/// Before a wrong token is answered, one after the other.
const PENALTY: Duration = Duration::from_secs(1);
/// Wrong tokens that wait for their answer; more are turned away at once.
const PENDING: usize = 8;

/// How a run can be stopped by request.
#[derive(Debug)]
pub struct Stopper {
    token: TokenDigest,
    run: StopHandle,
    refusals: RefusalLog,
    is_asked: AtomicBool,
    waiting: Semaphore,
    turn: Semaphore,
}

/// Why a request to stop is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("nobody serves this run, so there is nothing to stop")]
    OnlyViewed,
    #[error("the token is taken over plain HTTP only from this host")]
    Elsewhere,
    #[error("the request comes from a page of another origin")]
    OtherOrigin,
    #[error("show the run's token: `Authorization: Bearer …`")]
    NoToken,
    #[error("this is not the run's token")]
    WrongToken,
    #[error("too many wrong tokens wait for their answer")]
    Crowded,
}

impl Refusal {
    /// What a person can do about it.
    fn hint(self) -> Option<String> {
        let hint = match self {
            Self::Elsewhere => "come through `ssh -L`, or use `coordinator stop`",
            Self::NoToken | Self::WrongToken => "it is in the run's `credentials/token`",
            Self::Crowded => "try again in some seconds",
            Self::OnlyViewed | Self::OtherOrigin => return None,
        };
        Some(hint.to_owned())
    }
}

impl Stopper {
    #[must_use]
    pub fn new(token: TokenDigest, run: StopHandle, refusals: RefusalLog) -> Self {
        Self {
            token,
            run,
            refusals,
            is_asked: AtomicBool::new(false),
            waiting: Semaphore::new(PENDING),
            turn: Semaphore::new(1),
        }
    }

    fn judge(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<(), Refusal> {
        if !is_of_this_host(peer) {
            return Err(Refusal::Elsewhere);
        }
        if !is_of_this_page(headers) {
            return Err(Refusal::OtherOrigin);
        }
        let said = headers.get(header::AUTHORIZATION).ok_or(Refusal::NoToken)?;
        let token = said.as_bytes().strip_prefix(b"Bearer ").ok_or(Refusal::NoToken)?;
        match self.token.is_of(token) {
            true => Ok(()),
            false => Err(Refusal::WrongToken),
        }
    }

    async fn punish(&self) -> Result<(), Refusal> {
        let Ok(_waits) = self.waiting.try_acquire() else {
            return Err(Refusal::Crowded);
        };
        // It is never closed.
        let _turn = self.turn.acquire().await;
        tokio::time::sleep(PENALTY).await;
        Ok(())
    }
}

pub(super) async fn stop(stopper: Option<&Stopper>, peer: SocketAddr, headers: HeaderMap) -> Response {
    let Some(stopper) = stopper else {
        return answer(Refusal::OnlyViewed);
    };
    let Err(mut refusal) = stopper.judge(peer, &headers) else {
        if !stopper.is_asked.swap(true, Ordering::SeqCst) {
            tracing::info!(%peer, "asked on the status page to stop");
            stopper.run.stop();
        }
        return (
            StatusCode::ACCEPTED,
            "the run stops; `coordinator resume` continues it\n",
        )
            .into_response();
    };
    let agent = headers.get(header::USER_AGENT).map(HeaderValue::as_bytes);
    stopper.refusals.refused(
        "status page",
        Some(peer),
        agent,
        &format!("stop: {}", hinted(refusal, refusal.hint())),
    );
    if refusal == Refusal::WrongToken
        && let Err(crowded) = stopper.punish().await
    {
        refusal = crowded;
    }
    answer(refusal)
}

fn answer(refusal: Refusal) -> Response {
    let status = match refusal {
        Refusal::OnlyViewed => StatusCode::NOT_FOUND,
        Refusal::Elsewhere | Refusal::OtherOrigin => StatusCode::FORBIDDEN,
        Refusal::NoToken | Refusal::WrongToken => StatusCode::UNAUTHORIZED,
        Refusal::Crowded => StatusCode::TOO_MANY_REQUESTS,
    };
    let mut response = (status, format!("{}\n", hinted(refusal, refusal.hint()))).into_response();
    if status == StatusCode::UNAUTHORIZED {
        let how = HeaderValue::from_static("Bearer realm=\"ulda run\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, how);
    }
    response
}

/// Whether what `peer` sends does not leave this host.
pub(super) fn is_of_this_host(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

/// What a browser says of where a request comes from must be this page; programs say nothing.
fn is_of_this_page(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let origin = text(header::ORIGIN).map(|origin| {
        let (_, host) = origin.split_once("://").unwrap_or_default();
        Some(host) == text(header::HOST)
    });
    origin.unwrap_or(true) && site.is_none_or(|site| site == "same-origin")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn only_this_page_and_programs_of_this_host_may_ask() {
        let token = ulda_credentials::Token::draw().unwrap();
        let (run, _signals) = StopHandle::new();
        let stopper = Stopper::new(token.digest(), run, RefusalLog::default());
        let here = SocketAddr::from(([127, 0, 0, 1], 5));
        let right = format!("Bearer {}", token.reveal());
        let judge = |peer, pairs: &[(&'static str, &str)]| stopper.judge(peer, &headers(pairs));
        type Said<'a> = &'a [(&'static str, &'a str)];
        let cases: [(Said<'_>, Result<(), Refusal>); 8] = [
            (&[("authorization", &right)], Ok(())),
            (
                &[
                    ("authorization", &right),
                    ("host", "a:1"),
                    ("origin", "http://a:1"),
                    ("sec-fetch-site", "same-origin"),
                ],
                Ok(()),
            ),
            (&[], Err(Refusal::NoToken)),
            (&[("authorization", "Basic eDp5")], Err(Refusal::NoToken)),
            (&[("authorization", "Bearer x")], Err(Refusal::WrongToken)),
            (
                &[
                    ("authorization", &right),
                    ("host", "a:1"),
                    ("origin", "http://b:1"),
                ],
                Err(Refusal::OtherOrigin),
            ),
            (
                &[("authorization", &right), ("host", "a:1"), ("origin", "null")],
                Err(Refusal::OtherOrigin),
            ),
            (
                &[("authorization", &right), ("sec-fetch-site", "cross-site")],
                Err(Refusal::OtherOrigin),
            ),
        ];
        for (pairs, outcome) in cases {
            assert_eq!(judge(here, pairs), outcome, "{pairs:?}");
        }
        let mapped = SocketAddr::from(([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1], 5));
        assert_eq!(judge(mapped, &[("authorization", &right)]), Ok(()));
        let elsewhere = SocketAddr::from(([10, 0, 0, 1], 5));
        assert_eq!(
            judge(elsewhere, &[("authorization", &right)]),
            Err(Refusal::Elsewhere)
        );
    }
}
