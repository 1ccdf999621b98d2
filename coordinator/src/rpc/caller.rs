//! Who is at the other end of a connection of the control plane.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ulda_net::AdmittedConnection;

/// Where a call comes from.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub address: SocketAddr,
    admitted: Arc<AdmittedConnection>,
    is_authenticated: Arc<AtomicBool>,
}

impl Caller {
    pub fn new(address: SocketAddr, admitted: AdmittedConnection) -> Self {
        Self {
            address,
            admitted: Arc::new(admitted),
            is_authenticated: Arc::default(),
        }
    }

    /// The caller has shown the run's token: its connection gives its place back, and stays as long as it likes.
    pub fn authenticate(&self) {
        if !self.is_authenticated.swap(true, Ordering::Relaxed) {
            self.admitted.release();
        }
    }

    pub fn is_authenticated(&self) -> bool {
        self.is_authenticated.load(Ordering::Relaxed)
    }
}
