//! The switch between the hosts: one thread that carries packets as the weather allows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::host::Host;
use super::weather::Weather;
use crate::rng::FaultRng;

/// How often the thread looks up when no packet comes.
const GLANCE: Duration = Duration::from_millis(20);
/// Packets of one host that are carried before the next one's turn comes.
const TURN: usize = 64;
const LARGEST_PACKET_BYTES: usize = 64 * 1024;

/// Hosts `10.77.0.1` and following, connected with each other.
#[derive(Debug)]
pub struct Network {
    hosts: Vec<Host>,
    weather: Arc<Mutex<Weather>>,
    closed: Arc<AtomicBool>,
}

/// Whether this process may build one.
///
/// # Errors
/// It may not, or the kernel has no TUN devices.
pub fn can_build() -> io::Result<()> {
    Network::build(1, 0).map(drop)
}

impl Network {
    /// `seed` decides what a storm does to each packet.
    ///
    /// # Errors
    /// This process may not, or the kernel has no TUN devices.
    pub fn build(count: u8, seed: u64) -> io::Result<Self> {
        let made = (1..=count).map(|number| Host::make(Ipv4Addr::new(10, 77, 0, number)));
        let (hosts, wires): (Vec<Host>, Vec<File>) =
            made.collect::<io::Result<Vec<_>>>()?.into_iter().unzip();
        let weather = Arc::new(Mutex::new(Weather::default()));
        let closed = Arc::new(AtomicBool::new(false));
        let mut switch = Switch {
            addresses: hosts.iter().map(Host::address).collect(),
            wires,
            weather: Arc::clone(&weather),
            closed: Arc::clone(&closed),
            late: BinaryHeap::new(),
            carried: 0,
            rng: FaultRng::new(seed),
        };
        std::thread::Builder::new()
            .name("switch".into())
            .spawn(move || switch.carry())?;
        Ok(Self {
            hosts,
            weather,
            closed,
        })
    }

    #[must_use]
    pub fn host(&self, number: usize) -> Option<&Host> {
        self.hosts.get(number)
    }

    /// Changes what becomes of packets from now on.
    pub fn change(&self, change: impl FnOnce(&mut Weather)) {
        change(&mut self.weather.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
    }
}

/// A packet that is under way: when it arrives, the how manieth it is, and where.
type Late = Reverse<(Instant, u64, usize, Vec<u8>)>;

struct Switch {
    addresses: Vec<Ipv4Addr>,
    wires: Vec<File>,
    weather: Arc<Mutex<Weather>>,
    closed: Arc<AtomicBool>,
    late: BinaryHeap<Late>,
    carried: u64,
    rng: FaultRng,
}

impl Switch {
    fn carry(&mut self) {
        let mut packet = vec![0; LARGEST_PACKET_BYTES];
        while !self.closed.load(Ordering::SeqCst) {
            for from in self.readable() {
                for _ in 0..TURN {
                    match (&self.wires[from]).read(&mut packet) {
                        Ok(length) if length > 0 => self.forward(from, &packet[..length]),
                        // Nothing is left, or the host is gone.
                        Ok(_) | Err(_) => break,
                    }
                }
            }
            self.deliver_late();
        }
    }

    /// Hosts that have packets to send, as soon as one has or a late one is due.
    fn readable(&self) -> Vec<usize> {
        let wait = self.late.peek().map_or(GLANCE, |Reverse((due, ..))| {
            due.saturating_duration_since(Instant::now()).min(GLANCE)
        });
        let mut looks: Vec<libc::pollfd> = self
            .wires
            .iter()
            .map(|wire| libc::pollfd {
                fd: wire.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
        let count = libc::nfds_t::try_from(looks.len()).unwrap_or_default();
        // Rounded up: a wait of nothing would only turn in circles until the packet is due.
        let millis = i32::try_from(wait.as_micros().div_ceil(1000)).unwrap_or_default();
        // SAFETY: the array is valid and writable for the call's duration.
        unsafe { libc::poll(looks.as_mut_ptr(), count, millis) };
        let found = looks.iter().enumerate().filter(|(_, look)| look.revents != 0);
        found.map(|(host, _)| host).collect()
    }

    fn forward(&mut self, from: usize, packet: &[u8]) {
        let Some(to) =
            destination(packet).and_then(|to| self.addresses.iter().position(|known| *known == to))
        else {
            return;
        };
        let weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
        let fate = weather.fate(from, to, &mut self.rng);
        drop(weather);
        for delay in fate {
            if delay.is_zero() {
                self.deliver(to, packet);
            } else {
                self.carried += 1;
                let arrives = Instant::now() + delay;
                self.late
                    .push(Reverse((arrives, self.carried, to, packet.to_vec())));
            }
        }
    }

    fn deliver_late(&mut self) {
        let now = Instant::now();
        while self.late.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            if let Some(Reverse((_, _, to, packet))) = self.late.pop() {
                self.deliver(to, &packet);
            }
        }
    }

    /// A packet that a host does not take is lost, as on any wire.
    fn deliver(&self, to: usize, packet: &[u8]) {
        let _ = (&self.wires[to]).write(packet);
    }
}

/// Where an IPv4 packet goes.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let is_ipv4 = packet.first()? >> 4 == 4;
    let octets: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    is_ipv4.then(|| octets.into())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_ipv4_has_a_destination_here() {
        let mut packet = [0; 20];
        packet[0] = 0x45;
        packet[16..20].copy_from_slice(&[10, 77, 0, 2]);
        assert_eq!(destination(&packet), Some(Ipv4Addr::new(10, 77, 0, 2)));
        packet[0] = 0x60;
        assert_eq!(destination(&packet), None);
        assert_eq!(destination(&packet[..10]), None);
    }

    /// What a host's TCP says of another host's: bash opens a connection to a port that nobody listens on.
    fn knock(network: &Network, from: usize, to: usize) -> String {
        let address = network.host(to).unwrap().address();
        let mut command = Command::new("timeout");
        command.args(["0.5", "bash", "-c", &format!("exec 3<>/dev/tcp/{address}/9")]);
        network.host(from).unwrap().place(&mut command);
        let output = command.output().unwrap();
        match output.status.code() {
            Some(124) => "silence".to_owned(),
            _ => String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[test]
    fn hosts_hear_each_other_unless_a_link_is_down() {
        if let Err(error) = can_build() {
            eprintln!("SKIPPED: no network of our own: {error}");
            return;
        }
        let network = Network::build(2, 1).unwrap();
        assert!(
            knock(&network, 0, 1).contains("refused"),
            "{}",
            knock(&network, 0, 1)
        );
        network.change(|weather| weather.set_link(1, false));
        assert_eq!(knock(&network, 0, 1), "silence");
        network.change(|weather| {
            weather.set_link(1, true);
            weather.storm(Some(super::super::Storm {
                loses: 0,
                doubles: 50,
                delay: (Duration::from_millis(5), Duration::from_millis(30)),
            }));
        });
        assert!(
            knock(&network, 1, 0).contains("refused"),
            "{}",
            knock(&network, 1, 0)
        );
    }
}
