use super::*;
use crate::configure;
use actix_web::{App, HttpRequest, HttpResponse, test, web};
use aisha_kernel::{TenantId, UserId, new_id};
use std::{
    io,
    sync::{Arc, Mutex},
};

async fn handler(request: HttpRequest) -> HttpResponse {
    let facts = RequestFacts::of(&request).expect("facts");
    facts.set_tenant_id(TenantId(new_id()));
    facts.set_user_id(UserId(new_id()));
    facts.note("rows", "3");
    assert_eq!(RequestFacts::current_id(), facts.request_id());
    HttpResponse::Ok().body("hello")
}

macro_rules! app {
    () => {
        test::init_service(
            App::new()
                .configure(configure)
                .route("/api/things/{id}", web::get().to(handler))
                .route(
                    "/public",
                    web::get()
                        .to(|| async { HttpResponse::Ok().insert_header(("x-frame-options", "SAMEORIGIN")).finish() }),
                )
                .wrap(RequestLog::new("unit")),
        )
        .await
    };
}

#[actix_web::test]
async fn ids_make_the_round_trip_or_are_replaced() {
    let app = app!();
    for (sent, kept) in [("abc-DEF_1.2", true), ("with space", false), ("semi;colon", false), (&*"x".repeat(65), false)]
    {
        let request = test::TestRequest::get().uri("/public").insert_header(("x-request-id", sent)).to_request();
        let response = test::call_service(&app, request).await;
        let got = response.headers().get("x-request-id").expect("id").to_str().expect("text").to_owned();
        assert_eq!(got == sent, kept, "{sent} {got}");
        assert!(kept || got.parse::<uuid::Uuid>().is_ok());
    }
}

#[actix_web::test]
async fn security_headers() {
    let app = app!();
    let response = test::call_service(&app, test::TestRequest::get().uri("/api/things/1").to_request()).await;
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(response.headers().get(name).expect(name), value);
    }
    let response = test::call_service(&app, test::TestRequest::get().uri("/public").to_request()).await;
    assert_eq!(response.headers().get("x-frame-options").expect("set"), "SAMEORIGIN");
    assert!(!response.headers().contains_key("cache-control"));
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[actix_web::test]
async fn one_line_says_it_all() {
    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let app = app!();
    let request = test::TestRequest::get()
        .uri("/api/things/42?token=private")
        .insert_header(("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
        .peer_addr("203.0.113.9:1".parse().expect("address"))
        .to_request();
    let response = test::call_service(&app, request).await;
    test::read_body(response).await;
    let text = String::from_utf8(sink.0.lock().expect("lock").clone()).expect("text");
    assert_eq!(text.lines().count(), 1, "{text}");
    let line: serde_json::Value = serde_json::from_str(&text).expect("json");
    for (name, value) in [
        ("level", serde_json::json!("INFO")),
        ("method", "GET".into()),
        ("route", "/api/things/{id}".into()),
        ("path", "/api/things/42".into()),
        ("status", 200.into()),
        ("bytes", 5.into()),
        ("trace_id", "0af7651916cd43dd8448eb211c80319c".into()),
        ("client_ip", "203.0.113.9".into()),
        ("notes", "rows=3".into()),
    ] {
        assert_eq!(line[name], value, "{name} in {line}");
    }
    for name in ["tenant_id", "user_id", "request_id"] {
        assert!(line[name].as_str().is_some_and(|id| id.len() == 36), "{name} in {line}");
    }
    assert!(line["duration_ms"].as_f64().is_some());
    assert!(!text.contains("private"));
}

#[actix_web::test]
async fn a_panic_is_a_500_like_any_other() {
    async fn broken() -> HttpResponse {
        panic!("PRIVATE detail")
    }
    let app = test::init_service(App::new().route("/x", web::get().to(broken)).wrap(RequestLog::new("unit"))).await;
    let request = test::TestRequest::get().uri("/x").insert_header(("x-request-id", "p-1")).to_request();
    let response = test::try_call_service(&app, request).await.map(drop).expect_err("error").error_response();
    assert_eq!(response.status(), 500);
    let body = actix_web::body::to_bytes(response.into_body()).await.expect("body");
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains("\"request_id\":\"p-1\"") && !text.contains("PRIVATE"), "{text}");
}

#[actix_web::test]
async fn a_client_that_hangs_up_is_on_record() {
    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let app = App::new().route("/x", web::get().to(std::future::pending::<HttpResponse>)).wrap(RequestLog::new("unit"));
    let app = test::init_service(app).await;
    let call = app.call(test::TestRequest::get().uri("/x").to_request());
    assert!(tokio::time::timeout(std::time::Duration::from_millis(20), call).await.is_err());
    let text = String::from_utf8(sink.0.lock().expect("lock").clone()).expect("text");
    assert!(text.contains("\"status\":499"), "{text}");
}

#[actix_web::test]
async fn requests_are_counted_by_route() {
    let _guard = aisha_telemetry::init("unit", &aisha_telemetry::LogSection::default());
    let app = app!();
    for uri in ["/api/things/1", "/api/things/2", "/nowhere/at/all"] {
        test::read_body(test::call_service(&app, test::TestRequest::get().uri(uri).to_request()).await).await;
    }
    let text = aisha_telemetry::render();
    let count = |route: &str, status: u16| {
        let labels = format!("service=\"unit\",method=\"GET\",route=\"{route}\",status=\"{status}\"");
        text.lines().filter(|l| l.starts_with("http_requests_total")).any(|l| l.contains(&labels))
    };
    assert!(count("/api/things/{id}", 200), "{text}");
    assert!(count("unmatched", 404), "{text}");
    assert!(text.contains("http_request_duration_seconds_bucket"), "{text}");
}

#[actix_web::test]
async fn trace_parents() {
    assert!(parent_trace_id("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").is_some());
    assert!(parent_trace_id("00-00000000000000000000000000000000-b7ad6b7169203331-01").is_none());
    assert!(parent_trace_id("00-xyz").is_none());
    assert!(parent_trace_id("").is_none());
}

#[actix_web::test]
async fn durations_are_kept_by_route_and_those_of_endless_answers_are_not() {
    let endless = || async { HttpResponse::Ok().content_type("text/event-stream").body("data: x\n\n") };
    let app = test::init_service(
        App::new()
            .configure(configure)
            .route("/api/things/{id}", web::get().to(handler))
            .route("/api/stream", web::get().to(endless))
            .wrap(RequestLog::new("unit-durations")),
    )
    .await;
    for path in ["/api/things/1", "/api/things/2", "/nowhere", "/api/stream"] {
        let response = test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await;
        test::read_body(response).await;
    }
    let mut samples = aisha_telemetry::performance::drain("unit-durations");
    samples.sort_by(|a, b| a.route.cmp(&b.route));
    let counts: Vec<_> =
        samples.iter().map(|s| (s.route.as_str(), s.totals.request_count, s.totals.client_error_count)).collect();
    assert_eq!(counts, [("/api/things/{id}", 2, 0), ("unmatched", 1, 1)]);
}
