//! One trace goes through the gateway, crm-core and the database. A process of its own: tracing is set up once per process.

use actix_web::{App, HttpResponse, HttpServer, web};
use aisha_telemetry::{LogSection, init};
use aisha_testkit::Stack;
use std::sync::{Arc, Mutex};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[actix_web::test]
async fn a_request_is_one_trace_from_the_gateway_to_sql() {
    let exported: Arc<Mutex<Vec<u8>>> = Arc::default();
    let sink = Arc::clone(&exported);
    let collector = HttpServer::new(move || {
        let sink = Arc::clone(&sink);
        App::new().default_service(web::to(move |body: web::Bytes| {
            sink.lock().unwrap().extend_from_slice(&body);
            async { HttpResponse::Ok().finish() }
        }))
    })
    .workers(1)
    .disable_signals()
    .bind("127.0.0.1:0")
    .unwrap();
    let endpoint = format!("http://{}", collector.addrs()[0]);
    actix_web::rt::spawn(collector.run());
    let settings = LogSection { otlp_endpoint: Some(endpoint), level: "warn".into(), ..LogSection::default() };
    let guard = init("platform", &settings);

    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    t.admin.client.send("GET", "/api/contacts", &[("traceparent", &parent)], None).await.expect(200);
    // Dropping the guard exports what is left; it blocks, and the collector must go on.
    actix_web::rt::task::spawn_blocking(move || drop(guard)).await.unwrap();

    let bytes = exported.lock().unwrap().clone();
    let id: Vec<u8> = (0..32).step_by(2).map(|i| u8::from_str_radix(&TRACE[i..i + 2], 16).unwrap()).collect();
    let spans = bytes.windows(16).filter(|w| *w == id.as_slice()).count();
    assert!(spans >= 3, "{spans} spans of the trace");
    let text = String::from_utf8_lossy(&bytes);
    for name in ["GET /api/contacts", "sql", "postgresql"] {
        assert!(text.contains(name), "{name}");
    }
}
