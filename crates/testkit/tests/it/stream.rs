//! The live stream: everybody hears what it may see, in order, and goes on where it was cut off.

use aisha_testkit::{Client, Stack, stream::EventStream};
use serde_json::json;
use std::time::Duration;

const STREAM: &str = "/api/events/stream";
const SOON: Duration = Duration::from_secs(30);
/// Long enough for an event that must not come to have come: streams look at least once a second.
const NEVER: Duration = Duration::from_millis(2500);

async fn open(client: &Client) -> EventStream {
    EventStream::open(client, STREAM, None).await.unwrap()
}

async fn account(client: &Client, name: &str) -> String {
    client.post("/api/accounts", json!({ "name": name })).await.expect(201).id().to_string()
}

#[actix_web::test]
async fn everybody_hears_what_it_sees_and_nothing_else() {
    let stack = Stack::platform().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let (mut admin, mut employee, mut foreign) =
        (open(&t.admin.client).await, open(&t.employee.client).await, open(&other.admin.client).await);
    let mut colleague =
        EventStream::open(&t.colleague.client, &format!("{STREAM}?events=employee.*"), None).await.unwrap();

    let hidden = account(&t.admin.client, "of the admin").await;
    let own = account(&t.employee.client, "of the employee").await;
    for id in [&hidden, &own] {
        let event = admin.next_within(SOON).await.unwrap();
        assert_eq!((event.event.as_str(), event.data["data"]["id"].as_str()), ("account.created", Some(id.as_str())));
        assert_eq!(event.data["tenant_id"], json!(t.id));
    }
    let event = employee.next_within(SOON).await.unwrap();
    assert_eq!(event.data["data"]["id"].as_str(), Some(own.as_str()), "an employee hears of its own record only");
    assert_eq!(event.data["data"], t.employee.client.get(&format!("/api/accounts/{own}")).await.data());

    // Handed over, it is heard of from then on; what others do not see in a record they do not hear either.
    let body = json!({ "assigned_to": t.employee.employee_id });
    t.admin.client.patch(&format!("/api/accounts/{hidden}"), body).await.expect(200);
    assert_eq!(employee.next_within(SOON).await.unwrap().data["data"]["id"].as_str(), Some(hidden.as_str()));
    let path = format!("/api/employees/{}", t.employee.employee_id);
    t.admin.client.patch(&path, json!({ "hourly_rate": 49, "job_title": "Intern" })).await.expect(200);
    t.admin.client.patch(&path, json!({ "hourly_rate": 50, "job_title": "Sales" })).await.expect(200);
    assert_eq!(colleague.next_within(SOON).await.unwrap().data["data"]["job_title"], json!("Intern"));
    let event = colleague.next_within(SOON).await.unwrap();
    assert_eq!((&event.data["data"]["job_title"], &event.data["data"]["hourly_rate"]), (&json!("Sales"), &json!(null)));
    // Nor what was in it before.
    assert_eq!(event.data["previous"], json!({ "job_title": "Intern" }));
    employee.next_within(SOON).await.unwrap();
    let event = employee.next_within(SOON).await.unwrap();
    assert_eq!(event.data["data"]["hourly_rate"], json!(50.0), "one's own");
    assert_eq!(event.data["previous"]["hourly_rate"], json!(49.0));
    assert!(foreign.next_within(NEVER).await.is_none());
}

#[actix_web::test]
async fn a_stream_goes_on_where_it_was_cut_off() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let api = &t.admin.client;
    let mut stream = open(api).await;
    account(api, "first").await;
    let mark = stream.next_within(SOON).await.unwrap().id;
    drop(stream);
    // More than one batch, in one transaction.
    let items: Vec<_> = (0..450).map(|i| json!({ "name": format!("missed {i}") })).collect();
    api.post("/api/accounts/bulk", json!({ "create": items })).await.expect(200);
    account(api, "last").await;
    for path in [STREAM.to_owned(), format!("{STREAM}?last_event_id={mark}")] {
        let header = path.ends_with("stream").then_some(mark.as_str());
        let mut again = EventStream::open(api, &path, header).await.unwrap();
        let mut numbers = Vec::new();
        for _ in 0..451 {
            numbers.push(again.next_within(SOON).await.unwrap().data["seq"].as_i64().unwrap());
        }
        assert!(numbers.is_sorted() && numbers.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(again.next_within(NEVER).await.is_none(), "an event twice");
    }
    // Too long ago: said instead of skipped.
    let (position, _) = mark.rsplit_once('-').unwrap();
    let mut lost = EventStream::open(api, STREAM, Some(&format!("{position}-1000"))).await.unwrap();
    assert_eq!(lost.next_within(SOON).await.unwrap().event, "reset");
    // And so is a place that the database does not know: it was restored.
    let (_, time) = mark.rsplit_once('-').unwrap();
    let mut ahead = EventStream::open(api, STREAM, Some(&format!("{}-7-{time}", i64::MAX))).await.unwrap();
    assert_eq!(ahead.next_within(SOON).await.unwrap().event, "reset");
    for wrong in ["nonsense", "1-2", "1-2-x"] {
        assert_eq!(EventStream::open(api, STREAM, Some(wrong)).await.err(), Some(400), "{wrong}");
    }
    for wrong in ["x=1", "events=contacts.*", "events=contact", "events=contact.created,nothing.created"] {
        assert_eq!(EventStream::open(api, &format!("{STREAM}?{wrong}"), None).await.err(), Some(400), "{wrong}");
    }
    EventStream::open(api, &format!("{STREAM}?events=contact.created,webhook.*,*"), None).await.unwrap();
}

/// A stream has a place before its first event, and the place moves on where there is nothing to be seen.
#[actix_web::test]
async fn a_stream_without_events_goes_on_too() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let mut first = open(&t.admin.client).await;
    assert!(first.place_changes_within(SOON).await);
    let place = first.place.clone().unwrap();
    drop(first);
    let missed = account(&t.admin.client, "while nobody listened").await;
    let mut again = EventStream::open(&t.admin.client, STREAM, Some(&place)).await.unwrap();
    assert_eq!(again.next_within(SOON).await.unwrap().data["data"]["id"].as_str(), Some(missed.as_str()));

    let mut employee = EventStream::open(&t.employee.client, STREAM, Some(&place)).await.unwrap();
    assert!(employee.place_changes_within(SOON).await);
    assert_eq!(employee.place, Some(place.clone()), "as it was asked for");
    assert!(employee.place_changes_within(SOON).await);
    let position = |place: &str| place.rsplit_once('-').unwrap().0.to_owned();
    assert_ne!(position(employee.place.as_ref().unwrap()), position(&place), "behind what it does not see");
}

#[actix_web::test]
async fn a_stream_ends_with_the_right_to_it() {
    let stack = Stack::platform().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    assert_eq!(EventStream::open(&stack.anonymous(), STREAM, None).await.err(), Some(401));
    let path = format!("{STREAM}?tenant_id={}", other.id);
    assert_eq!(EventStream::open(&t.admin.client, &path, None).await.err(), Some(403));
    let root = stack.superadmin().await;
    assert_eq!(EventStream::open(&root.client, STREAM, None).await.err(), Some(400));
    let mut of_other = EventStream::open(&root.client, &path, None).await.unwrap();
    account(&other.admin.client, "A").await;
    assert_eq!(of_other.next_within(SOON).await.unwrap().event, "account.created");

    // A key hears of what it may read.
    let key = t.admin.client.post("/api/apikeys", json!({ "name": "k", "permissions": ["read:contacts"] })).await;
    let key = stack.anonymous().with("x-api-key", key.data()["key"].as_str().unwrap());
    let mut narrow = open(&key).await;
    account(&t.admin.client, "unheard").await;
    t.admin.client.post("/api/contacts", json!({ "first_name": "A", "last_name": "B" })).await.expect(201);
    assert_eq!(narrow.next_within(SOON).await.unwrap().event, "contact.created");

    // Signed out or deactivated, nobody hears anything any more.
    let mut stream = open(&t.employee.client).await;
    account(&t.employee.client, "before").await;
    assert!(stream.next_within(SOON).await.is_some());
    t.admin.client.post(&format!("/api/users/{}/deactivate", t.employee.user_id), json!({})).await.expect(200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let body = json!({ "name": "after", "assigned_to": t.employee.employee_id });
    t.admin.client.post("/api/accounts", body).await;
    // Its own deactivation may still come.
    let rest = stream.rest_within(SOON).await.expect("the stream ends");
    assert!(rest.iter().all(|event| event.event != "account.created"), "{rest:?}");

    // A user has ten streams.
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(open(&t.manager.client).await);
    }
    assert_eq!(EventStream::open(&t.manager.client, STREAM, None).await.err(), Some(429));
}
