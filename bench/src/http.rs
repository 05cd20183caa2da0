//! Single requests, through curl. The load is wrk's (`load`).

use crate::people::{Keys, Person, Target};
use anyhow::{Context as _, bail};
use serde_json::Value;
use std::{path::Path, process::Command};

/// Where requests go.
pub struct Api {
    /// Base URL.
    pub base: String,
    /// What is behind it.
    pub target: Target,
    /// Who may send them.
    pub keys: Keys,
}

impl Api {
    fn curl(&self, person: Person, path: &str, options: &[&str]) -> anyhow::Result<Value> {
        let (name, value) = self.keys.credential(person, self.target)?;
        let output = Command::new("curl")
            .args(["-sS", "--fail-with-body", "-m", "120", "-H", &format!("{name}: {value}")])
            .args(options)
            .arg(format!("{}{path}", self.base))
            .output()
            .context("curl")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("{path}: {text} {}", String::from_utf8_lossy(&output.stderr));
        }
        serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))
    }

    /// GET.
    pub fn get(&self, person: Person, path: &str) -> anyhow::Result<Value> {
        self.curl(person, path, &[])
    }

    /// POST of JSON.
    pub fn post(&self, person: Person, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.curl(person, path, &["-H", "content-type: application/json", "-d", &body.to_string()])
    }

    /// Uploads a file.
    pub fn upload(&self, person: Person, path: &str, file: &Path) -> anyhow::Result<Value> {
        self.curl(person, path, &["-F", &format!("file=@{};type=text/csv", file.display())])
    }
}
