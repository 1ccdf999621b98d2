//! A connection to one peer.
//!
//! Any thread may write, one frame at a time; one thread reads and never writes to a socket while waiting
//! for another, so two workers that write to each other never wait for each other. Invariant: once the
//! plane is broken, the reader only drains.

use std::io::{self, BufReader, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, TryLockError};
use std::time::Duration;

use ulda_run::ids::{Generation, Shard};

use crate::core::Core;
use crate::error::{AbortCause, CollectiveError};
use crate::frame::{FrameError, FrameHeader, FrameKind, HEADER_BYTES, OperationId, PIECE_BYTES};
use crate::handshake::PeerStream;
use crate::mailbox::{FramePlace, OperationShape, Piece};
use crate::membership::WorkerIndex;
use crate::pool::Payload;
use crate::seal::{Reader, TlsSession};
use crate::segment::{Loan, SegmentSlot};
use crate::wait::{Gate, lock};

/// Frames up to this size are read with one system call.
const READ_AHEAD_BYTES: usize = 4096;
/// How long a broken plane tries to tell a peer why.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(200);
/// Longest text of an abort frame.
const CAUSE_BYTES: usize = 1024;

/// The writing half, and the state, of a connection.
pub(crate) struct PeerLink {
    peer: WorkerIndex,
    stream: TcpStream,
    session: Option<Arc<TlsSession>>,
    /// Held while a frame is written; ciphertext on its way.
    writing: Mutex<Vec<u8>>,
    /// What this side says before it falls silent.
    last_words: OnceLock<Vec<u8>>,
    silent: Gate<bool>,
    departed: AtomicBool,
}

impl PeerLink {
    /// Takes over a connection that has shaken hands; a write waits at most `limit` for room.
    pub fn new(peer: WorkerIndex, stream: PeerStream, limit: Duration) -> io::Result<PeerLink> {
        let PeerStream {
            socket: stream,
            session,
            segment: _,
        } = stream;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(Some(limit))?;
        if stream.peer_addr()?.ip() == stream.local_addr()?.ip() {
            do_not_pace(&stream);
        }
        Ok(PeerLink {
            peer,
            stream,
            session,
            writing: Mutex::default(),
            last_words: OnceLock::new(),
            silent: Gate::default(),
            departed: AtomicBool::default(),
        })
    }

    /// A second handle, for the reader.
    pub fn reading_half(&self) -> io::Result<Reader> {
        Ok(Reader::new(self.stream.try_clone()?, self.session.clone()))
    }

    /// Whether the peer has said goodbye.
    pub fn departed(&self) -> bool {
        self.departed.load(Ordering::Acquire)
    }

    /// Writes one frame.
    pub fn send(&self, header: &FrameHeader, payload: &[u8]) -> io::Result<()> {
        let outcome = self.write(header, payload);
        if self.last_words.get().is_some() {
            self.speak_last(LAST_WORDS);
        }
        outcome
    }

    fn write(&self, header: &FrameHeader, payload: &[u8]) -> io::Result<()> {
        let header = header.encode();
        let mut parts = [IoSlice::new(&header), IoSlice::new(payload)];
        let mut writing = lock(&self.writing);
        let outcome = self.put(&mut parts, &mut writing);
        if outcome.is_err() {
            // Whatever came after half a frame would be taken for its other half.
            self.fall_silent();
        }
        outcome
    }

    fn put(&self, mut left: &mut [IoSlice<'_>], sealed: &mut Vec<u8>) -> io::Result<()> {
        while left.iter().any(|part| !part.is_empty()) {
            let written = match &self.session {
                Some(session) => {
                    let taken = session.seal(left, sealed)?;
                    (&self.stream).write_all(sealed)?;
                    Ok(taken)
                }
                None => (&self.stream).write_vectored(left),
            };
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes a last, short frame and ends the writing direction. While another thread is in the middle of a
    /// frame, that is left to it; otherwise it takes at most `limit`.
    pub fn send_last(&self, header: &FrameHeader, payload: &[u8], limit: Duration) {
        let mut frame = header.encode().to_vec();
        frame.extend_from_slice(payload);
        // Only the first fault is told.
        let _ = self.last_words.set(frame);
        self.speak_last(limit);
    }

    fn speak_last(&self, limit: Duration) {
        let mut writing = match self.writing.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Its holder comes here after its frame.
            Err(TryLockError::WouldBlock) => return,
        };
        if let Some(frame) = self.last_words.get()
            && !*self.silent.lock()
        {
            // An error means that the connection is gone, or that the peer does not read.
            let limit = limit.max(Duration::from_millis(1));
            let _ = self
                .stream
                .set_write_timeout(Some(limit))
                .and_then(|()| self.put(&mut [IoSlice::new(frame)], &mut writing));
            self.fall_silent();
        }
    }

    /// Waits until the last words are out, at most `limit`; then ends the writing direction in any case, which
    /// wakes a writer whose peer does not read.
    pub fn end_writing(&self, limit: Duration) {
        let (silent, _) = self.silent.wait(limit, |silent| silent.then_some(()));
        if silent.is_none() {
            self.fall_silent();
        }
    }

    fn fall_silent(&self) {
        // An error means that the connection is gone already.
        let _ = self.stream.shutdown(Shutdown::Write);
        self.silent.update(|silent| *silent = true);
    }

    /// Ends both directions; whoever blocks on the socket wakes up.
    pub fn shut(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Takes a connection within this machine off a pacing congestion control: BBR holds loopback to a third of
/// its speed, and there is no path whose rate it could find out. Connections between machines keep the
/// system's choice.
fn do_not_pace(stream: &TcpStream) {
    let name = b"reno";
    let size = name.len() as libc::socklen_t;
    // SAFETY: the descriptor is open, and pointer and length are those of the name. An error leaves the
    // system's choice.
    unsafe {
        let descriptor = stream.as_raw_fd();
        libc::setsockopt(
            descriptor,
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            name.as_ptr().cast(),
            size,
        );
    }
}

/// An abort frame's header and payload.
pub(crate) fn abort_frame(
    generation: Generation,
    origin: WorkerIndex,
    cause: &AbortCause,
) -> (FrameHeader, Vec<u8>) {
    let mut end = cause.text.len().min(CAUSE_BYTES);
    while !cause.text.is_char_boundary(end) {
        end -= 1;
    }
    let mut header = FrameHeader::control(FrameKind::Abort, generation, origin.0);
    header.length = end as u32;
    header.piece = cause.suspect.map_or(0, |worker| worker.0.saturating_add(1));
    (header, cause.text.as_bytes()[..end].to_vec())
}

/// Reads frames of `peer` until its connection ends. Body of a thread.
pub(crate) fn read_frames(core: &Arc<Core>, link: &PeerLink, stream: Reader) {
    let mut stream = BufReader::with_capacity(READ_AHEAD_BYTES, stream);
    while core.fault().is_none() {
        match read_frame(core, link, &mut stream) {
            Ok(()) => {}
            Err(Trouble::Closed) => {
                if !link.departed() {
                    core.fail(CollectiveError::PeerClosed {
                        worker: link.peer,
                        during: None,
                    });
                }
                return;
            }
            Err(Trouble::Fault(error)) => {
                core.fail(error);
            }
        }
    }
    // Unread bytes at the close would make the kernel discard the abort frame that this side has just
    // written.
    let mut scratch = vec![0; PIECE_BYTES];
    while matches!(stream.read(&mut scratch), Ok(1..)) {}
}

enum Trouble {
    Closed,
    Fault(CollectiveError),
}

/// The payload that `worker` says is in `slot` of its segment.
fn borrow(core: &Core, worker: WorkerIndex, slot: SegmentSlot, got_bytes: u32) -> Result<Loan, Trouble> {
    let segments = core.segments.as_ref();
    let loan = segments.and_then(|segments| segments.borrow(worker, slot, got_bytes as usize));
    let loan = loan.ok_or_else(|| {
        let source = FrameError::Slot {
            slot: slot.0,
            got_bytes,
        };
        Trouble::Fault(CollectiveError::Frame { worker, source })
    })?;
    let bytes = u64::from(got_bytes);
    core.counters.shared_bytes.fetch_add(bytes, Ordering::Relaxed);
    Ok(loan)
}

fn read_frame(core: &Arc<Core>, link: &PeerLink, stream: &mut BufReader<Reader>) -> Result<(), Trouble> {
    let worker = link.peer;
    let trouble = |error: io::Error| match error.kind() {
        ErrorKind::InvalidData => {
            Trouble::Fault(CollectiveError::io(format!("decrypt what {worker} sent"), error))
        }
        _ => Trouble::Closed,
    };
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).map_err(trouble)?;
    let header = FrameHeader::decode(&header, core.membership.generation)
        .map_err(|source| Trouble::Fault(CollectiveError::Frame { worker, source }))?;
    let payload = match header.slot {
        Some(slot) => Payload::Lent(borrow(core, worker, slot, header.length)?),
        None => {
            let mut buffer = core.pool.take(header.length as usize);
            stream.read_exact(buffer.bytes_mut()).map_err(trouble)?;
            Payload::Own(buffer)
        }
    };
    let bytes = HEADER_BYTES as u64 + u64::from(header.length);
    core.counters.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    match header.kind {
        FrameKind::Whole | FrameKind::Contribution | FrameKind::Sum | FrameKind::Ready => {}
        FrameKind::Abort => {
            let cause = AbortCause {
                suspect: header.piece.checked_sub(1).map(WorkerIndex),
                text: String::from_utf8_lossy(payload.bytes()).into_owned(),
            };
            let origin = WorkerIndex(header.from);
            return Err(Trouble::Fault(CollectiveError::PeerAborted {
                worker: origin,
                cause,
            }));
        }
        FrameKind::Bye => {
            link.departed.store(true, Ordering::Release);
            core.mailbox.wake();
            return Ok(());
        }
    }
    let from = Shard(header.from);
    if core.membership.worker_of(from) != Some(worker) {
        let source = FrameError::Speaker(from);
        return Err(Trouble::Fault(CollectiveError::Frame { worker, source }));
    }
    let reduces = matches!(header.operation, OperationId::ReduceF32 | OperationId::ReduceU64);
    let shape = OperationShape {
        speaker: from,
        operation: header.operation,
        group: header.group,
        total: reduces.then_some(header.total),
    };
    let place = FramePlace {
        kind: header.kind,
        from,
        piece: header.piece,
    };
    let parcel = Piece {
        payload: Arc::new(payload),
        total: header.total,
    };
    core.mailbox
        .deliver(header.tag, shape, place, parcel, Some(worker))
        .map_err(Trouble::Fault)?;
    let limit = core.deadlines.operation;
    core.mailbox
        .admit(worker, limit, || core.fault().is_some())
        .map_err(|(unclaimed_bytes, waited)| {
            Trouble::Fault(CollectiveError::RanAhead {
                worker,
                unclaimed_bytes,
                waited,
            })
        })
}
