use super::*;
use crate::RequestLog;
use actix_web::{App, test};
use serde_json::{Value, json};

async fn ask(checks: Vec<Check>, path: &str) -> (u16, Value) {
    let app = test::init_service(App::new().configure(routes(checks, MetricsAccess::default()))).await;
    let response = test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await;
    (response.status().as_u16(), test::read_body_json(response).await)
}

#[actix_web::test]
async fn health_says_when() {
    let (status, body) = ask(vec![], "/health").await;
    assert_eq!((status, &body["status"]), (200, &json!("ok")));
    assert!(body["timestamp"].as_str().is_some_and(|t| t.ends_with('Z')));
}

#[actix_web::test]
async fn readiness_depends_on_what_is_required() {
    let good = || Check::required("database", || async { Ok::<_, &str>(()) });
    let bad = |required: bool| match required {
        true => Check::required("redis", || async { Err::<(), _>("is away") }),
        false => Check::optional("redis", || async { Err::<(), _>("is away") }),
    };
    assert_eq!(
        ask(vec![good()], "/ready").await,
        (200, json!({"status": "ok", "degraded": [], "checks": {"database": "ok"}}))
    );
    assert_eq!(
        ask(vec![good(), bad(false)], "/ready").await,
        (200, json!({"status": "degraded", "degraded": ["redis"], "checks": {"database": "ok", "redis": "is away"}}))
    );
    let (status, body) = ask(vec![bad(true), good()], "/ready").await;
    assert_eq!((status, body["status"].as_str()), (503, Some("unavailable")));
}

#[actix_web::test]
async fn checks_run_together_and_not_for_ever() {
    let slow = |name| {
        Check::optional(name, || async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok::<_, &str>(())
        })
    };
    let started = std::time::Instant::now();
    let readiness = Readiness::of(&[slow("a"), slow("b"), slow("c")]).await;
    // One after the other would be three seconds.
    assert!(started.elapsed() < Duration::from_millis(2900));
    assert_eq!(readiness.degraded, ["a", "b", "c"]);
    assert_eq!(readiness.checks["a"], "no answer within 1 s");
}

#[actix_web::test]
async fn metrics_are_for_loopback_or_the_token() {
    let access = MetricsAccess::new(Some("correct horse battery".to_owned().into()));
    let outside = "203.0.113.9:5000".parse().expect("address");
    let inside = "127.0.0.1:5000".parse().expect("address");
    let app = test::init_service(App::new().configure(routes(vec![], access)).wrap(RequestLog::new("unit"))).await;
    let get = || test::TestRequest::get().uri("/metrics");
    for (request, status) in [
        (get().peer_addr(inside), 200),
        (get().peer_addr(inside).insert_header(("x-forwarded-for", "203.0.113.9")), 401),
        (get().peer_addr(outside), 401),
        (get().peer_addr(outside).insert_header(("authorization", "Bearer wrong")), 401),
        (get().peer_addr(outside).insert_header(("authorization", "Bearer correct horse battery")), 200),
    ] {
        let response = test::call_service(&app, request.to_request()).await;
        assert_eq!(response.status().as_u16(), status);
        if status == 200 {
            let text = test::read_body(response).await;
            assert!(String::from_utf8_lossy(&text).contains("process_resident_memory_bytes"));
        }
    }
    let app = test::init_service(App::new().configure(routes(vec![], MetricsAccess::default()))).await;
    let response = test::call_service(&app, get().peer_addr(outside).to_request()).await;
    assert_eq!(response.status().as_u16(), 403);
}
