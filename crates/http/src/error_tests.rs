use super::*;
use crate::RequestLog;
use actix_web::{App, test};
use serde_json::Value;

#[actix_web::test]
async fn every_code_has_the_same_body() {
    let app = test::init_service(App::new().configure(configure).wrap(RequestLog::new("unit")).route(
        "/fail/{code}",
        web::get().to(|code: web::Path<String>| async move {
            let code = ErrorCode::ALL.iter().copied().find(|c| c.as_str() == *code).expect("known");
            Err::<HttpResponse, _>(ApiError(Error::new(code, "Said so.").field("email", "Is taken.").because("SECRET")))
        }),
    ))
    .await;
    for code in ErrorCode::ALL.iter().copied() {
        let request = test::TestRequest::get().uri(&format!("/fail/{}", code.as_str())).to_request();
        let response = test::call_service(&app, request).await;
        assert_eq!(response.status().as_u16(), code.status());
        let headers = response.headers().clone();
        let body: Value = test::read_body_json(response).await;
        assert_eq!(body["status"], "error");
        assert_eq!(body["code"], code.as_str());
        assert_eq!(body["request_id"], headers.get("x-request-id").expect("id").to_str().expect("text"));
        assert_eq!(headers.get("content-type").expect("type"), "application/json");
        assert!(!body.to_string().contains("SECRET"));
        match code {
            ErrorCode::Internal => {
                assert_eq!(body["message"], INTERNAL);
                assert_eq!(body["details"], serde_json::json!([]));
            }
            ErrorCode::RateLimited => assert_eq!(body["message"], RATE_LIMITED),
            _ => assert_eq!(body["message"], "Said so."),
        }
        if code != ErrorCode::Internal {
            assert_eq!(body["details"], serde_json::json!([{"field": "email", "message": "Is taken."}]));
        }
        assert_eq!(body.get("retryAfter").is_some(), code == ErrorCode::RateLimited);
        let waits = matches!(code, ErrorCode::RateLimited | ErrorCode::Unavailable);
        assert_eq!(headers.contains_key("retry-after"), waits);
    }
}

#[actix_web::test]
async fn the_wait_is_rounded_up() {
    let response = ApiError::rate_limited(Duration::from_millis(1001)).error_response();
    assert_eq!(response.headers().get("retry-after").expect("header"), "2");
    let body = actix_web::body::to_bytes(response.into_body()).await.expect("body");
    let body: Value = serde_json::from_slice(&body).expect("json");
    assert_eq!(body["retryAfter"], 2);
    assert_eq!(body["message"], "Too many requests, please try again later.");
}

#[derive(Debug, serde::Deserialize)]
struct Params {
    #[expect(dead_code, reason = "only its parsing matters")]
    limit: u32,
}

#[actix_web::test]
async fn the_frameworks_own_errors_look_the_same() {
    for configured in [true, false] {
        let base = App::new()
            .service(web::resource("/only-get/{id}").route(web::get().to(|_: web::Path<u32>| HttpResponse::Ok())))
            .service(web::resource("/query").route(web::get().to(|_: web::Query<Params>| HttpResponse::Ok())))
            .service(web::resource("/json").route(web::post().to(|_: web::Json<Value>| HttpResponse::Ok())));
        let base = if configured { base.configure(configure) } else { base };
        let app = test::init_service(base.wrap(RequestLog::new("unit"))).await;
        for (request, status, code) in [
            (test::TestRequest::get().uri("/nowhere"), 404, "not_found"),
            (test::TestRequest::delete().uri("/only-get/1"), 405, "method_not_allowed"),
            // Without our configuration the framework takes what does not parse for another path.
            match configured {
                true => (test::TestRequest::get().uri("/only-get/x"), 400, "invalid_parameter"),
                false => (test::TestRequest::get().uri("/only-get/x"), 404, "not_found"),
            },
            (test::TestRequest::get().uri("/query"), 400, "invalid_parameter"),
            (
                test::TestRequest::post()
                    .uri("/json")
                    .insert_header(("content-type", "application/json"))
                    .set_payload("{"),
                400,
                "malformed_body",
            ),
        ] {
            let response = test::call_service(&app, request.to_request()).await;
            let seen = response.status().as_u16();
            let body: Value = test::read_body_json(response).await;
            assert_eq!((seen, body["code"].as_str()), (status, Some(code)), "{configured} {body}");
            assert_eq!(body["status"], "error");
            assert!(body["request_id"].as_str().is_some_and(|id| id.len() == 36), "{body}");
        }
    }
}

#[actix_web::test]
async fn an_inner_middleware_that_gives_up_is_no_exception() {
    let app = test::init_service(
        App::new()
            .route("/api/x", web::get().to(HttpResponse::Ok))
            .wrap(actix_web::middleware::from_fn(
                |_: actix_web::dev::ServiceRequest, _: actix_web::middleware::Next<actix_web::body::BoxBody>| async {
                    Err::<actix_web::dev::ServiceResponse, _>(ApiError(Error::unauthenticated()).into())
                },
            ))
            .wrap(RequestLog::new("unit")),
    )
    .await;
    let request = test::TestRequest::get().uri("/api/x").insert_header(("x-request-id", "abc-1")).to_request();
    let error = test::try_call_service(&app, request).await.map(drop).expect_err("error");
    let response = error.error_response();
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers().get("x-request-id").expect("id"), "abc-1");
    assert_eq!(response.headers().get("cache-control").expect("cache"), "no-store");
    let body = actix_web::body::to_bytes(response.into_body()).await.expect("body");
    assert_eq!(serde_json::from_slice::<Value>(&body).expect("json")["request_id"], "abc-1");
}
