//! TLS on a connection of the data plane.
//!
//! A session encrypts and decrypts bytes and owns no socket: both directions of a connection block on the network
//! outside its lock, which is held for as long as one record takes. Invariant: ciphertext leaves in the order in
//! which it was made, since a link writes one frame at a time.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use crate::wait::lock;

/// Ciphertext taken from the socket at once.
const RAW_BYTES: usize = 64 * 1024;
/// The same while shaking hands; what comes with the last message is kept in the session.
const HANDSHAKE_BYTES: usize = 4096;
/// The first byte of a TLS handshake; no other protocol here begins with it.
pub(crate) const TLS_HANDSHAKE: u8 = 0x16;

/// What a worker shows to others, and whom it believes.
#[derive(Clone)]
pub struct Tls {
    /// When it dials.
    pub dials: Arc<ClientConfig>,
    /// When it is dialled.
    pub accepts: Arc<ServerConfig>,
    /// The name in the certificate of whoever it dials.
    pub peer: ServerName<'static>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// A TLS session, shared by the two directions of a connection.
pub(crate) struct TlsSession(Mutex<Connection>);

impl TlsSession {
    pub fn dialling(tls: &Tls) -> Result<TlsSession, rustls::Error> {
        let client = ClientConnection::new(tls.dials.clone(), tls.peer.clone())?;
        Ok(TlsSession(Mutex::new(client.into())))
    }

    pub fn accepting(tls: &Tls) -> Result<TlsSession, rustls::Error> {
        let server = ServerConnection::new(tls.accepts.clone())?;
        Ok(TlsSession(Mutex::new(server.into())))
    }

    pub fn is_shaking_hands(&self) -> bool {
        lock(&self.0).is_handshaking()
    }

    /// Shakes hands over `socket`, whose reads and writes have deadlines.
    pub fn shake_hands(&self, mut socket: impl Read + Write) -> io::Result<()> {
        let mut connection = lock(&self.0);
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        // What is left to say, such as the last message of the one who is dialled.
        while connection.wants_write() {
            connection.write_tls(&mut socket)?;
        }
        socket.flush()
    }

    /// Reads what is there, or the next that comes over `socket`; 0 at its end.
    pub fn read(&self, into: &mut [u8], mut socket: impl Read) -> io::Result<usize> {
        let mut raw = [0; HANDSHAKE_BYTES];
        loop {
            if let Some(read) = self.open(&mut &[][..], into)? {
                return Ok(read);
            }
            let read = socket.read(&mut raw)?;
            if read == 0 {
                return Ok(0);
            }
            let mut fresh = &raw[..read];
            let mut connection = lock(&self.0);
            // All of it: whoever reads next does so from the socket.
            while !fresh.is_empty() {
                feed(&mut connection, &mut fresh)?;
            }
        }
    }

    /// Writes all of `bytes` over `socket`.
    pub fn write(&self, bytes: &[u8], mut socket: impl Write) -> io::Result<()> {
        let mut out = Vec::new();
        let mut left = bytes;
        while !left.is_empty() {
            let taken = self.seal(&[IoSlice::new(left)], &mut out)?;
            left = &left[taken..];
            socket.write_all(&out)?;
        }
        Ok(())
    }

    /// Ciphertext of the front of `parts` into `out`, which is emptied before; how many bytes were taken.
    pub fn seal(&self, parts: &[IoSlice<'_>], out: &mut Vec<u8>) -> io::Result<usize> {
        out.clear();
        let mut connection = lock(&self.0);
        let taken = connection.writer().write_vectored(parts)?;
        while connection.wants_write() {
            connection.write_tls(out)?;
        }
        Ok(taken)
    }

    /// Plaintext that is there, or what could be made of `raw`; takes what it used off the front.
    fn open(&self, raw: &mut &[u8], into: &mut [u8]) -> io::Result<Option<usize>> {
        let mut connection = lock(&self.0);
        loop {
            match connection.reader().read(into) {
                Ok(read) => return Ok(Some(read)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if raw.is_empty() {
                return Ok(None);
            }
            feed(&mut connection, raw)?;
        }
    }
}

fn feed(connection: &mut Connection, raw: &mut &[u8]) -> io::Result<()> {
    connection.read_tls(raw)?;
    connection
        .process_new_packets()
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    Ok(())
}

/// The reading direction of a connection.
pub(crate) struct Reader {
    socket: TcpStream,
    session: Option<Arc<TlsSession>>,
    raw: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Reader {
    pub fn new(socket: TcpStream, session: Option<Arc<TlsSession>>) -> Reader {
        let length = if session.is_some() { RAW_BYTES } else { 0 };
        Reader {
            socket,
            session,
            raw: vec![0; length].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &self.session else {
            return self.socket.read(into);
        };
        loop {
            let mut unused = &self.raw[self.start..self.end];
            let opened = session.open(&mut unused, into);
            self.start = self.end - unused.len();
            if let Some(read) = opened? {
                return Ok(read);
            }
            // Interrupted reads are the caller's to repeat, as those of a socket.
            let read = self.socket.read(&mut self.raw)?;
            (self.start, self.end) = (0, read);
            if self.end == 0 {
                return Ok(0);
            }
        }
    }
}
