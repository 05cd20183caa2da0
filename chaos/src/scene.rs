//! Tenants, people, subscriptions, and everybody at work.

use crate::{
    follow::{Followed, follow},
    load::{Log, Resolved, Writer, resolve},
    person::Person,
    receivers::{Subscription, Waiting, wanted},
    settings::Settings,
    verdict,
};
use anyhow::Context as _;
use fastrand::Rng;
use serde_json::json;
use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use uuid::Uuid;

const TENANTS: usize = 3;
const WRITERS: usize = 2;
/// How long a request of the setup may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the writers may take to come to an end.
const LAST_WRITES: Duration = Duration::from_secs(70);
const COLLECT_EVERY: Duration = Duration::from_millis(200);

/// A tenant, and who looks after its webhooks.
pub struct Tenant {
    pub id: Uuid,
    pub admin: Rc<Person>,
}

/// Everything at work.
pub struct Scene {
    pub tenants: Vec<Tenant>,
    pub subscriptions: Rc<RefCell<Vec<Subscription>>>,
    pub log: Rc<RefCell<Log>>,
    pub resolved: Rc<RefCell<Resolved>>,
    pub followed: Vec<Rc<RefCell<Followed>>>,
    /// When the load began and ended.
    pub load: (Instant, Instant),
    writers: Vec<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    stop_writers: watch::Sender<bool>,
    stop_others: watch::Sender<bool>,
}

impl Scene {
    /// Makes tenants and subscriptions, and has everybody begin.
    pub async fn set(settings: &Rc<Settings>, seed: u64, email: &str, password: &str) -> anyhow::Result<Self> {
        let base = settings.url("gateway");
        let root = Person::new(&base, email, password);
        let (stop_writers, stop_others) = (watch::Sender::new(false), watch::Sender::new(false));
        let mut scene = Self {
            tenants: Vec::new(),
            subscriptions: Rc::default(),
            log: Rc::default(),
            resolved: Rc::default(),
            followed: Vec::new(),
            load: (Instant::now(), Instant::now()),
            writers: Vec::new(),
            others: Vec::new(),
            stop_writers,
            stop_others,
        };
        for number in 0..TENANTS {
            let rng = Rng::with_seed(seed ^ (1 + number as u64) << 32);
            scene.tenant(settings, &root, (number, &base, password), rng).await?;
        }
        let subscriptions = Rc::clone(&scene.subscriptions);
        let mut stop = scene.stop_others.subscribe();
        scene.others.push(actix_web::rt::spawn(async move {
            while timeout(COLLECT_EVERY, stop.wait_for(|stop| *stop)).await.is_err() {
                subscriptions.borrow_mut().iter_mut().for_each(Subscription::collect);
            }
        }));
        scene.load.0 = Instant::now();
        Ok(scene)
    }

    async fn tenant(
        &mut self,
        settings: &Rc<Settings>,
        root: &Person,
        (number, base, password): (usize, &str, &str),
        mut rng: Rng,
    ) -> anyhow::Result<()> {
        let slug = format!("chaos-{number}");
        let tenant = json!({ "name": format!("Chaos {number}"), "slug": slug });
        let (id, _) = root.make("/api/tenants", &tenant, PATIENCE).await?;
        let email = format!("admin@{slug}.example");
        let user = json!({ "tenant_id": id, "email": email, "role": "admin", "password": password,
                           "first_name": "Ada", "last_name": "Min" });
        root.make("/api/users", &user, PATIENCE).await?;
        let admin = Rc::new(Person::new(base, &email, password));
        let db = crate::database(settings).await?;
        for (patterns, manner) in wanted(number) {
            let waiting = Waiting::start(patterns, manner);
            let body = json!({ "url": waiting.url(), "event_types": waiting.patterns() });
            let (webhook, data) = admin.make("/api/webhooks", &body, PATIENCE).await?;
            let secret = data["secret"].as_str().context("a webhook without a secret")?;
            // Nobody else is at work in this tenant yet.
            let before = crate::checks::events(&db).await?.into_iter().map(|event| event.id).collect();
            self.subscriptions.borrow_mut().push(waiting.subscribed(id, webhook, secret, before));
        }
        let followed = Rc::new(RefCell::new(Followed { tenant: id, ..Followed::default() }));
        let follower = Rc::new(Person::new(base, &email, password));
        let following = follow(follower, Rc::clone(&followed), rng.fork(), self.stop_others.subscribe());
        self.others.push(actix_web::rt::spawn(following));
        self.followed.push(followed);
        let asker = Rc::new(Person::new(base, &email, password));
        let asking = resolve(asker, slug, id, Rc::clone(&self.resolved), self.stop_writers.subscribe());
        self.others.push(actix_web::rt::spawn(asking));
        for writer in 0..WRITERS {
            let writer = Writer {
                number: number * WRITERS + writer,
                tenant: id,
                person: Rc::new(Person::new(base, &email, password)),
                log: Rc::clone(&self.log),
                rng: rng.fork(),
            };
            self.writers.push(actix_web::rt::spawn(writer.run(self.stop_writers.subscribe())));
        }
        self.tenants.push(Tenant { id, admin });
        Ok(())
    }

    /// What there is.
    pub fn describe(&self) -> String {
        let subscriptions = self.subscriptions.borrow().len();
        format!(
            "{} tenants, {} writers, {subscriptions} subscriptions, {} live streams",
            self.tenants.len(),
            self.writers.len(),
            self.followed.len()
        )
    }

    /// Waits until everything works: each writer has written, each receiver has got something, each stream has shown
    /// something. What does not work before the first fault proves nothing.
    pub async fn warm_up(&self, settings: &Settings, patience: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + patience;
        loop {
            let quiet = self.still_quiet();
            if quiet.is_empty() {
                break;
            }
            if Instant::now() > end {
                anyhow::bail!("before the first fault nothing comes to {}", quiet.join(", "));
            }
            sleep(COLLECT_EVERY).await;
        }
        let db = crate::database(settings).await?;
        anyhow::ensure!(
            verdict::durable(&db).await?,
            "Postgres does not wait for the disk: killing it would prove nothing"
        );
        Ok(())
    }

    fn still_quiet(&self) -> Vec<String> {
        let mut quiet: Vec<String> =
            self.subscriptions.borrow().iter().filter(|s| s.ledger.requests == 0).map(Subscription::name).collect();
        let streams = self.followed.iter().filter(|f| f.borrow().seen.is_empty());
        quiet.extend(streams.map(|f| format!("the stream of {}", f.borrow().tenant)));
        if self.log.borrow().acknowledged.len() < self.writers.len() * 3 {
            quiet.push("the writers".to_owned());
        }
        quiet
    }

    /// Has the writers come to an end.
    pub async fn end_load(&mut self, quiet: Instant) {
        self.load.1 = quiet;
        self.stop_writers.send_replace(true);
        for writer in self.writers.drain(..) {
            let _ = timeout(LAST_WRITES, writer).await;
        }
    }

    /// Has everybody come to an end.
    pub async fn end_all(&mut self) {
        self.stop_others.send_replace(true);
        for task in self.others.drain(..) {
            let _ = timeout(PATIENCE, task).await;
        }
    }

    /// The tenant of a subscription.
    pub fn tenant_of(&self, subscription: &Subscription) -> anyhow::Result<&Tenant> {
        self.tenants.iter().find(|t| t.id == subscription.tenant).context("a subscription of nobody")
    }
}
