//! What the server sends as it comes: changes of objects, and lines of logs.

use std::collections::HashMap;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{Path, Server, selected, status};

pub(super) fn watch_changes(server: &Server, path: &Path<'_>, query: &HashMap<String, String>) -> Response {
    let from: u64 = query["resourceVersion"].parse().unwrap();
    if from < server.store().horizon {
        return status(410, "Expired", "too old resource version");
    }
    let (server, plural, query) = (server.clone(), path.plural.to_owned(), query.clone());
    let mut changed = server.changed.subscribe();
    let (lines, inbox) = tokio::sync::mpsc::channel::<Result<String, std::io::Error>>(16);
    tokio::spawn(async move {
        let (mut from, mut sent) = (from, 0);
        loop {
            let (next, most, too_old) = {
                let store = server.store();
                let next = store.events.iter().find(|(version, held, event)| {
                    *version > from && *held == plural && selected(&event["object"], &query)
                });
                (next.cloned(), store.events_per_watch, from < store.horizon)
            };
            if most.is_some_and(|most| sent >= most) {
                return;
            }
            if too_old {
                let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
                    "reason": "Expired", "message": "too old resource version"});
                let event = json!({"type": "ERROR", "object": gone});
                let _ = lines.send(Ok(format!("{event}\n"))).await;
                return;
            }
            match next {
                Some((version, _, event)) => {
                    from = version;
                    sent += 1;
                    if lines.send(Ok(format!("{event}\n"))).await.is_err() {
                        return;
                    }
                }
                None => {
                    if changed.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    });
    stream(inbox)
}

fn stream(inbox: tokio::sync::mpsc::Receiver<Result<String, std::io::Error>>) -> Response {
    let lines = futures_util::stream::unfold(inbox, async |mut inbox| Some((inbox.recv().await?, inbox)));
    Body::from_stream(lines).into_response()
}

pub(super) fn log(server: &Server, pod: &str, query: &HashMap<String, String>) -> Response {
    if !server.store().logs.contains_key(pod) {
        if server.get("pods", pod).is_none() {
            return status(404, "NotFound", &format!("pods \"{pod}\" not found"));
        }
        return status(
            400,
            "BadRequest",
            &format!("container in pod \"{pod}\" is waiting to start"),
        );
    }
    let stamps = query.get("timestamps").is_some_and(|given| given == "true");
    let since = query.get("sinceTime").cloned().unwrap_or_default();
    let stamped = move |(at, line): &(String, String)| match stamps {
        true => format!("{at} {line}\n"),
        false => format!("{line}\n"),
    };
    if query.get("follow").is_none_or(|given| given != "true") {
        let store = server.store();
        let lines: String = store.logs[pod].iter().map(stamped).collect();
        return lines.into_response();
    }
    let (server, pod) = (server.clone(), pod.to_owned());
    let mut changed = server.changed.subscribe();
    let (lines, inbox) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        // A real server cuts to whole seconds, so lines come again.
        let second = since.get(..19).unwrap_or_default().to_owned();
        let mut index = 0;
        let mut sent = 0;
        loop {
            let (next, most) = {
                let store = server.store();
                let Some(log) = store.logs.get(&pod) else { return };
                (log.get(index).cloned(), store.lines_per_stream)
            };
            if most.is_some_and(|most| sent >= most) {
                return;
            }
            match next {
                Some(line) => {
                    index += 1;
                    if line.0 >= second {
                        sent += usize::from(line.0 > since);
                        if lines.send(Ok(stamped(&line))).await.is_err() {
                            return;
                        }
                    }
                }
                None => {
                    if changed.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    });
    stream(inbox)
}
