//! `check-arch`: which crate may depend on which.
//!
//! The rules are a table in [`rules`]; here is the check of a graph against them, and the graph as `cargo metadata`
//! tells it.

mod rules;

use anyhow::{Context, bail};
use cargo_metadata::{DependencyKind, MetadataCommand};
use rules::{ARROWS, EXTERNAL, TOOLS, Targets, Who};
use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

/// A workspace crate, as far as the rules look at it.
struct Package {
    name: String,
    /// Lives under `services/`.
    is_service: bool,
    /// Names of the packages that it is built with: normal and build dependencies, optional ones too, without
    /// dev-dependencies.
    dependencies: Vec<String>,
    /// Its manifest says `[lints] workspace = true`.
    inherits_lints: bool,
}

/// Checks the workspace at `root` and prints one line per violation.
///
/// # Errors
/// There are violations, or the workspace cannot be read.
pub fn run(root: &Path) -> anyhow::Result<()> {
    let found = violations(&read(root)?);
    let mut out = io::stdout().lock();
    for line in &found {
        writeln!(out, "{line}")?;
    }
    if found.is_empty() { Ok(()) } else { bail!("check-arch: {} violation(s)", found.len()) }
}

fn read(root: &Path) -> anyhow::Result<Vec<Package>> {
    let metadata = MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps().exec()?;
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| {
            let manifest =
                fs::read_to_string(&package.manifest_path).with_context(|| format!("{}", package.manifest_path))?;
            let folder = package.manifest_path.strip_prefix(&metadata.workspace_root)?;
            Ok(Package {
                name: package.name.to_string(),
                is_service: folder.starts_with("services"),
                dependencies: package
                    .dependencies
                    .iter()
                    .filter(|d| d.kind != DependencyKind::Development)
                    .map(|d| d.name.clone())
                    .collect(),
                inherits_lints: inherits_lints(&manifest).with_context(|| format!("{}", package.manifest_path))?,
            })
        })
        .collect()
}

fn inherits_lints(manifest: &str) -> Result<bool, toml::de::Error> {
    let manifest: toml::Table = manifest.parse()?;
    Ok(manifest.get("lints").and_then(|l| l.get("workspace")).and_then(toml::Value::as_bool) == Some(true))
}

/// One line per rule that the graph breaks, sorted.
fn violations(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        if !package.inherits_lints {
            found.push(format!("{}: its Cargo.toml lacks `[lints] workspace = true`", package.name));
        }
        match ARROWS.iter().find(|(source, _)| source.covers(package)) {
            None => found.push(format!("{}: unknown crate; give it a row in {}", package.name, rules::FILE)),
            Some((_, allowed)) => found.extend(forbidden_arrows(package, packages, allowed)),
        }
        found.extend(forbidden_libraries(package));
    }
    found.sort();
    found.dedup();
    found
}

fn forbidden_arrows(package: &Package, packages: &[Package], allowed: &Targets) -> Vec<String> {
    package
        .dependencies
        .iter()
        .filter_map(|name| packages.iter().find(|p| p.name == *name))
        .filter_map(|target| {
            let reason = match allowed {
                Targets::Anything => return None,
                Targets::Libraries if TOOLS.contains(&target.name.as_str()) => "may only be a dev-dependency".into(),
                Targets::Libraries if target.is_service => "services do not depend on services".into(),
                Targets::Libraries => return None,
                Targets::Only(names) if names.contains(&target.name.as_str()) => return None,
                Targets::Only([]) => "it may depend on no crate of the workspace".into(),
                Targets::Only(names) => format!("it may depend on {} only", names.join(", ")),
            };
            Some(format!("{} -> {}: {reason}", package.name, target.name))
        })
        .collect()
}

fn forbidden_libraries(package: &Package) -> Vec<String> {
    let mut found = Vec::new();
    for rule in EXTERNAL {
        let binds = match rule.who {
            Who::AllBut(names) => !names.contains(&package.name.as_str()),
            Who::Only(names) => names.contains(&package.name.as_str()),
        };
        for name in package.dependencies.iter().filter(|name| binds && rule.covers(name)) {
            found.push(format!("{} -> {name}: {}", package.name, rule.reason));
        }
    }
    found
}

#[cfg(test)]
mod tests;
