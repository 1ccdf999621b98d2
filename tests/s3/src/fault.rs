//! Ways in which a storage fails.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Response, StatusCode};

use crate::{Answer, Broken};

/// What happens to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    None,
    /// It is answered with this status, and not done.
    Status(u16),
    /// It is answered so much later.
    Slow(Duration),
    /// The connection ends instead of an answer; the request is not done.
    HangUp,
    /// The connection ends in the middle of the answer's body.
    Cut,
    /// It is done, but the connection ends instead of an answer.
    LostAnswer,
}

/// Requests that meet a fault.
pub struct Rule {
    fault: Fault,
    /// In "METHOD /bucket/name bytes=0-9".
    holds: String,
    left: u64,
}

impl Rule {
    /// All requests whose method, path and range hold a text.
    #[must_use]
    pub fn all(fault: Fault, holds: &str) -> Self {
        Self::next(u64::MAX, fault, holds)
    }

    /// The next few such requests.
    #[must_use]
    pub fn next(times: u64, fault: Fault, holds: &str) -> Self {
        Self {
            fault,
            holds: holds.to_owned(),
            left: times,
        }
    }
}

#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Vec<Rule>>>);

impl Faults {
    pub fn add(&self, rule: Rule) {
        self.0.lock().unwrap().push(rule);
    }

    pub fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    pub fn meet(&self, asked: &str) -> Fault {
        let mut rules = self.0.lock().unwrap();
        let rule = rules
            .iter_mut()
            .find(|rule| rule.left > 0 && asked.contains(&rule.holds));
        rule.map_or(Fault::None, |rule| {
            rule.left -= 1;
            rule.fault.clone()
        })
    }
}

impl Fault {
    pub(crate) async fn before(&self) -> Result<Option<Answer>, Broken> {
        match self {
            Self::Status(status) => {
                let body = Full::new(Bytes::from("<Error><Code>Injected</Code></Error>"));
                let answer = Response::builder()
                    .status(StatusCode::from_u16(*status).map_err(Broken::of)?)
                    .body(body.map_err(|never| match never {}).boxed())
                    .map_err(Broken::of)?;
                Ok(Some(answer))
            }
            Self::HangUp => Err(Broken::of("hung up")),
            Self::Slow(time) => {
                tokio::time::sleep(*time).await;
                Ok(None)
            }
            Self::None | Self::Cut | Self::LostAnswer => Ok(None),
        }
    }

    pub(crate) async fn after(&self, answer: Answer) -> Result<Answer, Broken> {
        match self {
            Self::LostAnswer => Err(Broken::of("answer lost")),
            Self::Cut => {
                let (head, body) = answer.into_parts();
                let bytes = body.collect().await?.to_bytes();
                let half = Ok(Frame::data(bytes.slice(..bytes.len() / 2)));
                let frames = [half, Err(Broken::of("cut"))];
                let body = StreamBody::new(futures_util::stream::iter(frames));
                Ok(Response::from_parts(head, BodyExt::boxed(body)))
            }
            Self::None | Self::Status(_) | Self::Slow(_) | Self::HangUp => Ok(answer),
        }
    }
}
