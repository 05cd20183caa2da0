//! A sound graph passes, and each rule is seen to fail.

use super::*;

fn package(name: &str, dependencies: &[&str]) -> Package {
    Package {
        name: name.to_owned(),
        is_service: ["aisha-gateway", "aisha-crm-core", "aisha-tenant-resolver"].contains(&name),
        dependencies: dependencies.iter().map(|&d| d.to_owned()).collect(),
        inherits_lints: true,
    }
}

/// Every crate using all that it may.
fn sound() -> Vec<Package> {
    let glue = ["aisha-auth", "aisha-cache", "aisha-config", "aisha-db", "aisha-kernel", "aisha-telemetry"];
    let service = [
        &glue[..],
        &["aisha-clients", "aisha-crm", "aisha-identity", "aisha-tenancy", "aisha-http", "aisha-bus"],
        &["actix-web"],
    ]
    .concat();
    vec![
        package("aisha-kernel", &["serde", "uuid"]),
        package("aisha-auth", &["aisha-kernel"]),
        package("aisha-config", &["aisha-kernel"]),
        package("aisha-csv", &["aisha-kernel"]),
        package("aisha-telemetry", &["aisha-kernel", "aisha-config"]),
        package("aisha-clients", &["aisha-kernel", "aisha-config", "lettre"]),
        package("aisha-cache", &["aisha-kernel", "aisha-auth", "redis"]),
        package("aisha-db", &["aisha-kernel", "aisha-auth", "bb8", "diesel", "diesel-async", "tokio-postgres"]),
        package("aisha-crm", &["aisha-kernel", "aisha-auth", "aisha-csv", "aisha-db", "diesel"]),
        package("aisha-identity", &["aisha-kernel", "aisha-auth", "aisha-csv", "aisha-db", "diesel"]),
        package("aisha-tenancy", &["aisha-kernel", "aisha-auth", "aisha-db", "diesel", "diesel-async"]),
        package("aisha-audit", &["aisha-kernel", "aisha-auth", "aisha-csv", "aisha-db"]),
        package("aisha-operations", &["aisha-kernel", "aisha-auth", "aisha-csv", "aisha-db", "aisha-telemetry"]),
        package("aisha-webhooks", &["aisha-kernel", "aisha-auth", "aisha-db"]),
        package("aisha-http", &[&glue[..], &["actix-web"]].concat()),
        package("aisha-bus", &[&glue[..], &["lapin"]].concat()),
        package("aisha-testkit", &["aisha-db", "aisha-http", "aisha-gateway", "tokio-postgres"]),
        package("aisha-bench", &["aisha-auth", "aisha-kernel"]),
        package("aisha-chaos", &["aisha-testkit", "tokio-postgres"]),
        package("xtask", &["aisha-gateway", "aisha-crm-core", "tokio-postgres"]),
        package("aisha-gateway", &service),
        package("aisha-crm-core", &service),
        package("aisha-tenant-resolver", &service),
    ]
}

/// What the sound graph says after one more dependency.
fn with(name: &str, dependency: &str) -> Vec<String> {
    let mut packages = sound();
    packages.iter_mut().find(|p| p.name == name).unwrap().dependencies.push(dependency.to_owned());
    violations(&packages)
}

#[test]
fn a_sound_graph_passes() {
    assert_eq!(violations(&sound()), Vec::<String>::new());
}

#[test]
fn each_arrow_that_is_not_drawn_fails() {
    for (from, to, why) in [
        ("aisha-kernel", "aisha-auth", "it may depend on no crate of the workspace"),
        ("aisha-auth", "aisha-db", "it may depend on aisha-kernel only"),
        ("aisha-db", "aisha-config", "it may depend on aisha-auth, aisha-kernel only"),
        ("aisha-crm", "aisha-identity", "it may depend on aisha-auth, aisha-csv, aisha-db, aisha-kernel only"),
        ("aisha-identity", "aisha-crm", "it may depend on aisha-auth, aisha-csv, aisha-db, aisha-kernel only"),
        ("aisha-gateway", "aisha-crm-core", "services do not depend on services"),
        ("aisha-gateway", "aisha-testkit", "may only be a dev-dependency"),
        ("aisha-crm-core", "xtask", "may only be a dev-dependency"),
    ] {
        assert_eq!(with(from, to), [format!("{from} -> {to}: {why}")]);
    }
    for (from, to) in [("aisha-http", "aisha-bus"), ("aisha-bus", "aisha-crm"), ("aisha-db", "aisha-testkit")] {
        assert_eq!(with(from, to).len(), 1, "{from} -> {to}");
    }
}

#[test]
fn each_library_in_the_wrong_place_fails() {
    for (from, library) in [
        ("aisha-kernel", "tokio"),
        ("aisha-kernel", "actix-web"),
        ("aisha-crm", "actix-web"),
        ("aisha-crm", "lapin"),
        ("aisha-identity", "redis"),
        ("aisha-identity", "bb8"),
        ("aisha-crm", "tokio-postgres"),
        ("aisha-http", "diesel"),
        ("aisha-gateway", "tokio-postgres"),
        ("aisha-auth", "diesel-async"),
    ] {
        let found = with(from, library);
        assert!(found.len() == 1 && found[0].starts_with(&format!("{from} -> {library}: ")), "{found:?}");
    }
}

#[test]
fn an_unknown_crate_and_missing_lints_fail() {
    let mut packages = sound();
    packages[0].inherits_lints = false;
    packages.push(package("aisha-new", &["aisha-db"]));
    assert_eq!(
        violations(&packages),
        [
            "aisha-kernel: its Cargo.toml lacks `[lints] workspace = true`",
            "aisha-new: unknown crate; give it a row in crates/xtask/src/arch/rules.rs",
        ]
    );
}

#[test]
fn lints_are_read_from_the_manifest() {
    assert_eq!(inherits_lints("[lints]\nworkspace = true"), Ok(true));
    assert_eq!(inherits_lints("lints.workspace = true"), Ok(true));
    assert_eq!(inherits_lints("[lints]\nworkspace = false"), Ok(false));
    assert_eq!(inherits_lints("[lints.rust]\nunsafe_code = \"forbid\""), Ok(false));
    assert_eq!(inherits_lints("[package]\nname = \"x\""), Ok(false));
}

#[test]
fn the_rules_name_only_crates_that_exist_in_the_sound_graph() {
    let known: Vec<_> = sound().into_iter().map(|p| p.name).collect();
    for (from, to) in ARROWS {
        let from = if let rules::Source::Crates(names) = from { *names } else { &[] };
        let to = if let Targets::Only(names) = to { *names } else { &[] };
        for name in from.iter().chain(to) {
            assert!(known.iter().any(|k| k == name), "{name}");
        }
    }
}
