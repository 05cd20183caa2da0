//! The services as child processes: started, killed, started again, and looked after.

use crate::{
    schedule::SERVICES,
    settings::{Settings, Spec},
};
use aisha_testkit::Client;
use anyhow::{Context as _, bail};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io,
    process::{Child, Command, ExitStatus, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

/// How long a service may take until it is ready, on a machine that does other things as well.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// Between two looks at whether one has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a service may take to end when it is asked to.
const END_WITHIN: Duration = Duration::from_secs(40);

enum Order {
    /// Dies, and is started again after this; the answer comes when it is.
    Kill(Duration, oneshot::Sender<()>),
    /// Ends as an administrator has it end; the answer says how.
    End(oneshot::Sender<anyhow::Result<()>>),
}

/// All services.
pub struct Fleet {
    members: BTreeMap<&'static str, Member>,
    /// Services that ended although nobody had asked them to.
    pub ended_alone: Rc<RefCell<Vec<String>>>,
    settings: Rc<Settings>,
}

struct Member {
    orders: mpsc::UnboundedSender<Order>,
    task: JoinHandle<()>,
}

impl Fleet {
    /// Starts them and waits until all are ready.
    pub async fn start(settings: &Rc<Settings>) -> anyhow::Result<Self> {
        let ended_alone = Rc::new(RefCell::new(Vec::new()));
        let mut members = BTreeMap::new();
        for name in SERVICES {
            let spec = settings.spec(name)?;
            let (orders, given) = mpsc::unbounded_channel();
            let child = spawn(&spec)?;
            let task = actix_web::rt::spawn(look_after(spec, child, given, Rc::clone(&ended_alone)));
            members.insert(name, Member { orders, task });
        }
        let this = Self { members, ended_alone, settings: Rc::clone(settings) };
        this.ready(READY_WITHIN).await?;
        Ok(this)
    }

    /// Waits until every service is ready and misses nothing.
    pub async fn ready(&self, patience: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + patience;
        for name in SERVICES {
            let client = Client::anonymous(&self.settings.url(name));
            loop {
                let state = match timeout(Duration::from_secs(5), client.try_send("GET", "/ready", &[], None)).await {
                    Ok(Ok(reply)) if reply.status == 200 && no_worse(&reply.json()) => break,
                    Ok(Ok(reply)) => reply.text,
                    Ok(Err(e)) => e,
                    Err(_) => "no answer".to_owned(),
                };
                if Instant::now() > end {
                    bail!("{name} is not ready: {state}");
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// Kills a service, and returns when it has been started again.
    pub async fn kill(&self, name: &str, away: Duration) {
        let (done, answer) = oneshot::channel();
        if let Some(member) = self.members.get(name) {
            let _ = member.orders.send(Order::Kill(away, done));
            let _ = answer.await;
        }
    }

    /// Has every service end, and says which did not do so in order.
    pub async fn end(self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut answers = Vec::new();
        for (name, member) in &self.members {
            let (done, answer) = oneshot::channel();
            let _ = member.orders.send(Order::End(done));
            answers.push((*name, answer));
        }
        for (name, answer) in answers {
            match answer.await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => problems.push(format!("{name}: {e:#}")),
                Err(_) => problems.push(format!("{name}: nobody looked after it")),
            }
        }
        for member in self.members.into_values() {
            let _ = member.task.await;
        }
        problems
    }
}

/// `degraded` names what a service does without.
fn no_worse(ready: &serde_json::Value) -> bool {
    ready.get("degraded").and_then(|d| d.as_array()).is_none_or(Vec::is_empty)
}

/// A process that does not outlive its keeper.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

impl Running {
    /// SIGKILL.
    fn kill(&mut self) -> io::Result<ExitStatus> {
        self.0.kill()?;
        self.0.wait()
    }

    /// Waits until it ends by itself.
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

fn spawn(spec: &Spec) -> anyhow::Result<Running> {
    let log = OpenOptions::new().create(true).append(true).open(&spec.log)?;
    Command::new(&spec.program)
        .env_clear()
        .envs(spec.env.iter().map(|(k, v)| (*k, v.as_str())))
        // Away from any .env.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .map(Running)
        .with_context(|| format!("cannot start {}", spec.program.display()))
}

async fn look_after(
    spec: Spec,
    mut child: Running,
    mut orders: mpsc::UnboundedReceiver<Order>,
    ended_alone: Rc<RefCell<Vec<String>>>,
) {
    loop {
        let mut done = None;
        tokio::select! {
            status = child.wait() => {
                ended_alone.borrow_mut().push(format!("{}: {}", spec.name, how(status)));
                sleep(Duration::from_secs(1)).await;
            }
            order = orders.recv() => match order {
                Some(Order::Kill(away, answer)) => {
                    let _ = child.kill();
                    sleep(away).await;
                    done = Some(answer);
                }
                Some(Order::End(answer)) => {
                    let _ = answer.send(end(&mut child).await);
                    return;
                }
                None => return,
            },
        }
        match spawn(&spec) {
            Ok(started) => child = started,
            Err(e) => {
                ended_alone.borrow_mut().push(format!("{}: {e:#}", spec.name));
                return;
            }
        }
        if let Some(done) = done {
            let _ = done.send(());
        }
    }
}

fn how(status: io::Result<ExitStatus>) -> String {
    status.map_or_else(|e| e.to_string(), |s| s.to_string())
}

async fn end(child: &mut Running) -> anyhow::Result<()> {
    let asked = Command::new("kill").args(["-TERM", &child.0.id().to_string()]).status()?;
    if !asked.success() {
        bail!("cannot be asked to end");
    }
    match timeout(END_WITHIN, child.wait()).await {
        Ok(status) if status.as_ref().is_ok_and(ExitStatus::success) => Ok(()),
        Ok(status) => bail!("asked to end, it ended with {}", how(status)),
        Err(_) => {
            child.kill()?;
            bail!("does not end within {} s of being asked to", END_WITHIN.as_secs());
        }
    }
}

/// What `crm-core audit-verify` finds in the chains of the audit log, which were sealed by whoever lived just then.
pub fn audit_chains(settings: &Settings) -> anyhow::Result<Vec<String>> {
    let spec = settings.spec("api")?;
    let verify = Command::new(&spec.program)
        .arg("audit-verify")
        .env_clear()
        .envs(spec.env.iter().map(|(k, v)| (*k, v.as_str())))
        .current_dir("/")
        .output()?;
    let said = [verify.stdout, verify.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    Ok(if verify.status.success() { Vec::new() } else { vec![format!("the audit log does not verify: {said}")] })
}

/// The lines of the services' logs that tell of a panic.
pub fn panics(settings: &Settings) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for name in SERVICES {
        let log = settings.log(name);
        let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        found.extend(text.lines().filter(|l| l.contains("panicked at")).map(|l| format!("{name}: {l}")));
    }
    Ok(found)
}
