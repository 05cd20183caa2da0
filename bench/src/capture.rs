//! The statements a service sends for a request, taken from the log of Postgres and written down as a pgbench script:
//! the same text, the same values, the same transaction.

use crate::{http::Api, probe::Probe, stack::Stack};
use anyhow::{Context as _, ensure};
use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
};

/// A version 7 id made by Postgres, where the service makes one: two rows cannot have the same.
const NEW_ID: &str = "encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) PLACING substring(int8send(\
     (extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid";

/// Scripts for pgbench, one for each request of a path, and the values of their variables.
#[derive(Debug, Default)]
pub struct Scripts {
    /// The files.
    pub files: Vec<PathBuf>,
    /// `name=value`.
    pub variables: Vec<String>,
}

#[derive(Debug)]
struct Statement {
    backend: String,
    text: String,
    /// `None` is null.
    values: Vec<Option<String>>,
}

/// Sends each request of the path once and writes down what reached the database.
pub fn capture(stack: &Stack, api: &Api, probe: &Probe, number: usize) -> anyhow::Result<Scripts> {
    let mut scripts = Scripts::default();
    stack.log_statements(true)?;
    let mut log = File::open(stack.postgres_log())?;
    for (variant, request) in probe.requests.iter().enumerate() {
        log.seek(SeekFrom::End(0))?;
        match &request.body {
            None => api.get(probe.person, &request.path)?,
            Some(body) => api.post(probe.person, &request.path, body)?,
        };
        let mut text = String::new();
        log.read_to_string(&mut text)?;
        let statements = statements(&text);
        let transaction = transaction(&statements)
            .with_context(|| format!("{}: no transaction in the log of Postgres", request.path))?;
        let prefix = format!("p{number}v{variant}");
        let file = stack.file(&format!("run/{prefix}.sql"));
        fs::write(&file, script(&transaction, &prefix, &mut scripts.variables)?)?;
        scripts.files.push(file);
    }
    stack.log_statements(false)?;
    Ok(scripts)
}

/// The statements of crm-core in the log. A line that begins with a tab continues the one before.
fn statements(log: &str) -> Vec<Statement> {
    let mut found: Vec<Statement> = Vec::new();
    for entry in log.replace("\n\t", "\u{0}").lines() {
        let Some((backend, rest)) = entry.strip_prefix("crm-core|").and_then(|e| e.split_once('|')) else { continue };
        let rest = rest.replace('\u{0}', "\n");
        if let Some((_, text)) = rest.strip_prefix("LOG:  execute ").and_then(|t| t.split_once(": ")) {
            found.push(Statement { backend: backend.to_owned(), text: text.to_owned(), values: Vec::new() });
        } else if let Some(list) = rest.strip_prefix("DETAIL:  parameters: ")
            && let Some(last) = found.iter_mut().rev().find(|s| s.backend == backend)
        {
            last.values = values(list);
        }
    }
    found
}

/// `$1 = 'it''s', $2 = NULL`
fn values(list: &str) -> Vec<Option<String>> {
    let mut found = Vec::new();
    let mut rest = list;
    while let Some((_, after)) = rest.split_once(" = ") {
        let Some(quoted) = after.strip_prefix('\'') else {
            found.push(None);
            rest = after.strip_prefix("NULL").unwrap_or_default();
            continue;
        };
        let mut value = String::new();
        let mut letters = quoted.char_indices().peekable();
        let mut end = quoted.len();
        while let Some((at, letter)) = letters.next() {
            if letter == '\'' && letters.next_if(|(_, next)| *next == '\'').is_none() {
                end = at + 1;
                break;
            }
            value.push(letter);
        }
        found.push(Some(value));
        rest = quoted.get(end..).unwrap_or_default();
    }
    found
}

/// From BEGIN to COMMIT on the connection that touched contacts for somebody: housekeeping does so for nobody.
fn transaction(all: &[Statement]) -> Option<Vec<&Statement>> {
    let touched = all.iter().enumerate().filter(|(_, s)| s.text.contains(" contacts"));
    touched.filter_map(|(at, s)| transaction_around(all, at, &s.backend)).find(|t| {
        let system = Some("aisha_system".to_owned());
        !t.iter().any(|s| s.values.contains(&system))
    })
}

fn transaction_around<'a>(all: &'a [Statement], at: usize, backend: &str) -> Option<Vec<&'a Statement>> {
    let (before, after) = all.split_at_checked(at)?;
    let before: Vec<&Statement> = before.iter().filter(|s| s.backend == backend).collect();
    let begin = before.iter().rposition(|s| s.text.starts_with("BEGIN"))?;
    let mut found = before.get(begin..)?.to_vec();
    for statement in after.iter().filter(|s| s.backend == backend) {
        found.push(statement);
        if statement.text == "COMMIT" {
            return Some(found);
        }
    }
    None
}

fn script(transaction: &[&Statement], prefix: &str, variables: &mut Vec<String>) -> anyhow::Result<String> {
    let mut script = String::new();
    for (s, statement) in transaction.iter().enumerate() {
        let mut text = statement.text.clone();
        // From the last, or $1 would take the head of $12.
        for (i, value) in statement.values.iter().enumerate().rev() {
            let name = format!("{prefix}s{s}n{i}");
            let stands = match value {
                // The second value of an insert is the new id.
                Some(_) if i == 1 && text.starts_with("INSERT INTO contacts (tenant_id, id,") => NEW_ID.to_owned(),
                None => "NULL".to_owned(),
                // pgbench knows no empty variables.
                Some(value) if value.is_empty() => "''".to_owned(),
                Some(value) => {
                    variables.push(format!("{name}={value}"));
                    format!(":{name}")
                }
            };
            text = text.replace(&format!("${}", i + 1), &stands);
        }
        ensure!(!text.contains('$'), "a value is missing in {text}");
        script.push_str(&text);
        script.push_str(";\n");
    }
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_becomes_a_script() {
        let log = "crm-core|7|LOG:  execute s0: BEGIN\n\
                   crm-core|9|LOG:  execute s1: SELECT 1\n\
                   crm-core|7|LOG:  execute s2: SELECT *\n\tFROM contacts WHERE a = $1 AND b = $2\n\
                   crm-core|7|DETAIL:  parameters: $1 = 'it''s', $2 = NULL\n\
                   gateway|5|LOG:  execute s2: SELECT 2\n\
                   crm-core|7|LOG:  execute s3: COMMIT\n";
        let all = statements(log);
        let mut variables = Vec::new();
        let text = script(&transaction(&all).unwrap(), "p", &mut variables).unwrap();
        assert_eq!(text, "BEGIN;\nSELECT *\nFROM contacts WHERE a = :ps1n0 AND b = NULL;\nCOMMIT;\n");
        assert_eq!(variables, ["ps1n0=it's"]);
    }
}
