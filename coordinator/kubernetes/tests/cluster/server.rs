//! An API server in this process that refuses what a real one refuses: unknown fields, stale versions, changes of
//! immutable fields, foreign namespaces, kinds that are not installed. Watches end when they are told to.

mod outside;
mod streams;
mod validation;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

use self::outside::review;
use self::streams::{log, watch_changes};
use self::validation::{immutable_change, merge, strict};

pub const NAMESPACE: &str = "vision";

#[derive(Default)]
struct Store {
    version: u64,
    /// By plural and name.
    objects: BTreeMap<(String, String), Value>,
    /// Events by version, for watches.
    events: Vec<(u64, String, Value)>,
    /// Watches from before this version are too old.
    horizon: u64,
    /// Watches end after this many events.
    events_per_watch: Option<usize>,
    logs: HashMap<String, Vec<(String, String)>>,
    /// Pods on nodes that do not answer, and whether the server says so at once.
    lost_kubelets: HashMap<String, bool>,
    /// Log streams end after this many lines.
    lines_per_stream: Option<usize>,
    installed: Vec<&'static str>,
    forbidden: Vec<(Method, &'static str)>,
    /// Objects of others, by plural and name.
    outside: Vec<(&'static str, &'static str)>,
    /// What a webhook says of the next requests that create one of these.
    denials: Vec<(&'static str, &'static str)>,
    broken: u32,
    /// So many requests more find a server that has not read its rules yet.
    starting: u32,
    /// Nothing is created before so many Jobs were rehearsed.
    rehearsals_wanted: usize,
    rehearsals: usize,
    requests: Vec<String>,
}

/// A handle for the test.
#[derive(Clone)]
pub struct Server {
    store: Arc<Mutex<Store>>,
    changed: watch::Sender<u64>,
}

impl Server {
    pub async fn start() -> (Self, ulda_kubernetes::cluster::Cluster) {
        let server = Self {
            store: Arc::new(Mutex::new(Store {
                installed: vec!["batch", "apps", "networking.k8s.io"],
                outside: outside::usual(),
                ..Store::default()
            })),
            changed: watch::Sender::new(0),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let config = kube::Config::new(address.parse().unwrap());
        let client = kube::Client::try_from(config).unwrap();
        let cluster = ulda_kubernetes::cluster::Cluster::new(client, NAMESPACE.into(), address);
        (server, cluster)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    pub fn install(&self, group: &'static str) {
        self.store().installed.push(group);
    }

    pub fn forbid(&self, method: Method, plural: &'static str) {
        self.store().forbidden.push((method, plural));
    }

    /// A webhook denies the next object of this kind that is created in earnest.
    pub fn deny_next(&self, plural: &'static str, message: &'static str) {
        self.store().denials.push((plural, message));
    }

    /// The next requests find the server unwell.
    pub fn break_down(&self, requests: u32) {
        self.store().broken = requests;
    }

    /// Nothing is created before so many submissions have found the way clear.
    pub fn create_after_rehearsals(&self, submissions: usize) {
        self.store().rehearsals_wanted = submissions;
    }

    /// The kubelet that has this pod's log refuses the connection, or never answers.
    pub fn lose_kubelet_of(&self, pod: &str, refuses: bool) {
        self.store().lost_kubelets.insert(pod.to_owned(), refuses);
    }

    /// The next requests find a server that has just started, and denies what its rules, not yet read, grant.
    pub fn start_anew(&self, requests: u32) {
        self.store().starting = requests;
    }

    pub fn is_starting(&self) -> bool {
        self.store().starting > 0
    }

    pub fn end_watches_after(&self, events: usize) {
        self.store().events_per_watch = Some(events);
    }

    pub fn end_streams_after(&self, lines: usize) {
        self.store().lines_per_stream = Some(lines);
    }

    /// Forgets all events up to now.
    pub fn compact(&self) {
        let mut store = self.store();
        store.horizon = store.version;
        store.events.clear();
    }

    pub fn put(&self, plural: &str, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.store().write(plural, &name, object);
        self.tell();
    }

    pub fn remove(&self, plural: &str, name: &str) {
        let mut store = self.store();
        store.delete(plural, name);
        if plural == "pods" {
            store.logs.remove(name);
        }
        drop(store);
        self.tell();
    }

    pub fn get(&self, plural: &str, name: &str) -> Option<Value> {
        self.store()
            .objects
            .get(&(plural.to_owned(), name.to_owned()))
            .cloned()
    }

    pub fn names(&self, plural: &str) -> Vec<String> {
        let store = self.store();
        store
            .objects
            .keys()
            .filter(|(held, _)| held == plural)
            .map(|(_, name)| name.clone())
            .collect()
    }

    pub fn log(&self, pod: &str, line: &str) {
        let mut store = self.store();
        let lines = store.logs.entry(pod.to_owned()).or_default();
        let at = format!("2026-01-01T00:00:00.{:09}Z", lines.len() + 1);
        lines.push((at, line.to_owned()));
        drop(store);
        self.tell();
    }

    pub fn requests(&self) -> Vec<String> {
        self.store().requests.clone()
    }
}

impl Store {
    fn write(&mut self, plural: &str, name: &str, mut object: Value) -> Value {
        self.version += 1;
        let key = (plural.to_owned(), name.to_owned());
        let kind = if self.objects.contains_key(&key) {
            "MODIFIED"
        } else {
            "ADDED"
        };
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        object["metadata"]["namespace"] = NAMESPACE.into();
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = format!("uid-{}", self.version).into();
        }
        let event = json!({"type": kind, "object": object});
        self.events.push((self.version, plural.to_owned(), event));
        self.objects.insert(key, object.clone());
        object
    }

    fn delete(&mut self, plural: &str, name: &str) -> Option<Value> {
        let mut object = self.objects.remove(&(plural.to_owned(), name.to_owned()))?;
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let event = json!({"type": "DELETED", "object": object});
        self.events.push((self.version, plural.to_owned(), event));
        Some(object)
    }
}

fn status(code: u16, reason: &str, message: &str) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": message});
    (StatusCode::from_u16(code).unwrap(), Json(body)).into_response()
}

/// A value as the body of an answer.
struct Json(Value);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0.to_string()).into_response()
    }
}

struct Path<'a> {
    group: &'a str,
    namespace: &'a str,
    plural: &'a str,
    name: Option<&'a str>,
    sub: Option<&'a str>,
}

fn parse(path: &str) -> Option<Path<'_>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return None,
    };
    match rest {
        ["namespaces", namespace, plural, rest @ ..] => Some(Path {
            group,
            namespace,
            plural,
            name: rest.first().copied(),
            sub: rest.get(1).copied(),
        }),
        _ => None,
    }
}

async fn answer(State(server): State<Server>, method: Method, uri: Uri, body: Bytes) -> Response {
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let query: HashMap<String, String> = query.into_owned().collect();
    server.store().requests.push(format!("{method} {}", uri.path()));
    let broken = {
        let mut store = server.store();
        let broken = store.broken > 0;
        store.broken = store.broken.saturating_sub(1);
        broken
    };
    if broken {
        return status(500, "InternalError", "etcdserver: request timed out");
    }
    if uri.path() == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" {
        return review(&server, &body);
    }
    let Some(path) = parse(uri.path()) else {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    };
    let installed = path.group.is_empty() || server.store().installed.contains(&path.group);
    if !installed {
        return status(
            404,
            "NotFound",
            "the server could not find the requested resource",
        );
    }
    if server
        .store()
        .forbidden
        .iter()
        .any(|(held, plural)| *held == method && *plural == path.plural)
    {
        let message = format!("{} is forbidden: User \"dev\" cannot do this", path.plural);
        return status(403, "Forbidden", &message);
    }
    let starting = {
        let mut store = server.store();
        let starting = store.starting > 0;
        store.starting = store.starting.saturating_sub(1);
        starting
    };
    if starting {
        let message = format!(
            "{} is forbidden: User \"dev\" cannot list resource \"{}\" in API group \"{}\" in the namespace \
             \"{NAMESPACE}\": RBAC: role.rbac.authorization.k8s.io \"ulda-submit\" not found",
            path.plural, path.plural, path.group
        );
        return status(403, "Forbidden", &message);
    }
    if path.sub == Some("log") {
        let pod = path.name.unwrap_or_default();
        let lost = server.store().lost_kubelets.get(pod).copied();
        match lost {
            None => return log(&server, pod, &query),
            Some(true) => {
                let message = format!(
                    "Get \"https://10.0.0.7:10250/containerLogs/{NAMESPACE}/{pod}/coordinator\": dial tcp \
                     10.0.0.7:10250: connect: connection refused"
                );
                return status(500, "InternalError", &message);
            }
            Some(false) => std::future::pending::<()>().await,
        }
    }
    match method {
        Method::GET if path.name.is_some() => get(&server, &path),
        Method::GET if query.get("watch").is_some_and(|watch| watch == "true") => {
            watch_changes(&server, &path, &query)
        }
        Method::GET => list(&server, &path, &query),
        Method::POST => {
            if !query.contains_key("dryRun") {
                let mut changed = server.changed.subscribe();
                let wait = |store: &Store| store.rehearsals < store.rehearsals_wanted;
                while wait(&server.store()) {
                    changed.changed().await.unwrap();
                }
            }
            create(&server, &path, &query, &body)
        }
        Method::PATCH => patch(&server, &path, &body),
        Method::DELETE => delete(&server, &path),
        _ => status(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
    }
}

fn missing(path: &Path<'_>) -> Response {
    let name = path.name.unwrap_or_default();
    status(404, "NotFound", &format!("{} \"{name}\" not found", path.plural))
}

fn get(server: &Server, path: &Path<'_>) -> Response {
    let name = path.name.unwrap_or_default();
    match server.get(path.plural, name) {
        Some(object) => Json(object).into_response(),
        None if server.store().outside.contains(&(path.plural, name)) => {
            Json(json!({"metadata": {"name": name}})).into_response()
        }
        None => missing(path),
    }
}

fn selected(object: &Value, query: &HashMap<String, String>) -> bool {
    let selector = query.get("labelSelector").map(String::as_str).unwrap_or_default();
    let labelled = selector.split(',').filter(|term| !term.is_empty()).all(|term| {
        let (key, value) = term.split_once('=').unwrap();
        object["metadata"]["labels"][key] == value
    });
    let selector = query.get("fieldSelector").map(String::as_str).unwrap_or_default();
    let fields = selector.split(',').filter(|term| !term.is_empty()).all(|term| {
        let (key, value) = term.split_once('=').unwrap();
        object
            .pointer(&format!("/{}", key.replace('.', "/")))
            .is_some_and(|held| held == value)
    });
    labelled && fields
}

fn list(server: &Server, path: &Path<'_>, query: &HashMap<String, String>) -> Response {
    let store = server.store();
    let items: Vec<&Value> = store
        .objects
        .iter()
        .filter(|((plural, _), object)| plural == path.plural && selected(object, query))
        .map(|(_, object)| object)
        .collect();
    let version = store.version.to_string();
    Json(
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items}),
    )
    .into_response()
}

fn no_namespace(namespace: &str) -> Response {
    status(404, "NotFound", &format!("namespaces \"{namespace}\" not found"))
}

fn create(server: &Server, path: &Path<'_>, query: &HashMap<String, String>, body: &Bytes) -> Response {
    if path.namespace != NAMESPACE {
        return no_namespace(path.namespace);
    }
    let given: Value = serde_json::from_slice(body).unwrap();
    let name = given["metadata"]["name"].as_str().unwrap();
    assert_eq!(query.get("fieldValidation").map(String::as_str), Some("Strict"));
    if let Err(refused) = strict(path.plural, &given) {
        return refused;
    }
    let mut store = server.store();
    let key = (path.plural.to_owned(), name.to_owned());
    if store.objects.contains_key(&key) || store.outside.contains(&(path.plural, name)) {
        let message = format!("{} \"{name}\" already exists", path.plural);
        return status(409, "AlreadyExists", &message);
    }
    if query.contains_key("dryRun") {
        store.rehearsals += usize::from(path.plural == "jobs");
        drop(store);
        server.tell();
        return Json(given).into_response();
    }
    let denied = store
        .denials
        .iter()
        .position(|(plural, _)| *plural == path.plural);
    if let Some(denied) = denied {
        let (_, message) = store.denials.remove(denied);
        let message = format!("admission webhook \"validator\" denied the request: {message}");
        return status(403, "Forbidden", &message);
    }
    let written = store.write(path.plural, name, given.clone());
    drop(store);
    server.tell();
    Json(written).into_response()
}

fn patch(server: &Server, path: &Path<'_>, body: &Bytes) -> Response {
    if path.namespace != NAMESPACE {
        return no_namespace(path.namespace);
    }
    let given: Value = serde_json::from_slice(body).unwrap();
    let name = path.name.unwrap_or_default();
    let mut store = server.store();
    let key = (path.plural.to_owned(), name.to_owned());
    let Some(before) = store.objects.get(&key).cloned() else {
        return missing(path);
    };
    let mut after = before.clone();
    let version = &given["metadata"]["resourceVersion"];
    if !version.is_null() && *version != after["metadata"]["resourceVersion"] {
        return status(
            409,
            "Conflict",
            "the object has been modified; please apply your changes to the latest version",
        );
    }
    merge(&mut after, &given);
    if let Some(why) = immutable_change(path.plural, &before, &after) {
        return status(422, "Invalid", &why);
    }
    let written = store.write(path.plural, name, after);
    drop(store);
    server.tell();
    if path.plural == "statefulsets" && written["spec"]["replicas"] == 0 {
        tokio::spawn(end_pod(server.clone(), format!("{name}-0")));
    }
    Json(written).into_response()
}

/// As a StatefulSet's controller does it, and not at once.
async fn end_pod(server: Server, name: String) {
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.remove("pods", &name);
}

fn delete(server: &Server, path: &Path<'_>) -> Response {
    let deleted = server.store().delete(path.plural, path.name.unwrap_or_default());
    server.tell();
    match deleted {
        Some(object) => Json(object).into_response(),
        None => missing(path),
    }
}
