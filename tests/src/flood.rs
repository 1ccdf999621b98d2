//! Connections that say nothing, many of them, from an address of this host that nobody else comes from.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// A server that takes no more connections lets the next one wait.
const DIAL: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(60);

/// Holds silent connections to an address, the newest ones, until it is dropped.
pub struct Flood {
    dialled: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Holds up to `count` connections to `address`, once that many were tried.
    ///
    /// # Panics
    /// When that takes too long.
    #[must_use]
    pub fn start(address: SocketAddr, count: usize) -> Self {
        let (dialled, ended) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let thread = std::thread::spawn({
            let (dialled, ended) = (dialled.clone(), ended.clone());
            move || {
                let mut held = VecDeque::new();
                while !ended.load(Ordering::Relaxed) {
                    held.extend(dial(address));
                    dialled.fetch_add(1, Ordering::Relaxed);
                    if held.len() > count {
                        held.pop_front();
                        // Full: one in place of another now and then.
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            }
        });
        let flood = Self {
            dialled,
            ended,
            thread: Some(thread),
        };
        let deadline = Instant::now() + PATIENCE;
        while flood.dialled.load(Ordering::Relaxed) < count {
            assert!(
                Instant::now() < deadline,
                "{count} connections to {address} take too long"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        flood
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // A panic there has been printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// None where nobody takes the connection.
fn dial(address: SocketAddr) -> Option<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("this process has descriptors left");
    socket
        .bind(&SocketAddr::from((FROM, 0)).into())
        .expect("127.0.0.0/8 is this host's");
    socket.connect_timeout(&address.into(), DIAL).ok()?;
    Some(socket.into())
}

/// Lets the program of `command`, and whatever it starts, open at most `descriptors` files.
pub fn limit_descriptors(command: &mut Command, descriptors: libc::rlim_t) {
    let limit = libc::rlimit {
        rlim_cur: descriptors,
        rlim_max: descriptors,
    };
    let lower = move || {
        // SAFETY: the argument lives for the call.
        match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: it makes one system call, which is allowed between fork and exec.
    unsafe { command.pre_exec(lower) };
}
