//! Writes or checks `openapi/<service>.json`, the API documents that clients are generated from.
//!
//! Does not belong here: the documents' content, which each service assembles from its routes.

use crate::generated;
use anyhow::{Context, bail};
use serde_json::Value;
use std::path::Path;

/// A service's name (the file under `openapi/`) and the function that renders its document as JSON.
type Service = (&'static str, fn() -> String);

/// Every service with an API document. One more takes an optional dependency on it, its place in the `openapi` feature,
/// and its entry here behind `#[cfg(feature = "openapi")]`.
const SERVICES: &[Service] = &[
    #[cfg(feature = "openapi")]
    ("gateway", aisha_gateway::openapi_json),
    #[cfg(feature = "openapi")]
    ("crm-core", aisha_crm_core::openapi_json),
    #[cfg(feature = "openapi")]
    ("tenant-resolver", aisha_tenant_resolver::openapi_json),
];

/// Writes or checks the document of every service.
///
/// # Errors
/// No services, a text that is not JSON, or what [`write_or_check`] says; all services are tried first.
pub fn run(root: &Path, check: bool) -> anyhow::Result<()> {
    run_for(SERVICES, &root.join("openapi"), check)
}

fn run_for(services: &[Service], folder: &Path, check: bool) -> anyhow::Result<()> {
    if services.is_empty() {
        bail!("no services registered (`cargo openapi` compiles them in; crates/xtask/src/openapi.rs lists them)");
    }
    let failures: Vec<String> = services
        .iter()
        .filter_map(|(name, render)| write_or_check(&folder.join(format!("{name}.json")), &render(), check).err())
        .map(|e| format!("{e:#}"))
        .collect();
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("\n")) }
}

/// Writes the document to `path`, keys sorted, indented by two, with a newline at the end; or with `check` fails unless
/// the file holds exactly that.
///
/// # Errors
/// The text is not JSON, or see [`generated::write_or_check`].
pub fn write_or_check(path: &Path, json_text: &str, check: bool) -> anyhow::Result<()> {
    let text = canonical(json_text).with_context(|| format!("the document for {} is not JSON", path.display()))?;
    generated::write_or_check(path, &text, check, "cargo openapi")
}

fn canonical(json_text: &str) -> serde_json::Result<String> {
    let document = sorted(serde_json::from_str(json_text)?);
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// Sorts the keys at every depth: whether `serde_json` does depends on features that others switch on.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_keys_and_keeps_arrays() {
        let text = canonical(r#"{"b":[{"z":1,"y":2},0],"a":null}"#).unwrap();
        assert_eq!(
            text,
            "{\n  \"a\": null,\n  \"b\": [\n    {\n      \"y\": 2,\n      \"z\": 1\n    },\n    0\n  ]\n}\n"
        );
        assert_eq!(canonical(&text).unwrap(), text);
        assert!(canonical("{").is_err());
    }

    #[test]
    fn no_services_is_a_failure() {
        let said = run_for(&[], Path::new("nowhere"), true).unwrap_err().to_string();
        assert!(said.starts_with("no services registered"), "{said}");
    }

    #[test]
    fn every_stale_document_is_named() {
        let services: &[Service] = &[("one", || "{}".to_owned()), ("two", || "not json".to_owned())];
        let said = run_for(services, Path::new("no/such/folder"), true).unwrap_err().to_string();
        assert!(said.contains("one.json is missing; run `cargo openapi`"), "{said}");
        assert!(said.contains("two.json is not JSON"), "{said}");
    }
}
