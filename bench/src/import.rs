//! CSV imports of two sizes: rows per second, where the time goes, and whether memory stays flat.

use crate::{
    http::Api,
    people::Person,
    process::{Service, cpu_of_tree},
    stack::Stack,
};
use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

/// The tenant that rows are imported into.
const TENANT: u16 = 50;

/// What came out.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Rows in the file.
    pub rows: u64,
    /// From the first byte sent to the last row committed.
    pub seconds: f64,
    /// Most memory that crm-core had resident meanwhile, in KiB.
    pub peak: u64,
    /// Processor time of crm-core per row, in microseconds.
    pub service: f64,
    /// Processor time of Postgres per row, in microseconds.
    pub postgres: f64,
}

impl Outcome {
    /// Rows per second.
    pub fn rate(&self) -> f64 {
        self.rows as f64 / self.seconds
    }
}

fn write(stack: &Stack, rows: u64) -> anyhow::Result<PathBuf> {
    let path = stack.file(&format!("run/import-{rows}.csv"));
    let mut out = BufWriter::new(File::create(&path)?);
    writeln!(out, "first_name,last_name,email,phone,job_title,city,country,lead_source,status,score,tags,notes")?;
    for n in 0..rows {
        writeln!(
            out,
            "Marta,Sommer-{n},marta.sommer{n}@import{rows}.example,+49 30 6{n:06},Buyer,Bremen,Germany,trade_show,\
             prospect,{},segment-{},\"Met at the fair, wants an offer\"",
            n % 100,
            n % 7
        )?;
    }
    out.flush()?;
    Ok(path)
}

/// Imports that many new contacts and waits for the end.
pub fn measure(stack: &Stack, api: &Api, core: &Service, rows: u64) -> anyhow::Result<Outcome> {
    let me = Person::admin(TENANT);
    let file = write(stack, rows)?;
    let postmaster = stack.postmaster()?;
    core.forget_peak()?;
    let (service, postgres, began) = (core.cpu()?, cpu_of_tree(postmaster)?, Instant::now());
    let answer = api.upload(me, "/api/contacts/import", &file)?;
    let id = answer.pointer("/data/id").and_then(Value::as_str).context("the import has no id")?.to_owned();
    let end = loop {
        let now = api.get(me, &format!("/api/imports/{id}"))?;
        if now.pointer("/data/status").and_then(Value::as_str) != Some("processing") {
            break now;
        }
        sleep(Duration::from_millis(50));
    };
    let seconds = began.elapsed().as_secs_f64();
    let done = end.pointer("/data/success_count").and_then(Value::as_u64);
    ensure!(done == Some(rows), "the import did not take every row: {end}");
    let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / rows as f64;
    Ok(Outcome {
        rows,
        seconds,
        peak: core.memory()?.peak,
        service: each(core.cpu()?, service),
        postgres: each(cpu_of_tree(postmaster)?, postgres),
    })
}
