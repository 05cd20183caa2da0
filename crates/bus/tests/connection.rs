//! Connecting must not get in anybody's way, whatever the broker does.

use aisha_bus::{Bus, BusError};
use std::time::{Duration, Instant};
use tokio::{net::TcpListener, time::sleep};

#[tokio::test]
async fn an_absent_broker_does_not_block() {
    let started = Instant::now();
    let bus = Bus::connect_lazy("amqp://guest:guest@127.0.0.1:1/%2f").expect("url");
    assert!(started.elapsed() < Duration::from_secs(1));
    sleep(Duration::from_millis(300)).await;
    assert!(!bus.is_connected());
}

#[tokio::test]
async fn a_broker_is_tried_again_and_the_last_handle_ends_that() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let port = listener.local_addr().expect("address").port();
    let bus = Bus::connect_lazy(&format!("amqp://guest:guest@127.0.0.1:{port}/%2f")).expect("url");
    let clone = bus.clone();
    for _ in 0..3 {
        // Hangs up on each attempt.
        let (socket, _) =
            tokio::time::timeout(Duration::from_secs(5), listener.accept()).await.expect("attempt").expect("socket");
        drop(socket);
    }
    assert!(!clone.is_connected());
    drop((bus, clone));
    let late = tokio::time::timeout(Duration::from_secs(2), listener.accept()).await;
    assert!(late.is_err(), "still trying");
}

#[tokio::test]
async fn a_wrong_url_is_refused_without_showing_it() {
    let error = Bus::connect_lazy("http://user:pw@host").expect_err("refused");
    assert!(matches!(error, BusError::Url));
    assert!(!error.to_string().contains("pw"));
}
