//! Export of traces to a collector, stood in for by a socket that answers 200.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use aisha_telemetry::{LogSection, init, trace};
use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::mpsc,
    thread,
    time::Duration,
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Reads one request whose body is complete by its Content-Length.
fn read_request(stream: &mut impl Read) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let n = stream.read(&mut buffer).expect("read");
        all.extend_from_slice(buffer.get(..n).unwrap_or_default());
        let text = String::from_utf8_lossy(&all).to_lowercase();
        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse::<usize>().ok());
        let head = all.windows(4).position(|w| w == b"\r\n\r\n");
        if n == 0 || matches!((head, length), (Some(head), Some(length)) if all.len() >= head + 4 + length) {
            return all;
        }
    }
}

#[tokio::test]
async fn spans_reach_the_collector_before_the_guard_is_gone() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let endpoint = format!("http://{}", listener.local_addr().expect("address"));
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("connection");
        let request = read_request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").expect("write");
        sender.send(request).expect("send");
    });

    assert!(!trace::enabled());
    let guard = init("test-service", &LogSection { otlp_endpoint: Some(endpoint), ..LogSection::default() });
    assert!(trace::enabled());
    let span = tracing::info_span!(target: "http", "request", otel.name = "GET /api/things");
    trace::continue_from(&span, |name| (name == "traceparent").then_some(PARENT));
    assert_eq!(trace::trace_id(&span).as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    let mut outgoing = Vec::new();
    span.in_scope(|| trace::inject(|name, value| outgoing.push((name.to_owned(), value.to_owned()))));
    let header =
        outgoing.iter().find(|(name, _)| name == "traceparent").map(|(_, value)| value.clone()).expect("header");
    assert!(header.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && header != PARENT, "{header}");
    drop(span);
    drop(guard);

    let request = receiver.recv_timeout(Duration::from_secs(5)).expect("exported");
    let text = String::from_utf8_lossy(&request);
    assert!(text.starts_with("POST /v1/traces HTTP/1.1"), "{text}");
    assert!(text.contains("test-service") && text.contains("GET /api/things"), "{text}");
}
