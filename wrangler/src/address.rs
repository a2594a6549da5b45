//! Gates by the address of a visitor: each has one above it, up to the one of everybody.

use std::net::Ipv6Addr;

use crate::price::{ADDRESS_DAY, EVERYBODY_DAY, NETWORK_DAY};

/// The gate that everybody has to pass.
pub const EVERYBODY: &str = "everybody";

/// The gate of an address. Whoever has one address of version 6 has a network of them,
/// so the first half counts.
pub fn gate(ip: &str) -> String {
    let Ok(six) = ip.parse::<Ipv6Addr>() else { return format!("address {ip}") };
    let [a, b, c, d, ..] = six.segments();
    format!("address {a:x}:{b:x}:{c:x}:{d:x}::/64")
}

/// The gate above a gate: for version 6 that of the /48 network first, which many can
/// have for nothing.
pub fn above(gate: &str) -> Option<String> {
    let Some(address) = gate.strip_prefix("address ") else {
        return (gate != EVERYBODY).then(|| EVERYBODY.to_owned());
    };
    let network = address.strip_suffix("::/64").and_then(|it| it.rsplit_once(':'));
    Some(match network {
        Some((network, _)) => format!("network {network}::/48"),
        None => EVERYBODY.to_owned(),
    })
}

/// What those behind a gate may cost in a day, unless something else is set.
pub fn day(gate: &str) -> u64 {
    match gate.split(' ').next() {
        Some("address") => ADDRESS_DAY,
        Some("network") => NETWORK_DAY,
        _ => EVERYBODY_DAY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One network of version 6 is one address.
    #[test]
    fn addresses() {
        assert_eq!(gate("192.0.2.7"), "address 192.0.2.7");
        assert_eq!(gate("2001:db8::1"), "address 2001:db8:0:0::/64");
        assert_eq!(gate("2001:db8::1"), gate("2001:db8:0:0:9::2"));
        assert_ne!(gate("2001:db8::1"), gate("2001:db8:0:1::1"));
        assert_eq!(gate("what?"), "address what?");
    }

    /// All gates lead to that of everybody, those of version 6 by one of a network.
    #[test]
    fn ways_up() {
        let network = "network 2001:db8:0::/48";
        for ip in ["2001:db8::1", "2001:db8:0:ffff::1"] {
            assert_eq!(above(&gate(ip)).as_deref(), Some(network));
        }
        assert_ne!(above(&gate("2001:db8:1::1")).as_deref(), Some(network));
        assert_eq!(above(network).as_deref(), Some(EVERYBODY));
        assert_eq!(above(&gate("192.0.2.7")).as_deref(), Some(EVERYBODY));
        assert_eq!(above(EVERYBODY), None);
        assert!(day(&gate("192.0.2.7")) < day(network));
        assert!(day(network) < day(EVERYBODY));
    }
}
