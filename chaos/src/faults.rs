//! Carrying out the schedule: services through the fleet, servers through `scripts/stack.sh`.

use crate::{
    fleet::Fleet,
    schedule::{Fault, How, SERVER_REST, SERVERS},
};
use anyhow::{Context as _, bail};
use std::{
    collections::HashMap,
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    sync::Mutex,
    task::spawn_blocking,
    time::{sleep, sleep_until, timeout},
};

/// How long starting or stopping a server may take.
const SERVER_WITHIN: Duration = Duration::from_secs(150);

/// A fault that has happened.
#[derive(Debug, Clone)]
pub struct Done {
    pub fault: Fault,
    /// When it was begun, and when what it hit was there again.
    pub from: Instant,
    pub to: Instant,
}

/// The servers of the stack.
pub struct Servers {
    script: PathBuf,
    stack_dir: PathBuf,
    log: PathBuf,
    turns: HashMap<&'static str, Mutex<()>>,
}

impl Servers {
    /// `script` is `scripts/stack.sh`.
    pub fn new(script: &Path, stack_dir: &Path, run_dir: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            script: script.canonicalize()?,
            stack_dir: stack_dir.canonicalize()?,
            log: run_dir.join("servers.log"),
            turns: SERVERS.into_iter().map(|server| (server, Mutex::new(()))).collect(),
        })
    }

    async fn run(&self, command: &str, server: &str) -> anyhow::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut run = Command::new(&self.script);
        run.args([command, server])
            .env("STACK", "dev")
            .env("STACK_DIR", &self.stack_dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let ended = timeout(SERVER_WITHIN, spawn_blocking(move || run.status())).await;
        let status = ended.with_context(|| format!("{command} {server} hangs"))???;
        if !status.success() {
            bail!("{command} {server} failed; {} tells why", self.log.display());
        }
        Ok(())
    }

    async fn hit(&self, fault: &Fault) -> anyhow::Result<()> {
        self.run(if fault.how == How::Killed { "kill" } else { "down" }, fault.what).await?;
        sleep(fault.away).await;
        self.run("up", fault.what).await
    }
}

/// What became of the schedule.
#[derive(Debug, Default)]
pub struct Outcome {
    pub done: Vec<Done>,
    /// On a machine that is too busy a server comes back so late that its next fault has no place any more.
    pub left_out: usize,
    pub problems: Vec<String>,
}

/// Carries out `schedule`, each fault at its time or as soon as the one before of the same thing is over; none begins after
/// `length`. Returns when everything is there again.
pub async fn carry_out(schedule: Vec<Fault>, length: Duration, fleet: &Rc<Fleet>, servers: &Rc<Servers>) -> Outcome {
    let start = Instant::now();
    let mut tasks = Vec::new();
    for fault in schedule {
        sleep_until((start + fault.at).into()).await;
        let (fleet, servers) = (Rc::clone(fleet), Rc::clone(servers));
        tasks.push(actix_web::rt::spawn(async move {
            let turn = match servers.turns.get(fault.what) {
                Some(turn) => Some(turn.lock().await),
                None => None,
            };
            let from = Instant::now();
            if from > start + length {
                return Ok(None);
            }
            if fault.is_server() {
                servers.hit(&fault).await?;
            } else {
                fleet.kill(fault.what, fault.away).await;
            }
            let to = Instant::now();
            if turn.is_some() {
                // The plan has this rest already; a machine on which the return took longer must not lose it.
                sleep_until((to + SERVER_REST).min(start + length).into()).await;
            }
            anyhow::Ok(Some(Done { fault, from, to }))
        }));
    }
    sleep_until((start + length).into()).await;
    let mut outcome = Outcome::default();
    for task in tasks {
        match task.await {
            Ok(Ok(Some(done))) => outcome.done.push(done),
            Ok(Ok(None)) => outcome.left_out += 1,
            Ok(Err(e)) => outcome.problems.push(format!("{e:#}")),
            Err(e) => outcome.problems.push(e.to_string()),
        }
    }
    outcome
}
