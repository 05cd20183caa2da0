//! Names of events, and what a subscription may ask for: a name, `prefix.*` or `*`.
//!
//! Belongs here: the one list of events beside those of records. Does not belong here: which record types there are; the
//! service says, since domains do not know each other.

use aisha_kernel::FieldError;
use serde_json::Value;

/// Most patterns of one subscription, as in the table.
const MOST: usize = 200;

/// What happens to every type of record.
const RECORD_VERBS: [&str; 5] = ["created", "updated", "deleted", "restored", "archived"];

/// What else happens, and to what.
const OTHERS: &[(&str, &[&str])] = &[
    ("aicampaign", &["created", "start", "pause", "resume", "progress", "completed", "failed"]),
    ("api_key", &["created", "updated", "deleted"]),
    ("call", &["inbound", "outbound"]),
    ("import", &["created", "updated"]),
    ("tenant", &["created", "updated"]),
    ("user", &["created", "updated", "deleted"]),
    ("webhook", &["created", "updated", "deleted"]),
];

/// The event of a delivery that somebody asked for to see one arrive. Nobody subscribes to it.
pub const TEST_EVENT: &str = "test_event";

/// Every event, by name; `records` are the record types, singular.
#[must_use]
pub fn known_events(records: &[&str]) -> Vec<String> {
    let of_records = records.iter().map(|entity| (*entity, RECORD_VERBS.as_slice()));
    let all = of_records.chain(OTHERS.iter().copied());
    let mut names: Vec<String> =
        all.flat_map(|(entity, verbs)| verbs.iter().map(move |verb| format!("{entity}.{verb}"))).collect();
    names.sort_unstable();
    names
}

/// SQL that is true when one of the patterns asks for an event: `types` is their text array, `event` the column with the name.
pub(crate) fn matches_sql(types: &str, event: &str) -> String {
    format!("{types} && ARRAY[{event}, split_part({event}, '.', 1) || '.*', '*']")
}

/// Reads a list of patterns, or a single one; `null` is none.
///
/// # Errors
/// A message for every item that names no event.
pub fn read_patterns(field: &str, value: &Value, records: &[&str]) -> Result<Vec<String>, Vec<FieldError>> {
    let one = |message: String| vec![FieldError::new(field, message)];
    let items = match value {
        Value::Null => &[][..],
        Value::String(_) => std::slice::from_ref(value),
        Value::Array(items) if items.len() <= MOST => items.as_slice(),
        Value::Array(_) => return Err(one(format!("may have at most {MOST} entries"))),
        _ => return Err(one("must be a list of event names".into())),
    };
    let known = known_events(records);
    let named = |p: &str| {
        let prefix = p.strip_suffix(".*").map(|entity| format!("{entity}."));
        p == "*" || known.iter().any(|k| k == p || prefix.as_ref().is_some_and(|prefix| k.starts_with(prefix)))
    };
    let (mut out, mut problems) = (Vec::<String>::new(), Vec::new());
    for (i, item) in items.iter().enumerate() {
        let at = if value.is_array() { format!("{field}.{i}") } else { field.to_owned() };
        match item.as_str().map(str::trim) {
            Some(p) if named(p) => {
                if !out.iter().any(|o| o == p) {
                    out.push(p.to_owned());
                }
            }
            Some(_) => {
                let names = known.join(", ");
                problems.push(FieldError::new(
                    at,
                    format!("is no event; there are *, a prefix such as contact.*, {names}"),
                ));
            }
            None => problems.push(FieldError::new(at, "must be a text")),
        }
    }
    if problems.is_empty() { Ok(out) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const RECORDS: [&str; 2] = ["contact", "cash_flow"];

    #[test]
    fn only_what_there_is_can_be_asked_for() {
        let read = |v: Value| read_patterns("event_types", &v, &RECORDS);
        assert_eq!(
            read(json!(["contact.created", " cash_flow.* ", "*", "*", "call.inbound"])).unwrap(),
            ["contact.created", "cash_flow.*", "*", "call.inbound"]
        );
        assert_eq!(read(json!("contact.deleted")).unwrap(), ["contact.deleted"]);
        assert!(read(json!([])).unwrap().is_empty() && read(Value::Null).unwrap().is_empty());
        for (bad, field) in [
            (json!(["contact.created", "contact.made"]), "event_types.1"),
            (json!(["cont.*"]), "event_types.0"),
            (json!(["contact."]), "event_types.0"),
            (json!(["contact"]), "event_types.0"),
            (json!([""]), "event_types.0"),
            (json!([".*"]), "event_types.0"),
            (json!(["test_event"]), "event_types.0"),
            (json!([5]), "event_types.0"),
            (json!("lead.created"), "event_types"),
            (json!({ "a": 1 }), "event_types"),
            (json!(vec!["*"; 201]), "event_types"),
        ] {
            let problems = read(bad.clone()).unwrap_err();
            assert_eq!(problems[0].field, field, "{bad}");
        }
        let problems = read(json!(["contact.made"])).unwrap_err();
        assert!(problems[0].message.contains("contact.created"), "{problems:?}");
    }
}
