//! A hit of the tenant resolver beside an actix handler that does nothing, served and logged in the same way and asked with
//! the same requests.

use crate::{
    load::{Plan, median, write_requests, wrk},
    people::{Keys, Person, Target},
    process::Service,
    report::Verdicts,
    stack::Stack,
};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// As on the other paths.
const CONNECTIONS: u32 = 32;
/// Whose tenant is asked for.
const PERSON: Person = Person::admin(1);

/// What it takes.
pub struct Bench<'a> {
    /// The servers.
    pub stack: &'a Stack,
    /// Who asks.
    pub keys: &'a Keys,
    /// Folder of the programs.
    pub bin_dir: &'a Path,
    /// `wrk.lua`.
    pub lua: &'a Path,
    /// The first of three ports.
    pub port: u16,
}

impl Bench<'_> {
    /// Alternates between the resolver, the handler, and the handler without anything around it.
    pub fn measure(&self, plan: Plan, verdicts: &mut Verdicts) -> anyhow::Result<()> {
        let tenant = PERSON.tenant_id();
        // There with the data; alone it is all that is needed.
        self.stack.sql(&[&format!(
            "INSERT INTO tenant (id, name, slug) VALUES ('{tenant}', 'Bench', 'bench-1') ON CONFLICT DO NOTHING"
        )])?;
        let slug = self.stack.sql(&[&format!("SELECT slug FROM tenant WHERE id = '{tenant}'")])?;
        let requests = self.requests(&slug)?;
        // Built with this program.
        let empty = std::env::current_exe()?.with_file_name("empty");
        let sides = [
            self.start("tenant-resolver", &self.bin_dir.canonicalize()?.join("tenant-resolver"), 0, "0")?,
            self.start("empty handler", &empty, 1, "0")?,
            self.start("bare handler", &empty, 2, "1")?,
        ];
        let mut rates = [const { Vec::new() }; 3];
        let mut cpu = [0.0; 3];
        let mut answered = [0.0; 3];
        for round in 0..=plan.rounds {
            for turn in 0..sides.len() {
                // Whoever comes second may find warmer caches.
                let side = (turn + round) % sides.len();
                let (Some((service, base)), Some(rates)) = (sides.get(side), rates.get_mut(side)) else { continue };
                service.forget_log()?;
                let before = service.cpu()?;
                let seconds = if round == 0 { 1 } else { plan.seconds };
                let outcome = wrk(self.lua, base, &requests, CONNECTIONS, seconds)?;
                // The first round fills caches and verifies tokens.
                if round > 0 {
                    rates.push(outcome.per_second);
                    if let (Some(cpu), Some(answered)) = (cpu.get_mut(side), answered.get_mut(side)) {
                        *cpu += service.cpu()?.saturating_sub(before) as f64;
                        *answered += outcome.requests;
                    }
                }
            }
        }
        let [hit, empty, bare] = rates.map(median);
        println!("\nTenant resolve (hit)      http/s   CPU µs");
        for ((name, rate), (cpu, answered)) in
            [("resolver", hit), ("empty handler", empty), ("without our middleware", bare)]
                .into_iter()
                .zip(cpu.into_iter().zip(answered))
        {
            println!("{name:<24}{rate:>8.0}{:>9.1}", cpu / answered);
        }
        verdicts.share("tenant resolve (hit)", 100.0 * hit / empty, 80.0, "an empty handler");
        Ok(())
    }

    fn start(&self, name: &'static str, program: &Path, offset: u16, bare: &str) -> anyhow::Result<(Service, String)> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port + offset));
        let mut settings = vec![
            ("TENANT_RESOLVER_LISTEN", address.to_string()),
            ("LISTEN", address.to_string()),
            ("BARE", bare.to_owned()),
            ("INTERNAL_PUBLIC_KEYS", self.keys.public_key().to_owned()),
            ("LOG_LEVEL", "info".to_owned()),
            ("LOG_FORMAT", "json".to_owned()),
        ];
        for name in ["DATABASE_URL", "AMQP_URL"] {
            settings.push((name, self.stack.address(name)?.to_owned()));
        }
        let log = self.stack.file(&format!("run/{}.log", name.replace(' ', "-")));
        Ok((Service::start(name, program, &settings, address, &log)?, format!("http://{address}")))
    }

    fn requests(&self, slug: &str) -> anyhow::Result<PathBuf> {
        let credential = self.keys.credential(PERSON, Target::TenantResolver)?;
        let file = self.stack.file("run/resolve.lua");
        let paths = [slug.to_owned(), PERSON.tenant_id().to_string()].map(|i| format!("/api/tenantresolve/{i}"));
        write_requests(&file, "GET", Some(credential), None, paths.iter().map(|path| (path.as_str(), None)))?;
        Ok(file)
    }
}
