//! The status of a storage's last answer to a request. `object_store` keeps it to itself (its module `client::retry`), so
//! a service between it and its HTTP client notes it for the task that asks.

use std::cell::Cell;

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

tokio::task_local! {
    static LAST_STATUS: Cell<Option<u16>>;
}

/// The outcome of `request`, and the HTTP status of the last answer it got, if any.
pub(crate) async fn with_status<T>(request: impl Future<Output = T>) -> (T, Option<u16>) {
    let noting = async {
        let outcome = request.await;
        (outcome, LAST_STATUS.with(Cell::get))
    };
    LAST_STATUS.scope(Cell::new(None), noting).await
}

/// Connects as `object_store` does, and notes each answer's status.
#[derive(Debug)]
pub(crate) struct StatusConnector;

impl HttpConnector for StatusConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(StatusNotes(client)))
    }
}

#[derive(Debug)]
struct StatusNotes(HttpClient);

#[async_trait::async_trait]
impl HttpService for StatusNotes {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = self.0.execute(request).await;
        let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
        // A task of the client's own has no request of ours whose status it could be.
        let _ = LAST_STATUS.try_with(|last| last.set(status));
        answer
    }
}
