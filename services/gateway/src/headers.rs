//! Which headers cross the gateway.
//!
//! Towards a service: everything but what ends at each hop (RFC 9110 §7.6.1), credentials, which the gateway has
//! exchanged for its own token, and whatever claims an identity or an address. Towards the client: everything but what
//! ends at each hop.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use std::net::IpAddr;

/// Ends at each hop.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Not passed on to services, beside those that end at each hop. The client and the server of the next hop make their
/// own `Host`, `Content-Length` and `Expect`.
const KEPT_BACK: &[&str] = &[
    "authorization",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "true-client-ip",
    "x-api-key",
    "x-client-ip",
    "x-internal-token",
    "x-real-ip",
    "x-request-id",
];

/// Beginnings of names that claim an identity or an address.
const KEPT_BACK_PREFIXES: &[&str] = &["x-forwarded-", "x-internal-", "x-tenant-", "x-user-", "x-employee-"];

const INTERNAL_TOKEN: HeaderName = HeaderName::from_static("x-internal-token");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

fn named_in_connection(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all("connection").filter_map(|v| v.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect()
}

/// The headers of a request that a service may see.
#[must_use]
pub fn to_service(from: &HeaderMap) -> HeaderMap {
    let dropped = named_in_connection(from);
    let mut out = HeaderMap::with_capacity(from.len() + 4);
    for (name, value) in from {
        let n = name.as_str();
        let kept_back = HOP_BY_HOP.contains(&n)
            || KEPT_BACK.contains(&n)
            || KEPT_BACK_PREFIXES.iter().any(|prefix| n.starts_with(prefix))
            || n == "x-tenant"
            || n == "x-user"
            || dropped.iter().any(|d| d == n);
        if !kept_back {
            out.append(name.clone(), value.clone());
        }
    }
    out
}

/// Adds what the gateway vouches for: who calls, from where, and the request and trace it belongs to.
pub fn vouch(out: &mut HeaderMap, token: HeaderValue, client: IpAddr, request_id: Option<HeaderValue>) {
    out.insert(INTERNAL_TOKEN, token);
    if let Ok(ip) = HeaderValue::from_str(&client.to_string()) {
        out.insert(FORWARDED_FOR, ip);
    }
    if let Some(id) = request_id {
        out.insert(REQUEST_ID, id);
    }
    aisha_telemetry::trace::inject(|name, value| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            out.insert(name, value);
        }
    });
}

/// The headers of an answer that a client may see. Its length is that of the body that is sent on.
pub fn to_client(from: &HeaderMap, out: &mut HeaderMap) {
    let dropped = named_in_connection(from);
    for (name, value) in from {
        let n = name.as_str();
        if !HOP_BY_HOP.contains(&n) && n != "content-length" && !dropped.iter().any(|d| d == n) {
            out.append(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn names(map: &HeaderMap) -> Vec<String> {
        let mut names: Vec<String> = map.keys().map(|n| n.as_str().to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_that_claims_an_identity_passes() {
        let from = map(&[
            ("Authorization", "Bearer x"),
            ("Cookie", "a=b"),
            ("X-API-Key", "k"),
            ("X-Internal-Token", "forged"),
            ("X-User-Id", "1"),
            ("X-User", "1"),
            ("X-Tenant-Id", "1"),
            ("Forwarded", "for=1.2.3.4"),
            ("X-Forwarded-For", "1.2.3.4"),
            ("X-Forwarded-Host", "evil"),
            ("X-Real-IP", "1.2.3.4"),
            ("Host", "evil"),
            ("Accept", "application/json"),
            ("User-Agent", "curl"),
            ("traceparent", "00-a-b-01"),
            ("Idempotency-Key", "1"),
            ("If-Match", "\"1\""),
        ]);
        assert_eq!(names(&to_service(&from)), ["accept", "idempotency-key", "if-match", "traceparent", "user-agent"]);
    }

    #[test]
    fn hop_by_hop_headers_end_here() {
        let pairs = [
            ("Connection", "close, X-Custom"),
            ("Keep-Alive", "timeout=5"),
            ("TE", "trailers"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "websocket"),
            ("X-Custom", "1"),
            ("Content-Length", "3"),
            ("X-Kept", "1"),
        ];
        assert_eq!(names(&to_service(&map(&pairs))), ["x-kept"]);
        let mut out = HeaderMap::new();
        to_client(&map(&pairs), &mut out);
        assert_eq!(names(&out), ["x-kept"]);
    }

    #[test]
    fn repeated_headers_stay_repeated() {
        let mut out = HeaderMap::new();
        to_client(&map(&[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]), &mut out);
        assert_eq!(out.get_all("set-cookie").count(), 2);
    }

    #[test]
    fn what_the_gateway_says_wins() {
        let mut out = to_service(&map(&[("X-Internal-Token", "forged"), ("X-Request-Id", "theirs")]));
        let id = HeaderValue::from_static("ours");
        vouch(&mut out, HeaderValue::from_static("real"), IpAddr::from([192, 0, 2, 1]), Some(id));
        assert_eq!(out.get_all("x-internal-token").collect::<Vec<_>>(), ["real"]);
        assert_eq!(out.get("x-forwarded-for").unwrap(), "192.0.2.1");
        assert_eq!(out.get("x-request-id").unwrap(), "ours");
    }
}
