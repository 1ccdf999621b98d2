//! The metrics of a group's workers as those of one program, and its health: that of all workers that have not ended.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::member::GroupMember;
use crate::observe::CONTENT_TYPE;

/// Longest wait for one worker.
const ANSWER: Duration = Duration::from_secs(3);
const LONGEST_ANSWER: u64 = 16 << 20;

/// Addresses of the workers that have not ended, by slot.
#[derive(Clone, Debug, Default)]
pub(super) struct GroupMetrics(Arc<Mutex<Vec<(u32, SocketAddr)>>>);

impl GroupMetrics {
    pub fn new(members: &[GroupMember]) -> Self {
        let addresses = members
            .iter()
            .filter_map(|member| Some((member.slot, member.metrics?)));
        Self(Arc::new(Mutex::new(addresses.collect())))
    }

    /// The worker of this slot has ended.
    pub fn forget(&self, slot: u32) {
        let mut addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.retain(|(held, _)| *held != slot);
    }

    pub fn router(&self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(health))
            .with_state(self.clone())
    }

    /// What each worker answers, in order of slots; nothing for one that does not.
    async fn ask(&self, path: &'static str) -> Vec<(u32, Option<String>)> {
        let addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut asked = JoinSet::new();
        for (slot, address) in addresses {
            asked.spawn(async move { (slot, body_of(address, path).await) });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by_key(|(slot, _)| *slot);
        answers
    }
}

async fn metrics(State(group): State<GroupMetrics>) -> Response {
    let answers = group.ask("/metrics").await;
    let texts: Vec<String> = answers.into_iter().filter_map(|(_, text)| text).collect();
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], merged(&texts)).into_response()
}

async fn health(State(group): State<GroupMetrics>) -> Response {
    let answers = group.ask("/healthz").await;
    match answers.iter().find(|(_, text)| text.is_none()) {
        None => "ok\n".into_response(),
        Some((slot, _)) => {
            let why = format!("the worker in slot {slot} does not answer\n");
            (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
    }
}

/// The body of a good answer in time.
async fn body_of(address: SocketAddr, path: &str) -> Option<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.take(LONGEST_ANSWER).read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    let text = tokio::time::timeout(ANSWER, answer).await.ok()?.ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?;
    (status == "200").then(|| body.to_owned())
}

/// OpenMetrics texts as one: each family once, with the samples of all. The workers' samples differ by their rank.
fn merged(texts: &[String]) -> String {
    /// What describes a family, and its samples.
    #[derive(Default)]
    struct Family<'a> {
        about: Vec<&'a str>,
        samples: Vec<&'a str>,
    }
    let mut families: Vec<Family<'_>> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    for text in texts {
        let mut current = None;
        for line in text.lines().filter(|line| *line != "# EOF") {
            // `# TYPE name kind`, `# HELP name text`, `# UNIT name unit`
            if let Some(about) = line.strip_prefix("# ") {
                let Some(name) = about.split(' ').nth(1) else {
                    continue;
                };
                let at = *known.entry(name).or_insert_with(|| {
                    families.push(Family::default());
                    families.len() - 1
                });
                current = Some(at);
                if !families[at].about.contains(&line) {
                    families[at].about.push(line);
                }
            } else if let Some(at) = current {
                families[at].samples.push(line);
            }
        }
    }
    let mut text = String::new();
    for family in &families {
        for line in family.about.iter().chain(&family.samples) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str("# EOF\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_is_there_once_with_the_samples_of_all() {
        let of = |rank: u32, more: &str| {
            format!(
                "# HELP a How often.\n# TYPE a counter\na_total{{rank=\"{rank}\"}} {rank}\n# HELP b How many.\n# TYPE b \
                 gauge\nb{{rank=\"{rank}\"}} 7\n{more}# EOF\n"
            )
        };
        let one = of(0, "");
        assert_eq!(merged(std::slice::from_ref(&one)), one);
        let other = of(1, "# HELP c Late.\n# TYPE c gauge\nc 1\n");
        assert_eq!(
            merged(&[one, other]),
            "# HELP a How often.\n# TYPE a counter\na_total{rank=\"0\"} 0\na_total{rank=\"1\"} 1\n# HELP b How \
             many.\n# TYPE b gauge\nb{rank=\"0\"} 7\nb{rank=\"1\"} 7\n# HELP c Late.\n# TYPE c gauge\nc 1\n# EOF\n"
        );
        assert_eq!(merged(&[]), "# EOF\n");
    }
}
