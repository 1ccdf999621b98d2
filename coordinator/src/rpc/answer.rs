//! How a call asks the run's owner, and how long it waits.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::refusal::Refusal;
use super::wire::Ask;

/// Longest wait of a call for the owner's answer; covers a journal commit on a slow disk.
const ANSWER_DEADLINE: Duration = Duration::from_secs(90);

/// Sends the owner what `ask` makes of a place for the answer, and waits for it. `what` names the call.
pub(super) async fn answered<T>(
    asks: &mpsc::Sender<Ask>,
    what: &'static str,
    ask: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Ask,
) -> Result<T, Refusal> {
    let (reply, answer) = oneshot::channel();
    let wait = async {
        asks.send(ask(reply)).await.map_err(|_| Refusal::Ending)?;
        answer.await.map_err(|_| Refusal::Ending)?
    };
    tokio::time::timeout(ANSWER_DEADLINE, wait)
        .await
        .map_err(|_| Refusal::Late {
            what,
            waited: ANSWER_DEADLINE,
        })?
}
