//! Gives workers the addresses under which the proxies stand between them and everyone else.
//!
//! A worker that the coordinator starts is really the shim (see `shim`), which asks here before it becomes
//! the worker. One line each way: `<slot> <coordinator host:port>`, and the answer as JSON.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::proxy::Proxy;

const TALK: Duration = Duration::from_secs(5);

/// Where a worker listens, what it tells others, and where it finds its coordinator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Addresses {
    pub coordinator: SocketAddr,
    pub data_listen: SocketAddr,
    pub data_advertise: SocketAddr,
}

/// The two wires of one worker process.
#[derive(Debug)]
pub struct Wires {
    pub control: Proxy,
    pub data: Proxy,
}

#[derive(Debug)]
pub struct Desk {
    address: SocketAddr,
    wires: Arc<Mutex<BTreeMap<u32, Wires>>>,
}

impl Desk {
    /// # Errors
    /// No port can be had.
    pub fn open() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let wires = Arc::new(Mutex::new(BTreeMap::new()));
        let theirs = Arc::downgrade(&wires);
        std::thread::Builder::new().name("desk".into()).spawn(move || {
            for caller in listener.incoming() {
                let Some(wires) = theirs.upgrade() else { return };
                if let Ok(caller) = caller {
                    // A caller that hangs up is a worker that was killed while it started.
                    let _ = answer(&caller, &wires);
                }
            }
        })?;
        Ok(Self { address, wires })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Does something to the wires of a slot's latest worker. False where there is none.
    pub fn with_wires(&self, slot: u32, act: impl FnOnce(&Wires)) -> bool {
        let wires = self.wires.lock().unwrap_or_else(PoisonError::into_inner);
        wires.get(&slot).map(act).is_some()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.wires = Arc::default();
        // Wakes the thread that answers.
        let _ = TcpStream::connect_timeout(&self.address, TALK);
    }
}

fn answer(caller: &TcpStream, wires: &Mutex<BTreeMap<u32, Wires>>) -> std::io::Result<()> {
    caller.set_read_timeout(Some(TALK))?;
    let mut line = String::new();
    BufReader::new(caller).read_line(&mut line)?;
    let malformed = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    let (slot, coordinator) = line.trim().split_once(' ').ok_or_else(malformed)?;
    let slot = slot.parse().map_err(|_| malformed())?;
    let coordinator = coordinator.parse().map_err(|_| malformed())?;
    // Free a moment ago; a worker that finds it taken ends, and is started again.
    let data_listen = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    let pair = Wires {
        control: Proxy::open(coordinator)?,
        data: Proxy::open(data_listen)?,
    };
    let addresses = Addresses {
        coordinator: pair.control.address(),
        data_listen,
        data_advertise: pair.data.address(),
    };
    let former = wires
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(slot, pair);
    // The former worker of the slot may still be served; its end must not wait for this lock.
    drop(former);
    let mut text = serde_json::to_string(&addresses)?;
    text.push('\n');
    (&mut &*caller).write_all(text.as_bytes())
}

/// Asks the desk at `desk` on behalf of the worker of `slot`.
///
/// # Errors
/// The desk is gone or answers something else.
pub fn ask(desk: SocketAddr, slot: u32, coordinator: SocketAddr) -> std::io::Result<Addresses> {
    let stream = TcpStream::connect_timeout(&desk, TALK)?;
    stream.set_read_timeout(Some(TALK))?;
    writeln!(&stream, "{slot} {coordinator}")?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
