//! What controllers could not do for a run. Only events say it: a quota or a LimitRange that refuses their pods, a
//! queue that admits nothing.

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;

use super::connect::Cluster;

/// Events on pods that could not be created, and on workloads that wait in Kueue's queues.
const SELECTED: [&str; 2] = [
    "type=Warning,reason=FailedCreate",
    "involvedObject.kind=Workload,reason=Pending",
];

impl Cluster {
    /// The events of the namespace that explain missing pods. None where this user may not read events: they only explain.
    pub(super) async fn obstacles(&self) -> Vec<Event> {
        let mut found = Vec::new();
        for selector in SELECTED {
            let parameters = ListParams::default().fields(selector);
            let api = self.api::<Event>();
            match self.ask("Event", "list events", api.list(&parameters)).await {
                Ok(listed) => found.extend(listed.items),
                Err(error) => tracing::debug!(%error, "missing pods stay unexplained"),
            }
        }
        found
    }
}

/// Why the pods of the object with this uid were refused the last time.
pub(super) fn refusal(events: &[Event], uid: Option<&str>) -> Option<String> {
    let of_object = |event: &&Event| {
        let reason = event.reason.as_deref() == Some("FailedCreate");
        reason && uid.is_some() && event.involved_object.uid.as_deref() == uid
    };
    let message = newest(events.iter().filter(of_object))?;
    // The name of a pod that never was helps nobody.
    let why = message
        .split_once(" is forbidden: ")
        .map_or(message, |(_, why)| why);
    Some(format!("no pod can be created: {why}"))
}

/// Why Kueue does not admit a workload that begins with this name, which it ends with a hash.
pub(super) fn waiting_for_admission(events: &[Event], name: &str) -> Option<String> {
    let of_workload = |event: &&Event| {
        let workload = event.involved_object.name.as_deref().unwrap_or_default();
        let hash = workload
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('-'));
        event.involved_object.kind.as_deref() == Some("Workload")
            && hash.is_some_and(|hash| !hash.contains('-'))
    };
    newest(events.iter().filter(of_workload)).map(ToOwned::to_owned)
}

fn newest<'a>(events: impl Iterator<Item = &'a Event>) -> Option<&'a str> {
    let at = |event: &&Event| -> Option<Timestamp> {
        let last = event.last_timestamp.as_ref().map(|at| at.0);
        last.or(event.event_time.as_ref().map(|at| at.0))
    };
    events.max_by_key(at)?.message.as_deref()
}
