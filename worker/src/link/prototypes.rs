//! The prototypes of one batch, gathered over the prompt groups that share it.

use tch::{Device, Kind, Tensor};
use ulda_collective::{Collective, ShardGroup};
use ulda_method::simulate::{Prototype, PrototypeExchange};
use ulda_method::{MethodError, Result};
use ulda_run::plan::{Lane, Lanes};
use ulda_torch::upload;

use super::{At, Link, Op};

/// Bytes before each prototype's rows: domain, image, K and E as u32.
const HEADER_BYTES: usize = 16;

pub struct LanePrototypes {
    link: Link,
    at: At,
    group: ShardGroup,
    /// Tells apart the exchanges of batches that are worked on at once.
    data_shard: u32,
    /// Where the method wants them.
    device: Device,
}

impl LanePrototypes {
    #[must_use]
    pub fn new(link: &Link, at: At, lanes: &Lanes, lane: Lane, device: Device) -> Self {
        Self {
            link: link.clone(),
            at,
            group: ShardGroup::of(lanes.same_batch(lane)),
            data_shard: lane.data_shard,
            device,
        }
    }
}

impl PrototypeExchange for LanePrototypes {
    fn gather(&self, iteration: usize, mine: Vec<Prototype>) -> Result<Vec<Prototype>> {
        if self.group.contributors().len() == 1 {
            return Ok(mine);
        }
        let at = At {
            iteration: iteration as u32,
            ..self.at
        };
        let mut bytes = Vec::new();
        for prototype in &mine {
            encode(prototype, &mut bytes)?;
        }
        let tag = self.link.tag(at, Op::Prototypes, self.data_shard);
        let all = self
            .link
            .rank
            .all_gather(tag, &self.group, &bytes)
            .map_err(exchange)?;
        let mut prototypes = Vec::new();
        for bytes in &all {
            decode(bytes, &mut prototypes)?;
        }
        for prototype in &mut prototypes {
            prototype.rows = upload(&prototype.rows, self.device)?;
        }
        Ok(prototypes)
    }
}

fn exchange(error: impl std::fmt::Display) -> MethodError {
    MethodError::Exchange {
        what: "gather prototypes",
        reason: error.to_string(),
    }
}

fn encode(prototype: &Prototype, bytes: &mut Vec<u8>) -> Result<()> {
    let (classes, width) = prototype.rows.size2()?;
    for number in [
        prototype.domain as u32,
        prototype.image as u32,
        classes as u32,
        width as u32,
    ] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    let mut values = vec![0f32; (classes * width) as usize];
    prototype
        .rows
        .f_contiguous()?
        .f_copy_data(&mut values, (classes * width) as usize)?;
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    Ok(())
}

fn decode(mut bytes: &[u8], into: &mut Vec<Prototype>) -> Result<()> {
    while !bytes.is_empty() {
        let short = || exchange(format!("a message ends {} bytes into a prototype", bytes.len()));
        let header = bytes.get(..HEADER_BYTES).ok_or_else(short)?;
        let number =
            |at: usize| u32::from_le_bytes(header[at * 4..at * 4 + 4].try_into().expect("four bytes"));
        let (classes, width) = (number(2) as usize, number(3) as usize);
        let end = HEADER_BYTES + classes * width * 4;
        let rows = bytes.get(HEADER_BYTES..end).ok_or_else(short)?;
        into.push(Prototype {
            domain: number(0) as usize,
            image: number(1) as usize,
            rows: Tensor::f_from_data_size(rows, &[classes as i64, width as i64], Kind::Float)?,
        });
        bytes = &bytes[end..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prototypes_survive_their_bytes() {
        let rows = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]).view([2, 3]);
        let mut bytes = Vec::new();
        encode(
            &Prototype {
                domain: 3,
                image: 1,
                rows: rows.copy(),
            },
            &mut bytes,
        )
        .unwrap();
        encode(
            &Prototype {
                domain: 4,
                image: 0,
                rows: Tensor::zeros([0, 3], (Kind::Float, tch::Device::Cpu)),
            },
            &mut bytes,
        )
        .unwrap();
        let mut again = Vec::new();
        decode(&bytes, &mut again).unwrap();
        assert_eq!((again[0].domain, again[0].image, again[1].domain), (3, 1, 4));
        assert_eq!(again[0].rows, rows);
        assert_eq!(again[1].rows.size(), [0, 3]);
        assert!(decode(&bytes[..bytes.len() - 20], &mut Vec::new()).is_err());
    }
}
