//! Who may call: looks at every call's token before its body is read.

use std::sync::Arc;

use tokio_rustls::rustls::ServerConfig;
use tonic::service::Interceptor;
use tonic::{Request, Status};
use ulda_credentials::channel::CLAIM;
use ulda_credentials::{RefusalLog, TokenDigest};

use super::caller::Caller;

/// Longest token that is looked at.
const HEADER_BYTES: usize = 1024;

/// The control plane's guard: the run's token, and TLS unless the run keeps to this host by request.
#[derive(Clone, Debug)]
pub struct Guard {
    token: TokenDigest,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) refusals: RefusalLog,
}

impl Guard {
    #[must_use]
    pub fn new(token: TokenDigest, tls: Option<Arc<ServerConfig>>, refusals: RefusalLog) -> Self {
        Self { token, tls, refusals }
    }

    fn trusts(&self, request: &Request<()>) -> Result<(), &'static str> {
        let Some(said) = request.metadata().get("authorization") else {
            return Err("it showed no token");
        };
        let token = said.as_bytes().strip_prefix(b"Bearer ").unwrap_or_default();
        if token.len() <= HEADER_BYTES && self.token.is_of(token) {
            Ok(())
        } else {
            Err("its token is not this run's")
        }
    }
}

impl Interceptor for Guard {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        match self.trusts(&request) {
            Ok(()) => {
                if let Some(caller) = request.extensions().get::<Caller>() {
                    caller.authenticate();
                }
                // Whatever comes after needs no secret.
                request.metadata_mut().remove("authorization");
                Ok(request)
            }
            Err(why) => {
                let peer = request.extensions().get::<Caller>().map(|caller| caller.address);
                let claim = request.metadata().get(CLAIM).map(|claim| claim.as_bytes());
                self.refusals.refused("control plane", peer, claim, why);
                Err(Status::unauthenticated(format!(
                    "{why}; hint: start the worker with the run's credentials folder (--credentials)"
                )))
            }
        }
    }
}
