//! A listener of a process that has no descriptors left; alone in its process, whose descriptors it takes.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs::File;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use ulda_net::{Shortage, accept};

#[tokio::test]
async fn accepting_goes_on_once_there_are_descriptors_again() {
    lower_soft_limit(64);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _waiting = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut held = Vec::new();
    let refused = loop {
        match File::open("/dev/null") {
            Ok(file) => held.push(file),
            Err(error) => break error,
        }
    };
    assert_eq!(Shortage::of(&refused), Some(Shortage::Descriptors));
    let direct = listener.accept().await.unwrap_err();
    assert_eq!(Shortage::of(&direct), Some(Shortage::Descriptors));
    let mut accepting = Box::pin(accept(&listener));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut accepting).await;
    assert!(early.is_err(), "accepted without a descriptor");
    drop(held);
    let accepted = tokio::time::timeout(Duration::from_secs(20), accepting).await;
    assert!(accepted.is_ok(), "the waiting connection is accepted in the end");
}

fn lower_soft_limit(descriptors: libc::rlim_t) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the argument lives for the call.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = descriptors;
    // SAFETY: as above.
    assert_eq!(
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) },
        0
    );
}
