//! Where a worker's metrics are served.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// First port of this host's workers; one more for each slot.
const USUAL_PORT: u16 = 9465;

/// What the command line says of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsAddress {
    Off,
    /// Port 9465 + slot of this host, else any free one.
    Usual,
    At(SocketAddr),
}

impl MetricsAddress {
    /// Addresses to try, one after the other.
    #[must_use]
    pub fn candidates(self, slot: u32) -> Vec<SocketAddr> {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match self {
            Self::Off => Vec::new(),
            Self::At(address) => vec![address],
            Self::Usual => {
                let usual = u16::try_from(u32::from(USUAL_PORT).saturating_add(slot));
                usual.into_iter().chain([0]).map(local).collect()
            }
        }
    }
}

impl FromStr for MetricsAddress {
    type Err = NotAMetricsAddress;

    fn from_str(text: &str) -> Result<Self, NotAMetricsAddress> {
        match text {
            "off" => Ok(Self::Off),
            "auto" => Ok(Self::Usual),
            other => other.parse().map(Self::At).map_err(|_| NotAMetricsAddress),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("give HOST:PORT such as 127.0.0.1:9465 or 0.0.0.0:9465, `auto` or `off`")]
pub struct NotAMetricsAddress;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_of_a_host_has_its_usual_port() {
        let ports = |text: &str, slot| -> Vec<u16> {
            let address: MetricsAddress = text.parse().unwrap();
            let candidates = address.candidates(slot).into_iter();
            candidates.map(|address| address.port()).collect()
        };
        assert_eq!(ports("auto", 2), [9467, 0]);
        assert_eq!(ports("auto", 1 << 20), [0]);
        assert_eq!(ports("0.0.0.0:9465", 2), [9465]);
        assert!(ports("off", 0).is_empty());
        assert!("9465".parse::<MetricsAddress>().is_err());
    }
}
