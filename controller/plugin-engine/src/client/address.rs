//! Decides which IP addresses a plugin may have. A name may resolve to any address at any time, so the check applies to
//! the addresses that were resolved for a connection.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Addresses outside the link-local ranges where clouds serve metadata and credentials to machines.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
/// The prefixes `fd00:ec2::/32` and `fd20:ce::/32` of metadata addresses.
const METADATA_V6: [[u16; 2]; 2] = [[0xfd00, 0x0ec2], [0xfd20, 0x00ce]];

/// Returns whether the controller's own pod, its node or the cloud listens at `address`, in any notation.
pub(crate) fn is_refused(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_refused_v4(address),
        IpAddr::V6(address) => is_refused_v6(address),
    }
}

fn is_refused_v4(address: Ipv4Addr) -> bool {
    let this_network = address.octets()[0] == 0;
    this_network
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || METADATA_V4.contains(&address)
}

fn is_refused_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unicast_link_local()
        || METADATA_V6.contains(&[first, second])
        || embedded_v4(address).is_some_and(is_refused_v4)
}

/// Returns the IPv4 address that a packet to `address` may end at (mapped, compatible, NAT64 and 6to4 addresses).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0x64, 0xff9b, 0 | 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

/// The error for a host that the controller does not connect to.
#[derive(Debug, thiserror::Error)]
#[error("{host} resolves only to addresses that plugins may not have (loopback, link-local, metadata, multicast)")]
struct Refused {
    host: String,
}

/// Resolves the hosts of plugins. It is not called for IP addresses in URLs; the validation of the plugin resource
/// checks those.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resolver {
    /// Every host has this address.
    Pinned(IpAddr),
    /// Hosts are resolved by DNS, and refused addresses are left out.
    Dns {
        /// Whether hosts are Internet names. Otherwise the cluster's search domains would resolve `kubernetes.default`
        /// to the API server.
        absolute: bool,
    },
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = *self;
        Box::pin(async move {
            let absolute = match resolver {
                Self::Pinned(address) => {
                    let addresses: Addrs = Box::new(std::iter::once(SocketAddr::new(address, 0)));
                    return Ok(addresses);
                }
                Self::Dns { absolute } => absolute,
            };
            let host = name.as_str();
            let query = if absolute { format!("{}.", host.trim_end_matches('.')) } else { host.to_owned() };
            let found = tokio::net::lookup_host((query.as_str(), 0)).await?;
            let allowed = screened(host, found)?;
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

/// Returns the allowed addresses of `found`, or an error if there is none.
fn screened(host: &str, found: impl Iterator<Item = SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    let allowed: Vec<_> = found.filter(|address| !is_refused(address.ip())).collect();
    if allowed.is_empty() {
        return Err(io::Error::other(Refused { host: host.to_owned() }));
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_of_the_pod_the_node_and_the_cloud_are_refused_in_each_notation() {
        let refused = [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.0.1",
            "169.254.169.254",
            "169.254.255.255",
            "224.0.0.1",
            "239.255.255.250",
            "255.255.255.255",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "::1",
            "::",
            "fe80::1",
            "febf:ffff::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "::ffff:100.100.100.200",
            "::ffff:224.0.0.1",
            "::127.0.0.1",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::127.0.0.1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
        ];
        for text in refused {
            assert!(is_refused(address(text)), "{text}");
        }
    }

    #[test]
    fn public_and_private_addresses_are_allowed() {
        let allowed = [
            "1.1.1.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "fd00::1",
            "fec0::1",
            "::ffff:10.0.0.1",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ];
        for text in allowed {
            assert!(!is_refused(address(text)), "{text}");
        }
    }

    /// A DNS rebinding attack may return an allowed and a refused address in one response.
    #[test]
    fn of_several_addresses_only_the_allowed_ones_are_connected_to() {
        let socket = |text: &str| SocketAddr::new(address(text), 0);
        let found = [socket("169.254.169.254"), socket("1.1.1.1"), socket("::1")];
        assert_eq!(screened("a.example.com", found.into_iter()).unwrap(), [socket("1.1.1.1")]);
        let error = screened("a.example.com", [socket("127.0.0.1")].into_iter()).unwrap_err();
        assert!(error.to_string().starts_with("a.example.com resolves only to addresses"), "{error}");
        assert!(screened("a.example.com", [].into_iter()).is_err());
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_refused_after_it_was_resolved() {
        let resolver = Resolver::Dns { absolute: false };
        let error = resolver.resolve("localhost".parse().unwrap()).await.err().unwrap();
        assert!(error.to_string().contains("localhost resolves only to"), "{error}");
        let pinned = Resolver::Pinned(address("127.0.0.1"));
        let found: Vec<_> = pinned.resolve("any.example.com".parse().unwrap()).await.ok().unwrap().collect();
        assert_eq!(found, ["127.0.0.1:0".parse().unwrap()]);
    }
}
