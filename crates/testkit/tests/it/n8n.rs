//! The workflow of `docs/n8n` in a real n8n: what is ours runs its steps, once, and nothing else does. `scripts/test-n8n.sh`
//! starts n8n and puts steps into the workflow, which post to the address that the webhook's query names.

use aisha_config::Env;
use aisha_kernel::{clock, new_id};
use aisha_testkit::{Client, Receiver, Stack, TestTenant};
use aisha_webhooks::signature::{ID_HEADER, LIST_HEADER, Signer, TIMESTAMP_HEADER};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(30);

fn setting(name: &str) -> String {
    Env::load().optional(name).unwrap_or_else(|| panic!("{name} is not set: make test-n8n"))
}

/// The secret as a subscription has it; n8n has the text behind it.
fn secret_of(key: &str) -> String {
    format!("whsec_{}", STANDARD.encode(key))
}

/// The address of a workflow; its steps post to this path of the receiver.
fn hook(workflow: &str, steps: &Receiver, path: &str) -> String {
    format!("{}/webhook/{workflow}?steps={}", setting("AISHA_N8N_URL"), steps.url(path))
}

/// A subscription's only delivery, when it has ended after this many attempts in all.
async fn delivery(t: &TestTenant, webhook: Uuid, event: &str, attempts: usize) -> Value {
    let started = Instant::now();
    loop {
        let list = t.admin.client.get(&format!("/api/webhooks/{webhook}/deliveries?event={event}")).await.expect(200);
        let id = list.data()["deliveries"][0]["id"].as_str().map(str::to_owned);
        let mut now = list.data();
        if let Some(id) = id {
            now = t.admin.client.get(&format!("/api/webhooks/{webhook}/deliveries/{id}")).await.expect(200).data();
            let ended = matches!(now["state"].as_str(), Some("delivered" | "failed"));
            if ended && now["attempt_log"].as_array().is_some_and(|log| log.len() == attempts) {
                return now;
            }
        }
        assert!(started.elapsed() < SOON, "{event} has not ended: {now}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn outcome(delivery: &Value) -> (&str, u64) {
    (delivery["state"].as_str().unwrap(), delivery["response_status"].as_u64().unwrap())
}

#[actix_web::test]
#[ignore = "needs n8n: make test-n8n"]
async fn an_event_is_verified_and_its_steps_run_once() {
    let stack = Stack::events().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let steps = Receiver::start();
    let body = json!({ "url": hook("aisha-crm", &steps, "/ours"), "event_types": ["contact.created"], "max_concurrency": 1,
                       "secret": secret_of(&setting("AISHA_N8N_KEY")) });
    let id = me.post("/api/webhooks", body).await.expect(201).id();

    let contact = me.post("/api/contacts", json!({ "first_name": "Zoë", "last_name": "Łukasz" })).await.expect(201);
    let ran = steps.wait("/ours", 1, SOON).await.remove(0).json();
    assert_eq!(ran["step"], "Your steps: new contact");
    assert_eq!(ran["event"]["data"], me.get(&format!("/api/contacts/{}", contact.id())).await.expect(200).data());
    let sent = delivery(&t, id, "contact.created", 1).await;
    assert_eq!(outcome(&sent), ("delivered", 200));
    assert_eq!(ran["event"], serde_json::from_str::<Value>(sent["body"].as_str().unwrap()).unwrap());

    // Sent anew it is taken, and nothing is done a second time. What is sent after it shows when that would have been.
    let again = format!("/api/webhooks/{id}/deliveries/{}/resend", sent["id"].as_str().unwrap());
    me.post(&again, json!({})).await.expect(202);
    assert_eq!(outcome(&delivery(&t, id, "contact.created", 2).await), ("delivered", 200));
    me.post(&format!("/api/webhooks/{id}/test"), json!({})).await.expect(202);
    let ran = steps.wait("/ours", 2, SOON).await.remove(1).json();
    assert_eq!((&ran["step"], &ran["event"]["event"]), (&json!("Your steps: everything else"), &json!("test_event")));
    assert_eq!(outcome(&delivery(&t, id, "test_event", 1).await), ("delivered", 200));
    assert_eq!(steps.count(), 2);
}

#[actix_web::test]
#[ignore = "needs n8n: make test-n8n"]
async fn another_secret_is_refused_until_it_is_the_one_in_n8n() {
    let stack = Stack::events().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let steps = Receiver::start();
    let body = json!({ "url": hook("aisha-crm", &steps, "/other"), "event_types": ["lead.created"], "retries": false });
    let id = me.post("/api/webhooks", body).await.expect(201).id();
    me.post("/api/leads", json!({ "first_name": "Bo", "last_name": "Li", "company": "X" })).await.expect(201);
    let refused = delivery(&t, id, "lead.created", 1).await;
    assert_eq!(outcome(&refused), ("failed", 401));
    assert!(refused["attempt_log"][0]["response_excerpt"].as_str().unwrap().contains("signature"), "{refused}");

    let secret = json!({ "secret": secret_of(&setting("AISHA_N8N_KEY")) });
    me.put(&format!("/api/webhooks/{id}"), secret).await.expect(200);
    assert_eq!(steps.count(), 0, "steps ran for what was refused");
    let again = format!("/api/webhooks/{id}/deliveries/{}/resend", refused["id"].as_str().unwrap());
    me.post(&again, json!({})).await.expect(202);
    assert_eq!(outcome(&delivery(&t, id, "lead.created", 2).await), ("delivered", 200));
    steps.wait("/other", 1, SOON).await;
    assert_eq!(steps.count(), 1);
}

/// A request as the sender makes it, apart from what is changed about it.
struct Forged {
    id: String,
    timestamp: i64,
    signature: String,
    body: String,
}

impl Forged {
    /// Signed properly, this many seconds ago.
    fn signed(key: &str, age: i64) -> Self {
        let (id, timestamp) = (new_id(), clock::now().unix_timestamp() - age);
        let body = format!(r#"{{"id":"{id}","seq":1,"event":"note.created","data":{{"content":"Zoë \u0007 🙂"}}}}"#);
        let signer = Signer::new(&secret_of(key).into(), None);
        let signature = signer.sign(id, timestamp, body.as_bytes()).list.unwrap();
        Self { id: id.to_string(), timestamp, signature, body }
    }

    async fn send(&self, url: &str) -> u16 {
        let timestamp = self.timestamp.to_string();
        let headers = [
            ("content-type", "application/json"),
            (ID_HEADER, self.id.as_str()),
            (TIMESTAMP_HEADER, timestamp.as_str()),
            (LIST_HEADER, self.signature.as_str()),
        ];
        let body = Some(self.body.clone().into_bytes());
        Client::anonymous(url).send("POST", "", &headers, body).await.status.as_u16()
    }
}

#[actix_web::test]
#[ignore = "needs n8n: make test-n8n"]
async fn what_is_forged_or_old_runs_nothing() {
    let steps = Receiver::start();
    let (url, key) = (hook("aisha-crm", &steps, "/forged"), setting("AISHA_N8N_KEY"));
    let signed = |age| Forged::signed(&key, age);
    let changed = {
        let request = signed(0);
        Forged { body: request.body.replace("note.created", "note.deleted"), ..request }
    };
    for (what, request) in [
        ("a body that was changed", changed),
        ("another body", Forged { body: "{}".to_owned(), ..signed(0) }),
        ("no body", Forged { body: String::new(), ..signed(0) }),
        ("another id", Forged { id: new_id().to_string(), ..signed(0) }),
        ("an old one, said to be new", Forged { timestamp: clock::now().unix_timestamp(), ..signed(600) }),
        ("an old one", signed(600)),
        ("one from the future", signed(-600)),
        ("no signature", Forged { signature: String::new(), ..signed(0) }),
        ("another version", Forged { signature: signed(0).signature.replace("v1,", "v2,"), ..signed(0) }),
        ("somebody else's", Forged::signed("a key that is not in this n8n at all", 0)),
    ] {
        assert_eq!(request.send(&url).await, 401, "{what}");
    }
    let form = ("content-type", "multipart/form-data; boundary=x");
    let form = Client::anonymous(&url).send("POST", "", &[form], Some(b"--x--\r\n".to_vec())).await;
    assert!(form.status.is_client_error() || form.status.is_server_error(), "{}", form.text);
    Client::anonymous(&url).send("POST", "", &[], None).await.expect(401);

    // After a rotation there are two signatures, and this one may be the second.
    let good = signed(200);
    let both = Forged { signature: format!("v1,{} {}", STANDARD.encode([0; 32]), good.signature), ..good };
    assert_eq!(both.send(&url).await, 200);
    assert_eq!(both.send(&url).await, 200, "once more");
    assert_eq!(signed(0).send(&url).await, 200);
    let ran = steps.wait("/forged", 2, SOON).await;
    assert_eq!(ran[0].json()["event"], serde_json::from_str::<Value>(&both.body).unwrap());
    assert_eq!(steps.count(), 2);
}

/// n8n's own memory of what it has seen refuses to work once it is full; the workflow empties it and goes on.
#[actix_web::test]
#[ignore = "needs n8n: make test-n8n"]
async fn a_full_memory_loses_nothing() {
    let steps = Receiver::start();
    let (url, key) = (hook("forgetful", &steps, "/forgetful"), setting("AISHA_N8N_KEY"));
    for n in 1..=9 {
        let request = Forged::signed(&key, 0);
        assert_eq!(request.send(&url).await, 200);
        let ran = steps.wait("/forgetful", n, SOON).await.remove(n - 1);
        assert_eq!(ran.json()["event"]["id"], request.id);
    }
    assert_eq!(steps.count(), 9);
}
