use super::*;
use actix_web::{HttpResponse, web};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

/// Whether a request has come as far as its handler.
static IN_SLOW: AtomicBool = AtomicBool::new(false);

async fn slow() -> HttpResponse {
    IN_SLOW.store(true, Ordering::SeqCst);
    sleep(Duration::from_millis(400)).await;
    HttpResponse::Ok().body("done")
}

fn start(shutdown: u64) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let options = ServeOptions {
        workers: 1,
        signals: false,
        shutdown_timeout: Duration::from_secs(shutdown),
        ..ServeOptions::default()
    };
    serve(listener, &options, || {
        App::new().route("/", web::get().to(HttpResponse::Ok)).route("/slow", web::get().to(slow))
    })
    .expect("server")
}

#[actix_web::test]
async fn stopping_lets_requests_finish_and_does_not_wait_for_idle_connections() {
    let server = start(10);
    let mut idle = TcpStream::connect(server.address()).await.expect("connect");
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("write");
    let mut buffer = [0; 512];
    assert!(idle.read(&mut buffer).await.expect("read") > 0);
    let mut busy = TcpStream::connect(server.address()).await.expect("connect");
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("write");
    while !IN_SLOW.load(Ordering::SeqCst) {
        sleep(Duration::from_millis(5)).await;
    }
    let (address, started) = (server.address(), Instant::now());
    let reader = tokio::spawn(async move {
        let mut text = String::new();
        busy.read_to_string(&mut text).await.map(|_| text)
    });
    timeout(Duration::from_secs(8), server.stop()).await.expect("in time").expect("stopped");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(reader.await.expect("joined").expect("read").ends_with("done"));
    assert!(TcpStream::connect(address).await.is_err());
}
