//! Whose address a request comes from.

use actix_web::http::header::{HeaderMap, X_FORWARDED_FOR};
use ipnet::IpNet;
use std::net::IpAddr;

/// The client's address: the peer's, or behind trusted proxies the last one in `X-Forwarded-For` that is not theirs.
/// What stands before that one was written by somebody who may write anything.
pub fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    let mut address = peer.to_canonical();
    if !is_trusted(&address) {
        return address;
    }
    let lines: Vec<&str> = headers.get_all(X_FORWARDED_FOR).filter_map(|v| v.to_str().ok()).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Ok(ip) = hop.trim().parse::<IpAddr>() else { break };
        address = ip.to_canonical();
        if !is_trusted(&address) {
            break;
        }
    }
    address
}

/// What limits count by: an IPv4 address, or the /64 that one IPv6 client has to itself.
pub fn counted(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let with = |peer: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(X_FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
            }
            address(peer.parse().unwrap(), &headers, &trusted).to_string()
        };
        assert_eq!(with("203.0.113.9", &["1.2.3.4"]), "203.0.113.9");
        assert_eq!(with("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(with("10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(with("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"]), "1.2.3.4");
        assert_eq!(with("10.0.0.1", &["6.6.6.6", "1.2.3.4"]), "1.2.3.4");
        assert_eq!(with("10.0.0.1", &["6.6.6.6, nonsense"]), "10.0.0.1");
        assert_eq!(with("::ffff:10.0.0.1", &["2001:db8::1"]), "2001:db8::1");
    }

    #[test]
    fn an_ipv6_client_has_one_count() {
        let c = |s: &str| counted(s.parse().unwrap()).to_string();
        assert_eq!(c("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(c("192.0.2.7"), "192.0.2.7");
    }
}
