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

impl MetricsAddress {
    /// Where the worker `number` of a group, which has this slot, is served on this host, if the group's metrics are at this
    /// address: on the ports that follow. Behind the usual port they go by slot, since a host may have several groups.
    #[must_use]
    pub fn of_member(self, number: u32, slot: u32) -> Option<SocketAddr> {
        let (group, further) = match self {
            Self::Off => return None,
            Self::Usual => (USUAL_PORT, slot),
            Self::At(address) => (address.port(), number),
        };
        let port = u16::try_from(u32::from(group).checked_add(1)?.checked_add(further)?).ok()?;
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
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

    #[test]
    fn workers_of_a_group_are_served_on_this_host_behind_it() {
        let member = |text: &str, number| {
            let address: MetricsAddress = text.parse().unwrap();
            address
                .of_member(number, 8 + number)
                .map(|address| address.to_string())
        };
        assert_eq!(member("0.0.0.0:9465", 7).as_deref(), Some("127.0.0.1:9473"));
        assert_eq!(member("auto", 0).as_deref(), Some("127.0.0.1:9474"));
        assert_eq!(member("off", 0), None);
        assert_eq!(member("0.0.0.0:65535", 0), None, "there is no such port");
    }
}
