//! Two workers make sure of each other.
//!
//! ```text
//! dialler                                                       acceptor
//!   hello: magic, version, run, generation, from, to, nonce  →
//!                                             ←  challenge: nonce, proof("acceptor", hello ‖ nonce)
//!   proof("dialler", hello ‖ challenge)                      →
//!                                                            ←  welcome: its segment
//!   segment: its own, whether the acceptor's is in reach       →
//!                                                            ←  settled: whether the dialler's is in reach
//! ```
//!
//! Payloads go through the segments where each side has found the other's, by a mark in it that nobody else knows: then
//! they share a host (`segment.rs`).
//!
//! Where the generation's connections are encrypted, all of this runs inside TLS 1.3, in which both sides have shown
//! certificates of the run; a dialler that does not encrypt is read, and refused by name.
//!
//! A proof is BLAKE3 keyed with the run's secret over the words above; the secret never travels. Either
//! side may answer with a refusal instead, which names its reason. Messages after the hello are: code (1
//! byte), length (2 bytes), body; integers little-endian. Invariant: every read and write has a deadline,
//! and no length is believed beyond its bound.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ulda_run::ids::Generation;

use crate::error::HandshakeError;
use crate::membership::{Membership, RUN_BYTES, RunId, Secret, WorkerIndex};
use crate::offer::{OFFER_BYTES, encode_offer, find_segment};
use crate::refusal::{Fields, decode_refusal, encode_refusal};
use crate::seal::{TLS_HANDSHAKE, Tls, TlsSession};
use crate::segment::{PeerSegment, SharedSegment};

const MAGIC: [u8; 8] = *b"ULDAPEER";
const VERSION: u16 = 3;
const BODY_BYTES: usize = 1024;
pub(crate) const NONCE_BYTES: usize = 32;

/// A connection, and the TLS session on it if it is encrypted.
pub(crate) struct PeerStream {
    pub socket: TcpStream,
    pub session: Option<Arc<TlsSession>>,
    /// Where the peer's payloads lie, if both sides have found each other's segment.
    pub segment: Option<Arc<PeerSegment>>,
}

/// A connection and the moment by which the handshake on it must be over.
pub(crate) struct HandshakeConnection {
    socket: Arc<TcpStream>,
    session: Option<Arc<TlsSession>>,
    segment: Option<Arc<PeerSegment>>,
    start: Instant,
    limit: Duration,
}

/// The first message.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub run: RunId,
    pub generation: Generation,
    pub from: WorkerIndex,
    pub to: WorkerIndex,
}

impl fmt::Display for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of run `{}`, {}", self.from, self.run, self.generation)
    }
}

impl HandshakeConnection {
    /// Others may hold `socket` weakly, to shut it down until the handshake is over.
    pub fn new(socket: impl Into<Arc<TcpStream>>, limit: Duration) -> HandshakeConnection {
        HandshakeConnection {
            socket: socket.into(),
            session: None,
            segment: None,
            start: Instant::now(),
            limit,
        }
    }

    fn left(&self) -> Result<Duration, HandshakeError> {
        let left = self
            .limit
            .checked_sub(self.start.elapsed())
            .filter(|left| !left.is_zero());
        left.ok_or(HandshakeError::Silent { waited: self.limit })
    }

    /// Whether the dialler encrypts, as its first byte tells.
    pub fn is_tls(&self) -> Result<bool, HandshakeError> {
        let mut first = [0];
        loop {
            let left = self.left()?;
            let peeked = self
                .socket
                .set_read_timeout(Some(left))
                .and_then(|()| self.socket.peek(&mut first));
            match peeked {
                Ok(0) => return Err(failed("connection closed")(ErrorKind::UnexpectedEof.into())),
                Ok(_) => return Ok(first[0] == TLS_HANDSHAKE),
                Err(error) if is_delay(&error) => {}
                Err(error) => return Err(failed("read from the other side")(error)),
            }
        }
    }

    /// Dialler: whatever follows is encrypted.
    pub fn encrypt(&mut self, tls: &Tls) -> Result<(), HandshakeError> {
        self.secure(TlsSession::dialling(tls))
    }

    /// Acceptor: whatever follows is encrypted.
    pub fn decrypt(&mut self, tls: &Tls) -> Result<(), HandshakeError> {
        // A dialler that does not believe this side hangs up, and its reason may be lost with the connection.
        self.secure(TlsSession::accepting(tls))
            .map_err(|error| match error {
                HandshakeError::Io { source, .. } => HandshakeError::Untrusted {
                    reason: format!("the other side broke off the TLS handshake: {source}"),
                },
                other => other,
            })
    }

    fn secure(&mut self, session: Result<TlsSession, rustls::Error>) -> Result<(), HandshakeError> {
        let session = Arc::new(session.map_err(|error| untrusted(&error))?);
        self.session = Some(session.clone());
        session
            .shake_hands(Timed(self))
            .map_err(|error| self.broken("shake hands with TLS", error))
    }

    fn read(&self, mut buffer: &mut [u8]) -> Result<(), HandshakeError> {
        while !buffer.is_empty() {
            let read = match &self.session {
                Some(session) => session.read(buffer, Timed(self)),
                None => Timed(self).read(buffer),
            };
            match read {
                Ok(0) => return Err(failed("connection closed")(ErrorKind::UnexpectedEof.into())),
                Ok(read) => buffer = &mut buffer[read..],
                Err(error) => return Err(self.broken("read from the other side", error)),
            }
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> Result<(), HandshakeError> {
        let written = match &self.session {
            Some(session) => session.write(bytes, Timed(self)),
            None => Timed(self).write_all(bytes),
        };
        written.map_err(|error| self.broken("write to the other side", error))
    }

    fn broken(&self, what: &'static str, error: io::Error) -> HandshakeError {
        let told = error.get_ref().and_then(|inner| inner.downcast_ref());
        match told {
            Some(told) => untrusted(told),
            None if is_delay(&error) => HandshakeError::Silent { waited: self.limit },
            None => failed(what)(error),
        }
    }

    fn send(&self, code: u8, body: &[u8]) -> Result<(), HandshakeError> {
        let mut message = vec![code];
        message.extend_from_slice(&(body.len() as u16).to_le_bytes());
        message.extend_from_slice(body);
        self.write(&message)
    }

    /// Reads a message and expects `code` with a body of `length` bytes.
    fn receive(&self, code: u8, length: usize) -> Result<Vec<u8>, ReplyError> {
        let mut head = [0; 3];
        self.read(&mut head).map_err(ReplyError::Failed)?;
        let body_bytes = usize::from(u16::from_le_bytes([head[1], head[2]]));
        if body_bytes > BODY_BYTES {
            return Err(ReplyError::Failed(HandshakeError::NotOurProtocol));
        }
        let mut body = vec![0; body_bytes];
        self.read(&mut body).map_err(ReplyError::Failed)?;
        match head[0] {
            REFUSAL => Err(match decode_refusal(&body) {
                Some(refusal) => ReplyError::Refusal(refusal),
                None => ReplyError::Failed(HandshakeError::NotOurProtocol),
            }),
            got if got == code && body.len() == length => Ok(body),
            _ => Err(ReplyError::Failed(HandshakeError::NotOurProtocol)),
        }
    }

    /// Tells the other side why not. It may be gone, so nothing comes of an error.
    pub fn refuse(&self, refusal: &HandshakeError) {
        if self
            .session
            .as_ref()
            .is_none_or(|session| !session.is_shaking_hands())
        {
            let _ = self.send(REFUSAL, &encode_refusal(refusal));
        }
    }

    /// The connection, after the handshake.
    pub fn into_stream(self) -> PeerStream {
        PeerStream {
            socket: Arc::into_inner(self.socket).expect("nobody shuts it down after the handshake"),
            session: self.session,
            segment: self.segment,
        }
    }

    /// Acceptor: reads the first message; also gives its bytes, the nonce at their end, for the proofs.
    pub fn read_hello(&self) -> Result<(Hello, Vec<u8>), HandshakeError> {
        let mut head = [0; 12];
        self.read(&mut head)?;
        if head[..8] != MAGIC {
            return Err(HandshakeError::NotOurProtocol);
        }
        let got = u16::from_le_bytes([head[8], head[9]]);
        if got != VERSION {
            return Err(HandshakeError::Version {
                got,
                current: VERSION,
            });
        }
        let run_bytes = usize::from(u16::from_le_bytes([head[10], head[11]]));
        if run_bytes > RUN_BYTES {
            return Err(HandshakeError::NotOurProtocol);
        }
        let mut rest = vec![0; run_bytes + 16 + NONCE_BYTES];
        self.read(&mut rest)?;
        let mut fields = Fields(&rest);
        let run = fields.text(run_bytes).ok_or(HandshakeError::NotOurProtocol)?;
        let generation = Generation(fields.u64().ok_or(HandshakeError::NotOurProtocol)?);
        let from = WorkerIndex(fields.u32().ok_or(HandshakeError::NotOurProtocol)?);
        let to = WorkerIndex(fields.u32().ok_or(HandshakeError::NotOurProtocol)?);
        let words = [&head[..], &rest].concat();
        Ok((
            Hello {
                run: RunId(run),
                generation,
                from,
                to,
            },
            words,
        ))
    }

    /// Acceptor: proves itself and hears the dialler's proof. `hello` is the first message's bytes.
    pub fn challenge(&self, secret: &Secret, hello: &[u8]) -> Result<(), HandshakeError> {
        let nonce = nonce()?;
        let mine = proof(secret, ACCEPTOR, &[hello, &nonce]);
        let body = [&nonce[..], mine.as_bytes()].concat();
        self.send(CHALLENGE, &body)?;
        let theirs = self.receive(PROOF, 32).map_err(ReplyError::into_error)?;
        let expected = proof(secret, DIALLER, &[hello, &body]);
        match <[u8; 32]>::try_from(theirs) {
            Ok(theirs) if expected == theirs => Ok(()),
            _ => Err(HandshakeError::WrongSecret),
        }
    }

    /// Acceptor: lets the dialler in, and agrees with it on segments.
    pub fn welcome(
        &mut self,
        membership: &Membership,
        segment: Option<&SharedSegment>,
    ) -> Result<(), HandshakeError> {
        self.send(WELCOME, &encode_offer(segment))?;
        let body = self
            .receive(SEGMENT, OFFER_BYTES + 1)
            .map_err(ReplyError::into_error)?;
        let theirs = find_segment(&body, membership, segment);
        self.send(SETTLED, &[theirs.is_some().into()])?;
        self.segment = theirs.filter(|_| body[OFFER_BYTES] == 1);
        Ok(())
    }

    /// Dialler: the whole handshake.
    pub fn introduce(
        &mut self,
        membership: &Membership,
        to: WorkerIndex,
        segment: Option<&SharedSegment>,
    ) -> Result<(), ReplyError> {
        let mut hello = MAGIC.to_vec();
        hello.extend_from_slice(&VERSION.to_le_bytes());
        hello.extend_from_slice(&(membership.run.0.len() as u16).to_le_bytes());
        hello.extend_from_slice(membership.run.0.as_bytes());
        hello.extend_from_slice(&membership.generation.0.to_le_bytes());
        hello.extend_from_slice(&membership.me.0.to_le_bytes());
        hello.extend_from_slice(&to.0.to_le_bytes());
        hello.extend_from_slice(&nonce().map_err(ReplyError::Failed)?);
        self.write(&hello).map_err(ReplyError::Failed)?;
        let body = self.receive(CHALLENGE, NONCE_BYTES + 32)?;
        let (nonce, theirs) = body.split_at(NONCE_BYTES);
        let expected = proof(&membership.secret, ACCEPTOR, &[&hello, nonce]);
        if !<[u8; 32]>::try_from(theirs).is_ok_and(|theirs| expected == theirs) {
            self.refuse(&HandshakeError::WrongSecret);
            return Err(ReplyError::Refusal(HandshakeError::WrongSecret));
        }
        let mine = proof(&membership.secret, DIALLER, &[&hello, &body]);
        self.send(PROOF, mine.as_bytes()).map_err(ReplyError::Failed)?;
        let body = self.receive(WELCOME, OFFER_BYTES)?;
        let theirs = find_segment(&body, membership, segment);
        let mut answer = encode_offer(segment);
        answer.push(theirs.is_some().into());
        self.send(SEGMENT, &answer).map_err(ReplyError::Failed)?;
        let settled = self.receive(SETTLED, 1)?;
        self.segment = theirs.filter(|_| settled[0] == 1);
        Ok(())
    }
}

/// The socket, with what is left of the connection's time as its timeout.
struct Timed<'a>(&'a HandshakeConnection);

impl Timed<'_> {
    fn left(&self) -> io::Result<Duration> {
        self.0.left().map_err(|_| ErrorKind::TimedOut.into())
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            self.0.socket.set_read_timeout(Some(self.left()?))?;
            match (&*self.0.socket).read(into) {
                Err(error) if is_delay(&error) => {}
                other => return other,
            }
        }
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.socket.set_write_timeout(Some(self.left()?))?;
        (&*self.0.socket).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why a dialler was not let in.
#[derive(Debug)]
pub(crate) enum ReplyError {
    /// By decision of one of the sides.
    Refusal(HandshakeError),
    /// By accident, or because something else listens there.
    Failed(HandshakeError),
}

impl ReplyError {
    fn into_error(self) -> HandshakeError {
        match self {
            ReplyError::Refusal(error) | ReplyError::Failed(error) => error,
        }
    }
}

const REFUSAL: u8 = 1;
const CHALLENGE: u8 = 2;
const PROOF: u8 = 3;
const WELCOME: u8 = 4;
const SEGMENT: u8 = 5;
const SETTLED: u8 = 6;
const ACCEPTOR: &[u8] = b"ulda data plane acceptor";
const DIALLER: &[u8] = b"ulda data plane dialler ";

fn proof(secret: &Secret, side: &[u8], words: &[&[u8]]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(&secret.0);
    hasher.update(side);
    for word in words {
        hasher.update(&(word.len() as u64).to_le_bytes());
        hasher.update(word);
    }
    hasher.finalize()
}

pub(crate) fn nonce() -> Result<[u8; NONCE_BYTES], HandshakeError> {
    let mut nonce = [0; NONCE_BYTES];
    let source = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut nonce));
    source.map_err(failed("read a nonce from `/dev/urandom`"))?;
    Ok(nonce)
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> HandshakeError {
    move |error| HandshakeError::Io {
        what,
        source: Arc::new(error),
    }
}

/// A session that failed: one side does not believe the other, or speaks something else.
fn untrusted(error: &rustls::Error) -> HandshakeError {
    HandshakeError::Untrusted {
        reason: format!("TLS handshake failed: {error}"),
    }
}

fn is_delay(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
