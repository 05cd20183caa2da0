//! Which addresses of the internet are somebody's server, and which are special.
//!
//! A table of the IANA special-purpose registries (RFC 6890) and what has been added to them since. For IPv6 only global
//! unicast (`2000::/3`) is let through at all; the forms that carry an IPv4 address inside are refused, but for NAT64,
//! behind which IPv6-only networks see the whole IPv4 internet: there the inner address decides.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix))
}

/// Refused, and what they are.
const SPECIAL: &[(IpNet, &str)] = &[
    (v4(0, 0, 0, 0, 8), "this network"),
    (v4(10, 0, 0, 0, 8), "a private network"),
    (v4(100, 64, 0, 0, 10), "shared by customers of a provider"),
    (v4(127, 0, 0, 0, 8), "the machine itself"),
    (v4(168, 63, 129, 16, 32), "a cloud's metadata service"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "a private network"),
    (v4(192, 0, 0, 0, 24), "reserved for protocols"),
    (v4(192, 0, 2, 0, 24), "for documentation"),
    (v4(192, 88, 99, 0, 24), "a 6to4 relay"),
    (v4(192, 168, 0, 0, 16), "a private network"),
    (v4(198, 18, 0, 0, 15), "for benchmarks"),
    (v4(198, 51, 100, 0, 24), "for documentation"),
    (v4(203, 0, 113, 0, 24), "for documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
    (v6(0x2001, 0, 0, 23), "reserved for protocols, Teredo among them"),
    (v6(0x2001, 0xdb8, 0, 32), "for documentation"),
    (v6(0x2002, 0, 0, 16), "6to4"),
    (v6(0x3fff, 0, 0, 20), "for documentation"),
];

const GLOBAL_UNICAST: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Why an address is refused; `None` for one that may be anybody's server.
#[must_use]
pub fn special(address: IpAddr) -> Option<&'static str> {
    if let IpAddr::V6(v6) = address {
        if NAT64.contains(&v6) {
            let [.., a, b, c, d] = v6.octets();
            return special(Ipv4Addr::new(a, b, c, d).into());
        }
        if !GLOBAL_UNICAST.contains(&v6) {
            return Some("not a global address");
        }
    }
    SPECIAL.iter().find(|(net, _)| net.contains(&address)).map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_known() {
        let refused = "0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 100.100.100.200 127.0.0.1 \
            127.255.255.254 168.63.129.16 169.254.0.1 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1 \
            192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 \
            224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 \
            :: ::1 ::7f00:1 ::10.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:8.8.8.8 \
            ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::10.1.2.3 64:ff9b::169.254.169.254 64:ff9b:1::8.8.8.8 100::1 \
            2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1::1 2002:808:808::1 \
            3fff::1 5f00::1 fc00::1 fd00:ec2::254 fdff::1 fe80::1 febf::1 fec0::1 ff02::1 ff0e::1 4000::1 e000::1";
        for text in refused.split_whitespace() {
            let address: IpAddr = text.parse().unwrap();
            assert!(special(address).is_some(), "{text} must be refused");
        }
    }

    #[test]
    fn everybody_elses_are_let_through() {
        let allowed = "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 126.255.255.255 128.0.0.1 \
            168.63.129.15 168.63.129.17 169.253.1.1 169.255.1.1 172.15.255.255 172.32.0.1 192.0.1.1 192.0.3.1 192.167.1.1 \
            192.169.1.1 198.17.1.1 198.20.1.1 198.51.99.1 203.0.112.1 203.0.114.1 223.255.255.255 \
            2001:200::1 2001:4860:4860::8888 2606:4700::1111 2003::1 2a00::1 3ffe::1 64:ff9b::8.8.8.8";
        for text in allowed.split_whitespace() {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(special(address), None, "{text} must be let through");
        }
    }
}
