//! The layout as a table: what each crate may be built with. A crate without a row is a violation, so that a new one
//! gets its place on purpose. Dev-dependencies are free.

use super::Package;

/// Where this table is, for messages.
pub const FILE: &str = "crates/xtask/src/arch/rules.rs";

/// Domains know each other only through a service or an event, and neither HTTP nor the broker nor Redis.
const DOMAINS: &[&str] =
    &["aisha-audit", "aisha-crm", "aisha-identity", "aisha-operations", "aisha-tenancy", "aisha-webhooks"];

/// Never part of what runs.
pub const TOOLS: &[&str] = &["aisha-bench", "aisha-chaos", "aisha-testkit", "xtask"];

/// Each crate and the crates of the workspace that it may depend on.
pub const ARROWS: &[(Source, Targets)] = &[
    (Source::Crates(&["aisha-kernel"]), Targets::Only(&[])),
    (Source::Crates(&["aisha-auth", "aisha-config", "aisha-csv"]), Targets::Only(&["aisha-kernel"])),
    // Take their settings as the sections that `config` reads.
    (Source::Crates(&["aisha-clients", "aisha-telemetry"]), Targets::Only(&["aisha-config", "aisha-kernel"])),
    (Source::Crates(&["aisha-cache", "aisha-db"]), Targets::Only(&["aisha-auth", "aisha-kernel"])),
    // Stores what telemetry collects.
    (
        Source::Crates(&["aisha-operations"]),
        Targets::Only(&["aisha-auth", "aisha-csv", "aisha-db", "aisha-kernel", "aisha-telemetry"]),
    ),
    (Source::Crates(DOMAINS), Targets::Only(&["aisha-auth", "aisha-csv", "aisha-db", "aisha-kernel"])),
    (
        Source::Crates(&["aisha-bus", "aisha-http"]),
        Targets::Only(&["aisha-auth", "aisha-cache", "aisha-config", "aisha-db", "aisha-kernel", "aisha-telemetry"]),
    ),
    (Source::Services, Targets::Libraries),
    (Source::Crates(TOOLS), Targets::Anything),
];

/// Libraries from outside that only some crates may name.
pub const EXTERNAL: &[External] = &[
    External {
        libraries: &["actix*", "bb8", "diesel*", "lapin", "redis", "reqwest", "tokio*"],
        who: Who::Only(&["aisha-kernel"]),
        reason: "the kernel does no I/O",
    },
    External {
        libraries: &["actix*", "awc", "lapin", "redis"],
        who: Who::Only(DOMAINS),
        reason: "domains know neither HTTP nor the broker nor Redis",
    },
    External {
        libraries: &["bb8", "tokio-postgres"],
        who: Who::AllBut(&["aisha-chaos", "aisha-db", "aisha-testkit", "xtask"]),
        reason: "connections are made in aisha-db only",
    },
    External {
        libraries: &["diesel", "diesel-async"],
        who: Who::AllBut(&["aisha-db", "aisha-crm", "aisha-identity", "aisha-tenancy", "aisha-testkit", "xtask"]),
        reason: "SQL belongs to aisha-db and the domains",
    },
];

/// The crates that a row is about.
pub enum Source {
    Crates(&'static [&'static str]),
    /// Everything under `services/`.
    Services,
}

impl Source {
    pub fn covers(&self, package: &Package) -> bool {
        match self {
            Self::Crates(names) => names.contains(&package.name.as_str()),
            Self::Services => package.is_service,
        }
    }
}

/// The crates of the workspace that may be depended on.
pub enum Targets {
    Only(&'static [&'static str]),
    /// All but services and [`TOOLS`].
    Libraries,
    Anything,
}

/// The crates that a rule about libraries binds.
pub enum Who {
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

/// Libraries that the crates in `who` may not depend on.
pub struct External {
    /// Package names; a `*` at the end stands for any ending.
    pub libraries: &'static [&'static str],
    pub who: Who,
    pub reason: &'static str,
}

impl External {
    pub fn covers(&self, package: &str) -> bool {
        self.libraries.iter().any(|library| match library.strip_suffix('*') {
            Some(start) => package.starts_with(start),
            None => package == *library,
        })
    }
}
