//! Which addresses may be dialled (SECURITY.md, "Addresses refused").
//!
//! Everything that is not plainly public is refused unless the provider or `--allow-cidr` lists it; cloud metadata can
//! never be listed. An address that embeds another (v4-mapped, NAT64, 6to4, Teredo) is judged by both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use control::provider::METADATA_ADDRESSES;

/// Why an address is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A cloud's metadata service: never, listed or not.
    Metadata,
    /// One of our own listeners: a loop, and a way to the admin port.
    OwnListener,
    /// Not a public address, and no list holds it.
    NotPublic,
}

/// Judges one address. `listed` are the provider's and the command line's CIDRs.
pub(crate) fn judge(
    address: SocketAddr,
    listed: impl Fn(&IpAddr) -> bool,
    own: &[SocketAddr],
) -> Result<(), Refused> {
    let ip = address.ip();
    let inner = embedded(ip);
    let faces = [Some(ip), inner];
    let mut faces = faces.iter().flatten();
    if faces.clone().any(is_metadata) {
        return Err(Refused::Metadata);
    }
    if own.iter().any(|listener| is_own(listener, address.port(), ip, inner)) {
        return Err(Refused::OwnListener);
    }
    if faces.all(|face| is_public(*face) || listed(face)) { Ok(()) } else { Err(Refused::NotPublic) }
}

/// A name that only ever leads to a metadata service.
pub(crate) fn is_metadata_name(name: &str) -> bool {
    matches!(
        name,
        "metadata.google.internal"
            | "metadata"
            | "metadata.goog"
            | "instance-data"
            | "instance-data.ec2.internal"
    )
}

fn is_metadata(ip: &IpAddr) -> bool {
    METADATA_ADDRESSES.contains(ip)
}

/// A listener on the unspecified address is reached by every address of this host; those are never public ones for a sidecar.
fn is_own(listener: &SocketAddr, port: u16, ip: IpAddr, inner: Option<IpAddr>) -> bool {
    let face = inner.unwrap_or(ip);
    listener.port() == port
        && (listener.ip() == ip
            || listener.ip() == face
            || (listener.ip().is_unspecified() && !is_public(face)))
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

/// IANA IPv4 special-purpose registry.
fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 31, 196)
            | (192, 52, 193)
            | (192, 88, 99)
            | (192, 168, _)
            | (192, 175, 48)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224..=255, ..)
    )
}

/// Only global unicast 2000::/3 is public, less the special-purpose blocks in it.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    let special = match (a, b) {
        // 2001::/23 protocol assignments (Teredo, ORCHID, benchmarking), 2001:db8::/32 documentation.
        (0x2001, b) => b < 0x0200 || b == 0x0db8,
        // 2002::/16 6to4 is judged by its embedded address as well; 3fff::/20 documentation; 5f00::/16 is outside 2000::/3.
        (0x3fff, b) => b < 0x1000,
        _ => false,
    };
    let nat64 = a == 0x64 && b == 0xff9b;
    nat64 || ((a & 0xe000) == 0x2000 && !special)
}

/// The IPv4 address that an IPv6 address carries, whatever the transition mechanism.
fn embedded(ip: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(ip) = ip else { return None };
    let segments = ip.segments();
    let v4 = |high: u16, low: u16| Some(IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))));
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // ::/96 v4-compatible, ::ffff:0:0/96 v4-mapped, ::ffff:0:0:0/96 v4-translated.
        [0, 0, 0, 0, 0, 0 | 0xffff, g, h] | [0, 0, 0, 0, 0xffff, 0, g, h] => v4(g, h),
        // RFC 6052 well-known prefix and RFC 8215 local-use prefix (read as /96).
        [0x64, 0xff9b, 0, 0, 0, 0, g, h] | [0x64, 0xff9b, 1, .., g, h] => v4(g, h),
        // 6to4, RFC 3056.
        [0x2002, b, c, ..] => v4(b, c),
        // Teredo, RFC 4380: the client's address is stored inverted.
        [0x2001, 0, .., g, h] => v4(!g, !h),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::*;

    fn verdict(ip: &str, listed: &[&str]) -> Result<(), Refused> {
        let nets: Vec<IpNet> = listed.iter().map(|net| net.parse().unwrap()).collect();
        let address = SocketAddr::new(ip.parse().unwrap(), 443);
        judge(address, |ip| nets.iter().any(|net| net.contains(ip)), &[])
    }

    #[test]
    fn refuses_every_range_of_the_table() {
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.0.1",
            "169.254.0.1",
            "224.0.0.1",
            "239.1.1.1",
            "255.255.255.255",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "198.18.0.1",
            "198.19.0.1",
            "240.0.0.1",
            "192.0.0.1",
            "192.88.99.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:20::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::10.0.0.1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001:0:4136:e378:8000:63bf:80ff:fffe",
            "::ffff:0:127.0.0.1",
            "fec0::1",
            "5f00::1",
            "4000::1",
            "2001:1ff::1",
            "3fff:fff::1",
            "64:1::1",
            "fc00:ff9b::1",
        ] {
            assert_eq!(verdict(ip, &[]), Err(Refused::NotPublic), "{ip}");
        }
    }

    #[test]
    fn refuses_metadata_even_when_it_is_listed() {
        for ip in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "fd00:ec2::254",
            "fd20:ce::254",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "2001:0:4136:e378:8000:63bf:5601:5601",
        ] {
            assert_eq!(verdict(ip, &["0.0.0.0/0", "::/0"]), Err(Refused::Metadata), "{ip}");
        }
    }

    #[test]
    fn only_the_clouds_own_names_are_metadata_names() {
        for name in [
            "metadata.google.internal",
            "metadata",
            "metadata.goog",
            "instance-data",
            "instance-data.ec2.internal",
        ] {
            assert!(is_metadata_name(name), "{name}");
        }
        assert!(!is_metadata_name("metadata.example"));
    }

    #[test]
    fn a_list_has_to_hold_the_embedded_address_too() {
        assert_eq!(verdict("::ffff:10.0.0.1", &["::/0"]), Err(Refused::NotPublic));
        assert_eq!(verdict("::ffff:10.0.0.1", &["::ffff:0:0/96", "10.0.0.0/8"]), Ok(()));
        assert_eq!(verdict("10.0.0.1", &["10.0.0.0/8"]), Ok(()));
        // The loopback and the unspecified address carry none.
        assert_eq!(verdict("::1", &["::1/128"]), Ok(()));
    }

    #[test]
    fn public_addresses_pass() {
        for ip in [
            "1.1.1.1",
            "140.82.112.5",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "64:ff9b::8.8.8.8",
            "2001:200::1",
            "3fff:1000::1",
        ] {
            assert_eq!(verdict(ip, &[]), Ok(()), "{ip}");
        }
    }

    #[test]
    fn own_listeners_are_refused_even_when_listed() {
        let own = ["127.0.0.1:3129".parse().unwrap(), "0.0.0.0:3128".parse().unwrap()];
        for address in ["127.0.0.1:3129", "[::ffff:127.0.0.1]:3129", "127.0.0.1:3128", "10.1.1.1:3128"] {
            assert_eq!(
                judge(address.parse().unwrap(), |_| true, &own),
                Err(Refused::OwnListener),
                "{address}"
            );
        }
        for address in ["127.0.0.1:3130", "10.1.1.1:3129", "8.8.8.8:3128"] {
            assert_eq!(judge(address.parse().unwrap(), |_| true, &own), Ok(()), "{address}");
        }
    }
}
