//! Two-step sign-in: switching it on and off, signing in with it, losing it, and tenants that ask for it.

use super::credentials::{PASSWORD, audited, bearer, login, with_password};
use aisha_testkit::{Client, Person, Reply, Stack};
use serde_json::{Value, json};
use std::time::Duration;
use totp_rs::{Builder, Secret, Totp};

/// An authenticator app, and the moment from which its codes are counted: the clock may come to the next step between
/// two requests of a test, and the server takes the codes of the steps beside its own.
struct Device {
    generator: Totp,
    since: i64,
}

impl Device {
    fn new(enrolment: &Value) -> Self {
        let secret = Secret::try_from_base32(enrolment["secret"].as_str().unwrap()).unwrap();
        let generator = Builder::new().with_secret(secret).build().unwrap();
        let device = Self { generator, since: aisha_kernel::clock::now().unix_timestamp() };
        let url = enrolment["otpauth_url"].as_str().unwrap();
        assert!(url.starts_with("otpauth://totp/Aisha%20CRM:") && url.contains(&device.secret()), "{url}");
        assert!(enrolment["qr_code"].as_str().unwrap().starts_with("data:image/svg+xml;base64,"));
        device
    }

    fn secret(&self) -> String {
        self.generator.secret().to_base32()
    }

    /// The code some steps from its beginning.
    fn code(&self, steps: i64) -> String {
        let time = self.since + 30 * steps;
        self.generator.generate(u64::try_from(time).unwrap()).to_string()
    }

    /// The code of this moment, however long ago its beginning is.
    fn now(&self) -> String {
        let time = aisha_kernel::clock::now().unix_timestamp();
        self.generator.generate(u64::try_from(time).unwrap()).to_string()
    }

    /// A code that is not right now, nor a step before or after, within a minute from its beginning.
    fn wrong(&self) -> String {
        let right: Vec<String> = (-2..=4).map(|step| self.code(step)).collect();
        (0..).map(|n| format!("{n:06}")).find(|code| !right.contains(code)).unwrap()
    }
}

async fn sign_in(stack: &Stack, person: &Person, otp: &str) -> Reply {
    let body = json!({"email": person.email, "password": PASSWORD, "otp": otp});
    stack.anonymous().post("/api/auth/login", body).await
}

/// Makes the last code good again, instead of waiting for the next.
async fn forget_step(stack: &Stack, person: &Person) {
    stack.sql(&format!("UPDATE user_totp SET last_step = 0 WHERE user_id = '{}'", person.user_id)).await;
}

async fn enrolled(client: &Client) -> (Device, Vec<String>) {
    let device = Device::new(&client.post("/api/auth/totp/enrol", json!({})).await.expect(200).data());
    let codes = client.post("/api/auth/totp/verify", json!({"otp": device.code(0)})).await.expect(200).data();
    let codes: Vec<String> = serde_json::from_value(codes["recovery_codes"].clone()).unwrap();
    assert_eq!(codes.len(), 10);
    (device, codes)
}

#[actix_web::test]
async fn signing_in_takes_a_code_and_no_code_twice() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let me = &t.employee;
    with_password(&stack, me).await;
    let status = async || me.client.get("/api/auth/totp").await.expect(200).data();
    assert_eq!((status().await["enabled"].clone(), status().await["required"].clone()), (json!(false), json!(false)));
    let first = Device::new(&me.client.post("/api/auth/totp/enrol", json!({})).await.expect(200).data());
    assert_eq!(status().await["pending"], true);
    login(&stack, &me.email, PASSWORD).await.expect(200);
    let wrong = me.client.post("/api/auth/totp/verify", json!({"otp": first.wrong()})).await.expect(422);
    assert_eq!(wrong.fields(), ["otp"]);
    let (device, codes) = enrolled(&me.client).await;
    assert_ne!(device.secret(), first.secret());
    // Waited for here, so that the next letter cannot arrive before it.
    assert!(stack.mail.nth(&me.email, 1).await.subject.contains("is on"));
    assert_eq!(
        (status().await["enabled"].clone(), status().await["recovery_codes_left"].clone()),
        (json!(true), json!(10))
    );
    me.client.post("/api/auth/totp/enrol", json!({})).await.expect(409);
    me.client.post("/api/auth/totp/verify", json!({"otp": device.code(0)})).await.expect(409);

    assert_eq!(login(&stack, &me.email, PASSWORD).await.expect(401).code(), "otp_required");
    assert_eq!(login(&stack, &me.email, "Wrong-Horse-7").await.expect(401).code(), "invalid_credentials");
    let blind = json!({"email": me.email, "password": "Wrong-Horse-7", "otp": device.code(1)});
    assert_eq!(stack.anonymous().post("/api/auth/login", blind).await.expect(401).code(), "invalid_credentials");
    for bad in [device.wrong(), "12345".into(), "abcdef".into(), first.code(1)] {
        assert_eq!(sign_in(&stack, me, &bad).await.expect(401).code(), "invalid_otp", "{bad}");
    }
    assert_eq!(sign_in(&stack, me, &device.code(0)).await.code(), "invalid_otp", "it switched the factor on");
    let code = device.code(1);
    let reply = sign_in(&stack, me, &code).await.expect(200);
    bearer(&stack, &reply).get("/api/auth/me").await.expect(200);
    assert_eq!(sign_in(&stack, me, &code).await.expect(401).code(), "invalid_otp", "a code is taken once");
    assert_eq!(sign_in(&stack, me, &device.code(0)).await.code(), "invalid_otp", "nor one before it");

    let spaced = codes[0].to_uppercase().replace('-', " ");
    sign_in(&stack, me, &spaced).await.expect(200);
    assert_eq!(sign_in(&stack, me, &codes[0]).await.expect(401).code(), "invalid_otp", "a recovery code is taken once");
    assert_eq!(audited(&stack, "TOTP_RECOVERY_CODE_USED", &t).await, 1);
    let fresh = json!({"otp": codes[1]});
    let fresh = me.client.post("/api/auth/totp/recovery-codes", fresh).await.expect(200).data();
    assert_eq!(sign_in(&stack, me, &codes[2]).await.code(), "invalid_otp", "the old set is gone");
    sign_in(&stack, me, fresh["recovery_codes"][0].as_str().unwrap()).await.expect(200);
    let plain = format!(
        "SELECT count(*) FROM user_totp WHERE user_id = '{}' AND position(convert_to('{}', 'UTF8') IN secret_sealed) > 0",
        me.user_id,
        device.secret()
    );
    assert_eq!(stack.count(&plain).await, 0);

    forget_step(&stack, me).await;
    let off = async |password: &str, otp: String| {
        me.client.post("/api/auth/totp/disable", json!({"password": password, "otp": otp})).await
    };
    assert_eq!(off("Wrong-Horse-7", device.now()).await.expect(422).fields(), ["password"]);
    assert_eq!(off(PASSWORD, device.wrong()).await.expect(422).fields(), ["otp"]);
    off(PASSWORD, device.now()).await.expect(200);
    off(PASSWORD, device.code(1)).await.expect(409);
    login(&stack, &me.email, PASSWORD).await.expect(200);
    sign_in(&stack, me, "000000").await.expect(200);
    for action in ["TOTP_ENABLED", "TOTP_DISABLED", "TOTP_RECOVERY_CODES_REPLACED"] {
        assert_eq!(audited(&stack, action, &t).await, 1, "{action}");
    }
    assert!(stack.mail.nth(&me.email, 2).await.subject.contains("is off"));
}

#[actix_web::test]
async fn codes_cannot_be_guessed() {
    let stack = Stack::platform_with(&[("AUTH_RATE_LIMIT_MAX", "4")]).await;
    let t = stack.tenant().await;
    with_password(&stack, &t.employee).await;
    let (device, codes) = enrolled(&t.employee.client).await;
    for _ in 0..4 {
        assert_eq!(sign_in(&stack, &t.employee, &device.wrong()).await.expect(401).code(), "invalid_otp");
    }
    sign_in(&stack, &t.employee, &codes[0]).await.expect(429);
    let failed = "SELECT count(*) FROM audit_log WHERE action = 'FAILED_LOGIN' AND record_id = ";
    assert_eq!(stack.count(&format!("{failed}'{}'", t.employee.user_id)).await, 4);

    // From wherever they come: without the limit of this address ten are enough.
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    with_password(&stack, &t.employee).await;
    let (device, codes) = enrolled(&t.employee.client).await;
    for _ in 0..10 {
        sign_in(&stack, &t.employee, &device.wrong()).await.expect(401);
    }
    sign_in(&stack, &t.employee, &device.code(1)).await.expect(429);
    sign_in(&stack, &t.employee, &codes[0]).await.expect(429);
    let later = "UPDATE user_totp SET last_failure_at = now() - interval '16 minutes' WHERE user_id = ";
    stack.sql(&format!("{later}'{}'", t.employee.user_id)).await;
    sign_in(&stack, &t.employee, &codes[0]).await.expect(200);
}

#[actix_web::test]
async fn a_tenant_that_asks_for_it_gets_it() {
    let stack = Stack::platform().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    for person in [&t.employee, &t.manager, &other.employee] {
        with_password(&stack, person).await;
    }
    let (device, _) = enrolled(&t.manager.client).await;
    let key =
        t.employee.client.post("/api/apikeys", json!({"name": "k", "permissions": ["*"]})).await.expect(201).data();
    let (path, asks) = (format!("/api/tenants/{}", t.id), |v: Value| json!({"settings": {"require_totp": v}}));
    for bad in [json!("true"), json!(1)] {
        assert_eq!(t.admin.client.put(&path, asks(bad)).await.expect(422).fields(), ["settings.require_totp"]);
    }
    t.manager.client.put(&path, asks(json!(true))).await.expect(403);
    t.admin.client.put(&path, asks(json!(true))).await.expect(200);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let reply = login(&stack, &t.employee.email, PASSWORD).await.expect(200);
    assert_eq!(reply.data()["totp_enrolment_required"], true);
    let me = bearer(&stack, &reply);
    for client in [&me, &t.employee.client, &t.admin.client] {
        for path in ["/api/contacts", "/api/auth/me", "/api/users", "/api/apikeys", "/api/auth/sessions"] {
            assert_eq!(client.get(path).await.expect(403).code(), "totp_enrolment_required", "{path}");
        }
        let write = client.post("/api/accounts", json!({"name": "No"})).await;
        assert_eq!(write.expect(403).code(), "totp_enrolment_required");
    }
    // Who has one works on, and so do programs and other tenants.
    sign_in(&stack, &t.manager, &device.code(1)).await.expect(200);
    t.manager.client.get("/api/contacts").await.expect(200);
    stack.anonymous().with("x-api-key", key["key"].as_str().unwrap()).get("/api/contacts").await.expect(200);
    let free = login(&stack, &other.employee.email, PASSWORD).await.expect(200);
    assert!(free.data()["totp_enrolment_required"].is_null());

    assert_eq!(me.get("/api/auth/totp").await.expect(200).data()["required"], true);
    let (mine, codes) = enrolled(&me).await;
    me.get("/api/contacts").await.expect(200);
    assert_eq!(login(&stack, &t.employee.email, PASSWORD).await.expect(401).code(), "otp_required");
    let reply = sign_in(&stack, &t.employee, &mine.code(1)).await.expect(200);
    assert!(reply.data()["totp_enrolment_required"].is_null());

    // Without it again, and the session is back where it was; then nobody asks any more.
    me.post("/api/auth/totp/disable", json!({"password": PASSWORD, "otp": codes[0]})).await.expect(200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    me.get("/api/contacts").await.expect(403);
    enrolled(&t.admin.client).await;
    t.admin.client.put(&path, asks(json!(false))).await.expect(200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    me.get("/api/contacts").await.expect(200);
    let reply = login(&stack, &t.employee.email, PASSWORD).await.expect(200);
    assert!(reply.data()["totp_enrolment_required"].is_null());
}

#[actix_web::test]
async fn an_admin_helps_whoever_lost_the_device() {
    let stack = Stack::platform().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    with_password(&stack, &t.employee).await;
    let path = format!("/api/users/{}/totp", t.employee.user_id);
    t.admin.client.delete(&path).await.expect(409);
    t.employee.client.post("/api/auth/totp/enrol", json!({})).await.expect(200);
    t.admin.client.delete(&path).await.expect(409);
    let (device, _) = enrolled(&t.employee.client).await;
    stack.mail.nth(&t.employee.email, 1).await;
    for person in [&t.manager, &t.employee, &t.colleague] {
        person.client.delete(&path).await.expect(403);
        person.client.get(&path).await.expect(403);
    }
    other.admin.client.delete(&path).await.expect(404);
    other.admin.client.get(&path).await.expect(404);
    assert_eq!(t.admin.client.get(&path).await.expect(200).data()["enabled"], true);
    t.admin.client.delete(&path).await.expect(200);
    assert_eq!(t.admin.client.get(&path).await.expect(200).data()["enabled"], false);
    tokio::time::sleep(Duration::from_secs(1)).await;
    t.employee.client.get("/api/auth/me").await.expect(401);
    login(&stack, &t.employee.email, PASSWORD).await.expect(200);
    assert_eq!(audited(&stack, "TOTP_RESET", &t).await, 1);
    let notice = stack.mail.nth(&t.employee.email, 2).await;
    assert!(notice.text.contains(&t.admin.email) && notice.subject.contains("reset"), "{notice:?}");
    let _ = device;
    // Nobody takes away the own factor with a stolen session.
    enrolled(&t.admin.client).await;
    t.admin.client.delete(&format!("/api/users/{}/totp", t.admin.user_id)).await.expect(403);
    let key = t.admin.client.post("/api/apikeys", json!({"name": "k", "permissions": ["*"]})).await.expect(201).data();
    let program = stack.anonymous().with("x-api-key", key["key"].as_str().unwrap());
    program.get("/api/auth/totp").await.expect(403);
    program.post("/api/auth/totp/enrol", json!({})).await.expect(403);
    program.post("/api/auth/totp/disable", json!({"password": PASSWORD, "otp": "000000"})).await.expect(403);
}
