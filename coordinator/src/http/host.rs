//! Who a request says it is for. A page of another site can have a browser of this host read this page through a name that
//! resolves to this host; such a request carries that name.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::stop::is_of_this_host;

/// Refuses requests from this host for a name that is not this host's own. Others, such as a proxy's, go on.
pub(super) async fn check_host(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let named = host(request.headers()).or(request.uri().host());
    match named {
        Some(name) if is_of_this_host(peer) && !is_local(name) => {
            let why = "this page is asked for by another site's name; hint: open it as localhost or by its address; a proxy on \
                       this host must send one of these as Host\n";
            (StatusCode::MISDIRECTED_REQUEST, why).into_response()
        }
        Some(_) | None => next.run(request).await,
    }
}

/// The name in the header, without the port.
fn host(headers: &HeaderMap) -> Option<&str> {
    let named = headers.get(header::HOST)?.to_str().unwrap_or("?");
    if named.ends_with(']') {
        return Some(named);
    }
    Some(named.rsplit_once(':').map_or(named, |(name, _)| name))
}

/// An address, or a name that no name server is asked for.
fn is_local(name: &str) -> bool {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_resolve_elsewhere_are_not_local() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, value.parse().unwrap());
            is_local(host(&headers).unwrap())
        };
        for local in [
            "localhost:9464",
            "LOCALHOST.",
            "run.localhost",
            "127.0.0.1:1",
            "[::1]:9464",
            "[::1]",
            "10.0.0.7",
        ] {
            assert!(of(local), "{local}");
        }
        for other in [
            "evil.example:9464",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "[evil]",
        ] {
            assert!(!of(other), "{other}");
        }
    }
}
