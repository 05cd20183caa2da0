use super::*;
use crate::RequestLog;
use actix_web::{App, HttpResponse, test, web};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contact {
    #[expect(dead_code, reason = "only its parsing matters")]
    name: String,
    #[serde(default)]
    address: Option<Address>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Address {
    #[expect(dead_code, reason = "only its parsing matters")]
    zip: u32,
}

fn refuse(text: &str) -> Error {
    parse::<Contact>(text.as_bytes()).map(|c| c.address.is_some()).expect_err("refused")
}

#[actix_web::test]
async fn shape_errors_name_the_field() {
    for (text, field, message) in [
        (r#"{"name":1}"#, "name", "Expected a string."),
        (r#"{}"#, "name", "This field is required."),
        (r#"{"name":"a","nmae":"b"}"#, "nmae", "There is no such field."),
        (r#"{"name":"a","address":{"zip":"PRIVATE"}}"#, "address.zip", "Expected a whole number, not negative."),
        (r#"{"name":"a","address":{"zip":1,"x":1}}"#, "address.x", "There is no such field."),
        (r#"{"name":"a","address":{}}"#, "address.zip", "This field is required."),
        (r#"[]"#, "name", "This field is required."),
        (r#""text""#, "body", "Expected an object."),
    ] {
        let e = refuse(text);
        if text == "[]" {
            assert_eq!(e.code, ErrorCode::ValidationFailed);
            continue;
        }
        assert_eq!(e.code, ErrorCode::ValidationFailed, "{text}");
        assert_eq!((e.details[0].field.as_str(), e.details[0].message.as_str()), (field, message), "{text}");
    }
}

#[actix_web::test]
async fn broken_json_names_the_place() {
    for (text, place) in [
        ("{\n  \"name\": }", "line 2 column 11"),
        ("{\"name\":\"a\"} x", "line 1 column 14"),
        ("{\"name\":\"a", "line 1 column 10"),
    ] {
        let e = refuse(text);
        assert_eq!(e.code, ErrorCode::MalformedBody, "{text}");
        assert!(e.message.contains(place), "{text}: {}", e.message);
    }
    assert_eq!(refuse("").message, "The body is empty, JSON is expected.");
    let deep = "[".repeat(100_000);
    assert_eq!(parse::<Value>(deep.as_bytes()).expect_err("too deep").code, ErrorCode::MalformedBody);
}

#[actix_web::test]
async fn limits_and_content_types_over_http() {
    let app = test::init_service(
        App::new()
            .wrap(RequestLog::new("unit"))
            .route("/json", web::post().to(|body: Json<Value>| async move { crate::ok(body.0) }))
            .route(
                "/raw",
                web::post().to(|r: HttpRequest, p: web::Payload| async move {
                    let bytes = read(r.headers(), &mut p.into_inner(), 4).await.map_err(crate::ApiError)?;
                    Ok::<_, crate::ApiError>(HttpResponse::Ok().body(bytes))
                }),
            ),
    )
    .await;
    let send = |uri: &str, kind: &str, body: Vec<u8>| {
        test::TestRequest::post().uri(uri).insert_header(("content-type", kind)).set_payload(body).to_request()
    };
    let ok = test::call_service(&app, send("/json", "application/json; charset=utf-8", b"{\"a\":1}".to_vec())).await;
    assert_eq!(test::read_body_json::<Value, _>(ok).await, json!({"status": "success", "data": {"a": 1}}));
    for (kind, body, status) in [
        ("text/plain", b"{}".to_vec(), 415),
        ("application/json", b"{".to_vec(), 400),
        ("application/json", vec![b' '; MAX_BODY + 1], 413),
        ("application/merge-patch+json", b"{}".to_vec(), 200),
    ] {
        let response = test::call_service(&app, send("/json", kind, body)).await;
        assert_eq!(response.status().as_u16(), status, "{kind}");
        if status == 413 {
            let body: Value = test::read_body_json(response).await;
            assert_eq!(body["code"], "payload_too_large");
            assert_eq!(body["message"], "The body is larger than the 10 MB that are accepted here.");
        }
    }
    let declared = test::TestRequest::post().uri("/json").insert_header(("content-type", "application/json"));
    let declared = declared.insert_header(("content-length", "99999999999")).to_request();
    assert_eq!(test::call_service(&app, declared).await.status().as_u16(), 413);
    assert_eq!(test::call_service(&app, send("/raw", "x/y", b"1234".to_vec())).await.status().as_u16(), 200);
    assert_eq!(test::call_service(&app, send("/raw", "x/y", b"12345".to_vec())).await.status().as_u16(), 413);
}

#[actix_web::test]
async fn pieces_are_put_together_and_counted() {
    use actix_web::error::PayloadError;
    let pieces = |n: usize| -> Payload {
        let stream = futures_util::stream::iter((0..n).map(|_| Ok::<_, PayloadError>(Bytes::from_static(b"abc"))));
        Payload::Stream { payload: stream.boxed_local() }
    };
    assert_eq!(read(&HeaderMap::new(), &mut pieces(3), 9).await.expect("fits"), "abcabcabc");
    assert_eq!(read(&HeaderMap::new(), &mut pieces(1), 9).await.expect("fits"), "abc");
    let e = read(&HeaderMap::new(), &mut pieces(4), 9).await.expect_err("too large");
    assert_eq!(e.code, ErrorCode::PayloadTooLarge);
}
