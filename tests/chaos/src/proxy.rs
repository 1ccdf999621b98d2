//! A relay on loopback whose connections can be cut or left half open.
//!
//! A stalled connection carries nothing in either direction and is not closed: what a pulled cable or a
//! firewall that forgot about it looks like. Threads end when their connection or the relay does.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a thread that reads looks up.
const GLANCE: Duration = Duration::from_millis(20);
const CONNECT: Duration = Duration::from_secs(2);

/// Relays `listens_on` to `upstream`.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    closed: AtomicBool,
    links: Mutex<Vec<Arc<Link>>>,
}

#[derive(Debug)]
struct Link {
    near: TcpStream,
    far: TcpStream,
    stalled_until: Mutex<Option<Instant>>,
    over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// # Errors
    /// No port can be had.
    pub fn open(upstream: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            closed: AtomicBool::new(false),
            links: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("proxy".into())
            .spawn(move || accept(&listener, &accepting))?;
        Ok(Self { address, shared })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections; new ones are relayed again.
    pub fn cut(&self) {
        for link in lock(&self.shared.links).drain(..) {
            link.end();
        }
    }

    /// All connections carry nothing for a while; new ones are relayed.
    pub fn stall(&self, time: Duration) {
        let until = Instant::now() + time;
        for link in lock(&self.shared.links).iter() {
            *lock(&link.stalled_until) = Some(until);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect_timeout(&self.address, CONNECT);
    }
}

impl Link {
    fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = self.near.shutdown(Shutdown::Both);
        let _ = self.far.shutdown(Shutdown::Both);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn is_stalled(&self) -> bool {
        lock(&self.stalled_until).is_some_and(|until| Instant::now() < until)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for near in listener.incoming() {
        if shared.closed.load(Ordering::SeqCst) {
            return;
        }
        let Ok(near) = near else { continue };
        let Ok(far) = TcpStream::connect_timeout(&shared.upstream, CONNECT) else {
            continue;
        };
        let _ = relay(near, far, shared);
    }
}

fn relay(near: TcpStream, far: TcpStream, shared: &Shared) -> std::io::Result<()> {
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(GLANCE))?;
    }
    let link = Arc::new(Link {
        near,
        far,
        stalled_until: Mutex::new(None),
        over: AtomicBool::new(false),
    });
    // Before the first byte passes, so that whoever saw one can stall and cut it.
    let mut links = lock(&shared.links);
    links.retain(|link| !link.is_over());
    links.push(Arc::clone(&link));
    drop(links);
    for outward in [true, false] {
        let link = Arc::clone(&link);
        std::thread::Builder::new()
            .name("relay".into())
            .spawn(move || pump(&link, outward))?;
    }
    Ok(())
}

fn pump(link: &Link, outward: bool) {
    let (mut from, mut to) = if outward {
        (&link.near, &link.far)
    } else {
        (&link.far, &link.near)
    };
    let mut buffer = vec![0; 64 * 1024];
    while !link.is_over() {
        if link.is_stalled() {
            std::thread::park_timeout(GLANCE);
            continue;
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                // Bytes that were under way when the stall began are held back with the rest.
                while link.is_stalled() && !link.is_over() {
                    std::thread::park_timeout(GLANCE);
                }
                if to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    link.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_stall_and_are_cut() {
        let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = Proxy::open(server.local_addr().unwrap()).unwrap();
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        let (mut served, _) = server.accept().unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        served.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut byte = [0];

        client.write_all(b"a").unwrap();
        served.read_exact(&mut byte).unwrap();

        let started = Instant::now();
        proxy.stall(Duration::from_millis(300));
        client.write_all(b"b").unwrap();
        served.read_exact(&mut byte).unwrap();
        assert!(started.elapsed() >= Duration::from_millis(300));

        proxy.cut();
        assert_eq!(client.read(&mut byte).unwrap_or(0), 0);
    }
}
