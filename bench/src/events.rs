//! From the commit of a change to the receiver of a webhook: how long it takes, how much goes through, and what the relay
//! needs while a million events wait.
//!
//! Everything shares the processors: the services, Postgres, the broker and the receiver, which answers at once.

use crate::{
    Launch, Options,
    http::Api,
    load::{Plan, median, write_requests, wrk},
    people::Person,
    process::{Service, cpu_of_tree},
    report::Verdicts,
    stack::{PUBLISHED, Stack},
};
use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

/// Whose records change.
const PERSON: Person = Person::admin(3);
/// Changes per second while the delay is measured, at least.
const CHANGES: f64 = 200.0;
/// Connections that make them, and how long each waits before a request, in milliseconds: 250 a second and less, by as much as
/// requests take.
const CHANGING: u32 = 12;
const PAUSE: u32 = 48;
/// What a subscription's requests use at once unless it says otherwise: as many connections for wrk.
const CONNECTIONS: u32 = 8;

/// How much is measured.
struct Size {
    /// Seconds of changes.
    seconds: u64,
    /// Deliveries that go through.
    deliveries: u64,
    /// Events that wait: few, and many.
    waiting: [u64; 2],
}

/// What it takes.
pub struct Bench<'a> {
    /// Where programs and ports are.
    pub options: &'a Options,
    /// The servers.
    pub stack: &'a Stack,
    /// The API of the services that this starts.
    pub api: &'a Api,
}

impl Bench<'_> {
    fn size(&self) -> Size {
        if self.options.quick {
            Size { seconds: 5, deliveries: 5_000, waiting: [10_000, 100_000] }
        } else {
            Size { seconds: 30, deliveries: 20_000, waiting: [10_000, 1_000_000] }
        }
    }

    /// Measures all of it, and leaves what it wrote. No other service may run on these servers: its relay would take part.
    pub fn measure(&self, verdicts: &mut Verdicts) -> anyhow::Result<()> {
        println!("\n==> events");
        let size = self.size();
        self.deliveries(&size, verdicts)?;
        self.backlog(&size, verdicts)
    }

    fn deliveries(&self, size: &Size, verdicts: &mut Verdicts) -> anyhow::Result<()> {
        let receiver_at = SocketAddr::from(([127, 0, 0, 1], self.options.port + 5));
        let url = format!("http://{receiver_at}");
        let receiver = self.start(&Launch {
            name: "empty",
            address: receiver_at,
            settings: vec![("LISTEN", receiver_at.to_string()), ("BARE", "1".to_owned())],
        })?;
        let mut launches = self.options.launches(self.stack, &self.api.keys)?;
        for launch in &mut launches {
            launch.settings.push(("WEBHOOKS_ENABLED", "true".to_owned()));
            launch.settings.push(("WEBHOOK_ALLOWED_HOSTS", receiver_at.to_string()));
        }
        let mut services = launches.iter().rev().map(|l| self.start(l)).collect::<Result<Vec<_>, _>>()?;
        self.stack.settle()?;
        let subscription = json!({ "url": format!("{url}/hook"), "event_types": ["contact.*"] });
        let made = self.api.post(PERSON, "/api/webhooks", &subscription)?;
        let id = made.pointer("/data/id").and_then(Value::as_str).context("the subscription has no id")?;
        let webhook = Webhook { bench: self, id: id.to_owned() };

        let delay = webhook.delay(size.seconds)?;
        println!(
            "commit to first attempt, {:.0} changes/s for {} s: p50 {:.0} ms, p99 {:.0} ms, at most {:.0} ms",
            delay.rate, size.seconds, delay.p50, delay.p99, delay.most
        );
        let text =
            format!("commit to first attempt: p99 {:.0} ms at {:.0} changes/s (at most 500 ms)", delay.p99, delay.rate);
        verdicts.judge(delay.p99 <= 500.0 && delay.rate >= CHANGES, text);

        services.insert(0, receiver);
        println!("deliveries                    /s   CPU µs each: {}, postgres", names(&services));
        let backlog = webhook.empty_backlog(size.deliveries, &services)?;
        let bare = self.wrk(&url, &webhook.body()?)?;
        println!("{:<24}{:>8.0}{}", "from a backlog", backlog.rate, backlog.cpu());
        let chain = webhook.whole_chain(size.deliveries, &services)?;
        println!("{:<24}{:>8.0}{}", "from commits on", chain.rate, chain.cpu());
        println!("{:<24}{bare:>8.0}", "wrk to the same receiver");
        let text = format!(
            "deliveries: {:.0}/s, {:.0} % of what wrk sends there (at least 1000/s)",
            backlog.rate,
            100.0 * backlog.rate / bare
        );
        verdicts.judge(backlog.rate >= 1_000.0, text);
        Ok(())
    }

    /// The same body to the same receiver over as many connections, without anything that is done for it.
    fn wrk(&self, url: &str, body: &str) -> anyhow::Result<f64> {
        let file = self.stack.file("run/delivery.lua");
        write_requests(&file, "POST", None, None, [("/hook", Some(body.to_owned()))])?;
        let Plan { rounds, seconds } = self.options.plan();
        let rates: Result<Vec<f64>, _> = (0..rounds)
            .map(|_| Ok::<_, anyhow::Error>(wrk(&self.options.lua, url, &file, CONNECTIONS, seconds)?.per_second))
            .collect();
        Ok(median(rates?))
    }

    fn start(&self, launch: &Launch<'static>) -> anyhow::Result<Service> {
        // The receiver is built with this program.
        let program = match launch.name {
            "empty" => std::env::current_exe()?.with_file_name("empty"),
            name => self.options.bin_dir.canonicalize()?.join(name),
        };
        let log = self.stack.file(&format!("run/{}.log", launch.name));
        Service::start(launch.name, &program, &launch.settings, launch.address, &log)
    }

    /// Starts a relay while few and while many events wait, and lets it publish all of them.
    fn backlog(&self, size: &Size, verdicts: &mut Verdicts) -> anyhow::Result<()> {
        println!("relay, waiting events      events/s   peak RSS   CPU µs per event: relay, postgres");
        let mut peaks = Vec::new();
        for waiting in size.waiting {
            self.stack.clean()?;
            self.pile_up(waiting)?;
            let mut launches = self.options.launches(self.stack, &self.api.keys)?;
            let mut launch = launches.pop().context("no crm-core")?;
            launch.settings.push(("CRM_CORE_ROLES", "relay".to_owned()));
            let postmaster = self.stack.postmaster()?;
            let (postgres, began) = (cpu_of_tree(postmaster)?, Instant::now());
            let relay = self.start(&launch)?;
            let all = self.until(|| Ok(self.stack.sql(&[PUBLISHED])? == "t"), Duration::from_millis(200))?;
            let seconds = all.duration_since(began).as_secs_f64();
            let peak = relay.memory()?.peak as f64 / 1_024.0;
            let each = |micros: u64| micros as f64 / waiting as f64;
            println!(
                "{waiting:>21}{:>14.0}{peak:>8.1} MB{:>12.0}{:>7.0}",
                waiting as f64 / seconds,
                each(relay.cpu()?),
                each(cpu_of_tree(postmaster)?.saturating_sub(postgres))
            );
            peaks.push((waiting, peak));
        }
        if let [(few, a), (many, b)] = *peaks {
            let text =
                format!("relay: memory {a:.1} MB with {few} waiting events, {b:.1} MB with {many} (flat: within 8 MB)");
            verdicts.judge(b <= a + 8.0, text);
        }
        Ok(())
    }

    /// Events of contacts as they are, of a kind that no queue is bound to: the broker takes them and keeps none, so that the
    /// relay's memory is what is measured and not a queue.
    fn pile_up(&self, count: u64) -> anyhow::Result<()> {
        self.stack.sql(&[
            &format!(
                "INSERT INTO event_outbox (tenant_id, event, entity, record_id, shard, data) \
                 SELECT tenant_id, 'contact.deleted', 'contact', id, abs(hashtext(id::text)) % 64, to_jsonb(c) \
                 FROM contacts c LIMIT {count}"
            ),
            "VACUUM (ANALYZE) event_outbox",
        ])?;
        Ok(())
    }

    /// Asks until something is so; when it was.
    fn until(&self, is: impl Fn() -> anyhow::Result<bool>, every: Duration) -> anyhow::Result<Instant> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(900) {
            if is()? {
                return Ok(Instant::now());
            }
            sleep(every);
        }
        bail!("not done after 15 minutes")
    }
}

fn names(services: &[Service]) -> String {
    services.iter().map(|s| s.name).collect::<Vec<_>>().join(", ")
}

/// A subscription that is measured.
struct Webhook<'a> {
    bench: &'a Bench<'a>,
    id: String,
}

/// Milliseconds from the commit to the first attempt.
struct Delay {
    /// Changes per second that there really were.
    rate: f64,
    p50: f64,
    p99: f64,
    most: f64,
}

/// What went through.
struct Through {
    /// Deliveries per second.
    rate: f64,
    /// Microseconds of each process per delivery.
    spent: Vec<f64>,
}

impl Through {
    fn cpu(&self) -> String {
        self.spent.iter().map(|c| format!("{c:>8.0}")).collect()
    }
}

impl Webhook<'_> {
    fn sql(&self, statement: &str) -> anyhow::Result<String> {
        self.bench.stack.sql(&[statement])
    }

    /// Deliveries that match.
    fn count(&self, which: &str) -> anyhow::Result<u64> {
        let statement = format!("SELECT count(*) FROM webhook_delivery WHERE webhook_id = '{}' AND {which}", self.id);
        Ok(self.sql(&statement)?.parse()?)
    }

    fn delivered(&self, count: u64) -> anyhow::Result<()> {
        self.bench.until(|| Ok(self.count("state = 'delivered'")? >= count), Duration::from_millis(500))?;
        let other = self.count("state <> 'delivered'")?;
        ensure!(other == 0, "{other} deliveries failed");
        Ok(())
    }

    fn forget(&self) -> anyhow::Result<()> {
        self.bench.stack.sql(&[
            "TRUNCATE webhook_message, webhook_delivery, webhook_attempt",
            "UPDATE webhook_ledger SET taken_on = 0",
        ])?;
        Ok(())
    }

    /// Contacts are made over the API for that long.
    fn delay(&self, seconds: u64) -> anyhow::Result<Delay> {
        let api = self.bench.api;
        let file = self.bench.stack.file("run/change.lua");
        let contact = json!({ "first_name": "Marta", "last_name": "Sommer", "job_title": "Buyer", "city": "Bremen" });
        let requests = [("/api/contacts", Some(contact.to_string()))];
        write_requests(&file, "POST", Some(api.keys.credential(PERSON, api.target)?), Some(PAUSE), requests)?;
        let mut rate = 0.0;
        // The first changes fill caches and pools.
        for seconds in [2, seconds] {
            self.forget()?;
            rate = wrk(&self.bench.options.lua, &api.base, &file, CHANGING, seconds)?.per_second;
            // Those whose answer wrk did not wait for are changes too.
            let made = self.sql("SELECT count(*) FROM event_outbox WHERE event = 'contact.created'")?.parse()?;
            self.delivered(made)?;
            self.bench.stack.sql(&["TRUNCATE event_outbox"])?;
        }
        let line = self.sql(&format!(
            "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY delay), percentile_disc(0.99) WITHIN GROUP (ORDER BY delay), max(delay) \
             FROM (SELECT extract(epoch FROM d.first_attempt_at - m.happened_at) * 1000 AS delay \
                   FROM webhook_delivery d JOIN webhook_message m USING (tenant_id, event_id) WHERE d.webhook_id = '{}') AS all_of_them",
            self.id
        ))?;
        let numbers: Vec<f64> = line.split('|').filter_map(|n| n.parse().ok()).collect();
        let [p50, p99, most] = *numbers else { bail!("no deliveries: {line}") };
        Ok(Delay { rate, p50, p99, most })
    }

    /// A body as it is sent.
    fn body(&self) -> anyhow::Result<String> {
        self.sql("SELECT body FROM webhook_message LIMIT 1")
    }

    /// Deliveries wait while the subscription is paused, and then go out.
    fn empty_backlog(&self, count: u64, services: &[Service]) -> anyhow::Result<Through> {
        self.forget()?;
        self.bench.api.post(PERSON, &format!("/api/webhooks/{}/pause", self.id), &json!({}))?;
        self.sql(&insert(count))?;
        self.bench.until(|| Ok(self.count("true")? == count), Duration::from_millis(200))?;
        self.bench.stack.sql(&["VACUUM ANALYZE webhook_delivery", "CHECKPOINT"])?;
        let before = self.cpu(services)?;
        self.bench.api.post(PERSON, &format!("/api/webhooks/{}/resume", self.id), &json!({}))?;
        self.delivered(count)?;
        self.through(count, "min(first_attempt_at)", &before, services)
    }

    /// The changes are committed at once; everything from there on is measured.
    fn whole_chain(&self, count: u64, services: &[Service]) -> anyhow::Result<Through> {
        self.forget()?;
        let before = self.cpu(services)?;
        self.sql(&insert(count))?;
        self.delivered(count)?;
        self.through(count, "(SELECT max(happened_at) FROM webhook_message)", &before, services)
    }

    fn through(&self, count: u64, from: &str, before: &[u64], services: &[Service]) -> anyhow::Result<Through> {
        let seconds: f64 = self
            .sql(&format!(
                "SELECT extract(epoch FROM max(finished_at) - {from}) FROM webhook_delivery WHERE webhook_id = '{}'",
                self.id
            ))?
            .parse()?;
        let after = self.cpu(services)?;
        let spent = after.iter().zip(before).map(|(a, b)| a.saturating_sub(*b) as f64 / count as f64).collect();
        Ok(Through { rate: count as f64 / seconds, spent })
    }

    fn cpu(&self, services: &[Service]) -> anyhow::Result<Vec<u64>> {
        let mut all = services.iter().map(Service::cpu).collect::<Result<Vec<_>, _>>()?;
        all.push(cpu_of_tree(self.bench.stack.postmaster()?)?);
        Ok(all)
    }
}

/// New contacts, each an event.
fn insert(count: u64) -> String {
    format!(
        "INSERT INTO contacts (tenant_id, first_name, last_name, email, phone, job_title, city, country, notes) \
         SELECT '{}', 'Marta', 'Sommer-' || n, 'marta.sommer' || n || '@events.example', '+49 30 6' || n, 'Buyer', 'Bremen', \
             'Germany', 'Met at the fair, wants an offer' FROM generate_series(1, {count}) AS n",
        PERSON.tenant_id()
    )
}
