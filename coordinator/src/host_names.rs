//! What this host is called by others, as Linux tells it in `/proc`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Its name and the addresses of its interfaces, for a certificate of whoever listens on all of them.
#[must_use]
pub fn host_names() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let name = read("/proc/sys/kernel/hostname").trim().to_owned();
    let addresses = old_addresses(&read("/proc/net/fib_trie"))
        .into_iter()
        .map(IpAddr::V4)
        .chain(
            new_addresses(&read("/proc/net/if_inet6"))
                .into_iter()
                .map(IpAddr::V6),
        );
    let mut names: Vec<String> = addresses.map(|address| address.to_string()).collect();
    if !name.is_empty() && name != "(none)" {
        names.push(name);
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// An address stands on the line before the one that calls it local.
fn old_addresses(trie: &str) -> Vec<Ipv4Addr> {
    let lines: Vec<&str> = trie.lines().map(str::trim).collect();
    let pairs = lines.windows(2).filter(|pair| pair[1].ends_with("host LOCAL"));
    pairs
        .filter_map(|pair| pair[0].strip_prefix("|-- ")?.parse().ok())
        .collect()
}

fn new_addresses(table: &str) -> Vec<Ipv6Addr> {
    let firsts = table.lines().filter_map(|line| line.split_whitespace().next());
    firsts
        .filter_map(|digits| u128::from_str_radix(digits, 16).ok())
        .map(Ipv6Addr::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_the_kernels_tables() {
        let trie = "Local:\n  +-- 10.0.0.0/24 2 0 2\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.7\n        \
                    /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
        assert_eq!(old_addresses(trie), [Ipv4Addr::new(10, 0, 0, 7)]);
        let table = "fe80000000000000000000000000abcd 02 40 20 80     eth0\n";
        assert_eq!(new_addresses(table), ["fe80::abcd".parse::<Ipv6Addr>().unwrap()]);
    }

    #[test]
    fn this_host_has_a_loopback() {
        assert!(
            host_names().contains(&"127.0.0.1".to_owned()),
            "{:?}",
            host_names()
        );
    }
}
