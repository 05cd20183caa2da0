//! What the web application reports of itself.

use super::{LEVELS, LogEntry, Reader, level, system_log_read};
use crate::sql::json;
use aisha_auth::Identity;
use aisha_db::{Bind, Db, RequestContext, Sql, acting};
use aisha_kernel::{Error, FieldError, TenantId, new_id};
use serde_json::{Map, Value};

/// The service that such rows name.
const FRONTEND: &str = "frontend";
/// Longest message and stack trace, in characters.
const MAX_MESSAGE: usize = 2_000;
const MAX_STACK: usize = 10_000;
/// Largest metadata, in bytes.
const MAX_METADATA: usize = 8_192;
/// Names under which a report may carry by accident what nobody must read.
const SECRET: [&str; 6] = ["password", "secret", "token", "authorization", "cookie", "api_key"];
/// What the sign-in says, and not the body.
const KNOWN_OTHERWISE: [&str; 3] = ["user_email", "user_id", "created_at"];

/// A checked report.
#[derive(Debug)]
pub struct ClientReport {
    level: String,
    message: String,
    source: String,
    fields: Map<String, Value>,
}

fn text(value: Value, name: &str, most: usize, problems: &mut Vec<FieldError>) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(s) if s.chars().count() <= most => {
            Some(s.replace('\0', "").trim().to_owned()).filter(|s| !s.is_empty())
        }
        _ => {
            problems.push(FieldError::new(name, format!("must be a text of at most {most} characters")));
            None
        }
    }
}

/// Takes the values of secret names out of a tree, and NUL out of its texts.
fn cleaned(value: Value) -> Value {
    let secret = |name: &str| SECRET.iter().any(|word| name.to_lowercase().replace('-', "_").contains(word));
    match value {
        Value::String(s) => s.replace('\0', "").into(),
        Value::Array(items) => items.into_iter().map(cleaned).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(name, v)| {
                let v = if secret(&name) { "[removed]".into() } else { cleaned(v) };
                (name.replace('\0', ""), v)
            })
            .collect(),
        other => other,
    }
}

impl ClientReport {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// 422 with a message for every field that does not fit.
    pub fn read(body: Map<String, Value>) -> Result<Self, Error> {
        let mut problems = Vec::new();
        let mut out = Self { level: "error".into(), message: String::new(), source: String::new(), fields: Map::new() };
        for (name, value) in body {
            match name.as_str() {
                "level" => match value.as_str().and_then(level) {
                    Some(level) => out.level = level.to_owned(),
                    None => problems.push(FieldError::new("level", format!("must be one of: {}", LEVELS.join(", ")))),
                },
                "message" => out.message = text(value, "message", MAX_MESSAGE, &mut problems).unwrap_or_default(),
                "source" => out.source = text(value, "source", 200, &mut problems).unwrap_or_default(),
                "stack_trace" | "url" | "user_agent" => {
                    let most = if name == "stack_trace" { MAX_STACK } else { 2_000 };
                    if let Some(text) = text(value, &name, most, &mut problems) {
                        // What follows the path may be a link's token.
                        let text =
                            if name == "url" { text.split(['?', '#']).next().unwrap_or_default().into() } else { text };
                        out.fields.insert(name, text.into());
                    }
                }
                "metadata" => match value {
                    Value::Null => {}
                    Value::Object(_) if value.to_string().len() <= MAX_METADATA => {
                        out.fields.insert(name, cleaned(value));
                    }
                    _ => {
                        let rule = format!("must be an object of at most {MAX_METADATA} bytes");
                        problems.push(FieldError::new("metadata", rule));
                    }
                },
                known if KNOWN_OTHERWISE.contains(&known) => {}
                _ => problems.push(FieldError::new(name, "is not a field of a report")),
            }
        }
        if out.message.is_empty() && !problems.iter().any(|p| p.field == "message") {
            problems.push(FieldError::new("message", "is required"));
        }
        if problems.is_empty() { Ok(out) } else { Err(Error::validation(problems)) }
    }
}

/// Stores a report in the caller's name, and answers with its row.
///
/// # Errors
/// 503 when the database is away.
pub async fn system_log_create(
    db: &Db,
    me: &Identity,
    tenant: Option<TenantId>,
    request: &RequestContext,
    report: &ClientReport,
) -> Result<LogEntry, Error> {
    let (id, why) = (new_id(), acting(me, "client_report", tenant, request));
    db.system(&why, async |tx| {
        let mut sql = Sql::new(
            "INSERT INTO system_logs (id, tenant_id, service, level, source, message, fields, request_id, user_id) VALUES (",
        );
        sql.bind(id).push(", ").bind(Bind::Uuid(tenant.map(|t| t.0))).push(", ").bind(Bind::text(FRONTEND));
        for text in [&report.level, &report.source, &report.message] {
            sql.push(", ").bind(Bind::text(text));
        }
        sql.push(", ").bind(json(&Value::Object(report.fields.clone())));
        sql.push(", ").bind(Bind::Text(request.request_id.clone(), "text")).push(", ").bind(me.user_id.0).push(")");
        tx.rows(sql).await.map(|_| ())
    })
    .await?;
    system_log_read(db, &Reader::Platform(why, tenant), id).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(v: Value) -> Result<ClientReport, Error> {
        ClientReport::read(v.as_object().cloned().unwrap_or_default())
    }

    #[test]
    fn reports_are_bounded_and_carry_no_secret() {
        let report = read(json!({
            "level": "WARNING", "message": " late ", "source": "Leads", "url": "http://x/reset?token=abc#t",
            "metadata": {"Access-Token": "t", "deep": [{"password": "p", "n": 1}], "nul": "a\u{0}b"}, "user_email": "x@y"
        }))
        .unwrap();
        assert_eq!((report.level.as_str(), report.message.as_str()), ("warn", "late"));
        let expected = json!({"url": "http://x/reset", "metadata": {"Access-Token": "[removed]",
            "deep": [{"password": "[removed]", "n": 1}], "nul": "ab"}});
        assert_eq!(Value::Object(report.fields), expected);
        for (bad, field) in [
            (json!({}), "message"),
            (json!({"message": ""}), "message"),
            (json!({"message": "x".repeat(2_001)}), "message"),
            (json!({"message": 5}), "message"),
            (json!({"message": "m", "level": "fatal"}), "level"),
            (json!({"message": "m", "metadata": {"x": "y".repeat(9_000)}}), "metadata"),
            (json!({"message": "m", "metadata": []}), "metadata"),
            (json!({"message": "m", "stack_trace": "s".repeat(10_001)}), "stack_trace"),
            (json!({"message": "m", "colour": 1}), "colour"),
        ] {
            let problems = read(bad.clone()).unwrap_err().details;
            assert_eq!(problems.iter().map(|p| p.field.as_str()).collect::<Vec<_>>(), [field], "{bad}");
        }
    }
}
