//! What is not the run's: objects that others made, and the rights of the user.

use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Json, NAMESPACE, Server};

/// What the submissions of these tests name.
pub(super) fn usual() -> Vec<(&'static str, &'static str)> {
    let claims = ["city", "acdc", "results"].map(|name| ("persistentvolumeclaims", name));
    let secrets = ["s3-keys", "registry"].map(|name| ("secrets", name));
    claims.into_iter().chain(secrets).collect()
}

impl Server {
    /// There is no such object any more.
    pub fn withdraw(&self, plural: &str, name: &str) {
        self.store().outside.retain(|held| *held != (plural, name));
    }
}

/// Whether the user may do what is asked.
pub(super) fn review(server: &Server, body: &Bytes) -> Response {
    let mut review: Value = serde_json::from_slice(body).unwrap();
    let asked = &review["spec"]["resourceAttributes"];
    assert_eq!(asked["namespace"], NAMESPACE);
    let method = match asked["verb"].as_str().unwrap() {
        "create" => Method::POST,
        "patch" => Method::PATCH,
        "delete" => Method::DELETE,
        verb => panic!("{verb} is not reviewed"),
    };
    let plural = asked["resource"].as_str().unwrap();
    let forbidden = server
        .store()
        .forbidden
        .iter()
        .any(|held| *held == (method.clone(), plural));
    review["status"] = json!({"allowed": !forbidden});
    (StatusCode::CREATED, Json(review)).into_response()
}
