use actix_web::{App, HttpResponse, test, web};
use aisha_http::{RequestLog, serve, ServeOptions};
use std::time::Instant;
macro_rules! run { ($app:expr, $name:expr) => {{
    let app = test::init_service($app).await;
    for round in 0..3 { let n = 200_000; let t = Instant::now();
    for _ in 0..n { let r = test::TestRequest::get().uri("/api/contacts/1").to_request(); let r = test::call_service(&app, r).await; drop(r); }
    if round > 0 { eprintln!("{} {:.3} us", $name, t.elapsed().as_secs_f64()*1e6/n as f64); } }
}}}
async fn h() -> HttpResponse { HttpResponse::Ok().body("x") }
#[actix_web::main]
async fn main() {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        let _g = aisha_telemetry::init("cost", &Default::default());
        let l = std::net::TcpListener::bind("127.0.0.1:22999").unwrap();
        let r = serve(l, &ServeOptions { workers: 1, ..Default::default() }, || App::new().route("/slow", web::get().to(|| async { tokio::time::sleep(std::time::Duration::from_secs(2)).await; HttpResponse::Ok().body("done") })).wrap(RequestLog::new("cost"))).unwrap();
        r.wait().await.unwrap(); eprintln!("stopped"); return;
    }
    run!(App::new().route("/api/contacts/{id}", web::get().to(h)), "bare");
    run!(App::new().route("/api/contacts/{id}", web::get().to(h)).wrap(RequestLog::new("cost")), "middleware, log off");
    let _g = aisha_telemetry::init("cost", &aisha_telemetry::LogSection { format: aisha_http_fmt(), ..Default::default() });
    run!(App::new().route("/api/contacts/{id}", web::get().to(h)).wrap(RequestLog::new("cost")), "middleware, json line + metrics");
}
fn aisha_http_fmt() -> aisha_config::LogFormat { aisha_config::LogFormat::Json }
