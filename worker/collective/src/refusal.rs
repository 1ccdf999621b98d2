//! A refusal of the handshake as bytes. Integers are little-endian.

use ulda_run::ids::Generation;

use crate::error::HandshakeError;
use crate::membership::{RunId, WorkerIndex};

/// The body of a refusal: its code, then its fields.
pub(crate) fn encode_refusal(refusal: &HandshakeError) -> Vec<u8> {
    let mut body = Vec::new();
    match refusal {
        HandshakeError::Version { got, current } => {
            body.push(1);
            body.extend_from_slice(&got.to_le_bytes());
            body.extend_from_slice(&current.to_le_bytes());
        }
        HandshakeError::WrongRun { got, current } => {
            body.push(2);
            for run in [got, current] {
                body.extend_from_slice(&(run.0.len() as u16).to_le_bytes());
                body.extend_from_slice(run.0.as_bytes());
            }
        }
        HandshakeError::StaleGeneration { got, current } => {
            body.push(3);
            body.extend_from_slice(&got.0.to_le_bytes());
            body.extend_from_slice(&current.0.to_le_bytes());
        }
        HandshakeError::NotYet { got } => {
            body.push(4);
            body.extend_from_slice(&got.0.to_le_bytes());
        }
        HandshakeError::WrongSecret => body.push(5),
        HandshakeError::UnknownWorker { got, me, workers } => {
            body.push(6);
            for number in [got.0, me.0, *workers] {
                body.extend_from_slice(&number.to_le_bytes());
            }
        }
        HandshakeError::WrongDestination { got, me } => {
            body.push(7);
            for worker in [got, me] {
                body.extend_from_slice(&worker.0.to_le_bytes());
            }
        }
        HandshakeError::AlreadyConnected { got } => {
            body.push(8);
            body.extend_from_slice(&got.0.to_le_bytes());
        }
        HandshakeError::Abandoned { got } => {
            body.push(9);
            body.extend_from_slice(&got.0.to_le_bytes());
        }
        HandshakeError::NotEncrypted { current } => {
            body.push(11);
            body.extend_from_slice(&current.0.to_le_bytes());
        }
        HandshakeError::Encrypted { current } => {
            body.push(12);
            body.extend_from_slice(&current.0.to_le_bytes());
        }
        HandshakeError::NotOurProtocol
        | HandshakeError::Untrusted { .. }
        | HandshakeError::NoCredentials
        | HandshakeError::Silent { .. }
        | HandshakeError::Crowded { .. }
        | HandshakeError::Absent { .. }
        | HandshakeError::Unreachable { .. }
        | HandshakeError::Refused { .. }
        | HandshakeError::Io { .. } => body.push(10),
    }
    body
}

/// `None` of a body that no version writes.
pub(crate) fn decode_refusal(body: &[u8]) -> Option<HandshakeError> {
    let (code, rest) = body.split_first()?;
    let mut fields = Fields(rest);
    let refusal = match code {
        1 => HandshakeError::Version {
            got: fields.u16()?,
            current: fields.u16()?,
        },
        2 => {
            let mut run = || {
                fields
                    .u16()
                    .and_then(|length| fields.text(length.into()))
                    .map(RunId)
            };
            HandshakeError::WrongRun {
                got: run()?,
                current: run()?,
            }
        }
        3 => HandshakeError::StaleGeneration {
            got: Generation(fields.u64()?),
            current: Generation(fields.u64()?),
        },
        4 => HandshakeError::NotYet {
            got: Generation(fields.u64()?),
        },
        5 => HandshakeError::WrongSecret,
        6 => HandshakeError::UnknownWorker {
            got: WorkerIndex(fields.u32()?),
            me: WorkerIndex(fields.u32()?),
            workers: fields.u32()?,
        },
        7 => HandshakeError::WrongDestination {
            got: WorkerIndex(fields.u32()?),
            me: WorkerIndex(fields.u32()?),
        },
        8 => HandshakeError::AlreadyConnected {
            got: WorkerIndex(fields.u32()?),
        },
        9 => HandshakeError::Abandoned {
            got: Generation(fields.u64()?),
        },
        10 => HandshakeError::NotOurProtocol,
        11 => HandshakeError::NotEncrypted {
            current: Generation(fields.u64()?),
        },
        12 => HandshakeError::Encrypted {
            current: Generation(fields.u64()?),
        },
        _ => return None,
    };
    Some(refusal)
}

/// Whether these bytes are the body of a refusal: for tests with bytes that no worker sends.
#[must_use]
pub fn is_refusal(bytes: &[u8]) -> bool {
    decode_refusal(bytes).is_some_and(|refusal| !refusal.to_string().is_empty())
}

/// Reads fields off the front; none when the bytes run out.
pub(crate) struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn text(&mut self, length: usize) -> Option<String> {
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(field.to_vec()).ok()
    }
}
