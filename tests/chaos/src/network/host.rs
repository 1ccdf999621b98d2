//! One host: a network namespace with one interface.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

const INTERFACE: &[u8] = b"wire";
const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
/// Jumbo frames: fewer packets to carry.
const MTU_BYTES: i32 = 9000;

/// A network namespace; gone when dropped and no process is left in it.
#[derive(Debug)]
pub struct Host {
    address: Ipv4Addr,
    namespace: File,
}

impl Host {
    /// Makes a host and the end of its wire, from which its packets are read and to which are written those it
    /// is to get.
    ///
    /// # Errors
    /// This process may not, or the kernel has no TUN devices.
    pub(super) fn make(address: Ipv4Addr) -> io::Result<(Self, File)> {
        let mut made = Err(io::Error::other("the thread that makes a host panicked"));
        // Only the thread moves into the new namespace.
        std::thread::scope(|scope| {
            scope.spawn(|| made = Self::make_here(address));
        });
        made
    }

    fn make_here(address: Ipv4Addr) -> io::Result<(Self, File)> {
        // SAFETY: unshare takes a plain integer and concerns this thread only.
        check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
        let wire = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")?;
        let mut request = request(INTERFACE);
        let flags = libc::IFF_TUN | libc::IFF_NO_PI;
        request.ifr_ifru.ifru_flags = i16::try_from(flags).unwrap_or_default();
        // SAFETY: the request is valid for the call's duration.
        check(unsafe { libc::ioctl(wire.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        configure(&socket, libc::SIOCSIFADDR, |field| {
            field.ifru_addr = plain(address)
        })?;
        configure(&socket, libc::SIOCSIFNETMASK, |field| {
            field.ifru_netmask = plain(NETMASK);
        })?;
        configure(&socket, libc::SIOCSIFMTU, |field| field.ifru_mtu = MTU_BYTES)?;
        bring_up(&socket, INTERFACE)?;
        bring_up(&socket, b"lo")?;
        let namespace = File::open("/proc/thread-self/ns/net")?;
        Ok((Self { address, namespace }, wire))
    }

    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Starts the command on this host.
    pub fn place(&self, command: &mut Command) {
        let namespace = self.namespace.as_raw_fd();
        // SAFETY: setns is safe to call between fork and exec; the file is open in the child until then.
        unsafe {
            command.pre_exec(move || check(libc::setns(namespace, libc::CLONE_NEWNET)));
        }
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn request(interface: &[u8]) -> libc::ifreq {
    // SAFETY: ifreq is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request
}

fn configure(
    socket: &UdpSocket,
    what: libc::c_ulong,
    set: impl FnOnce(&mut libc::__c_anonymous_ifr_ifru),
) -> io::Result<()> {
    let mut request = request(INTERFACE);
    set(&mut request.ifr_ifru);
    // SAFETY: the request is valid for the call's duration.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), what, &raw mut request) })
}

fn bring_up(socket: &UdpSocket, interface: &[u8]) -> io::Result<()> {
    let mut request = request(interface);
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or_default();
    // SAFETY: the request is valid for the call's duration.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) })
}

/// An address as the kernel's requests have it.
fn plain(address: Ipv4Addr) -> libc::sockaddr {
    let octets = address.octets().map(|octet| libc::c_char::from_ne_bytes([octet]));
    // SAFETY: sockaddr is plain data for which all zeroes is a valid value.
    let mut plain: libc::sockaddr = unsafe { mem::zeroed() };
    plain.sa_family = u16::try_from(libc::AF_INET).unwrap_or_default();
    // Behind the port.
    plain.sa_data[2..6].copy_from_slice(&octets);
    plain
}
