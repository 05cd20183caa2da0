//! `check-lengths`: files that are too long, and words that have no place in the source and that clippy cannot ban.
//!
//! Does not belong here: what a lint can say (`clippy.toml`, `[workspace.lints]`).

use anyhow::{Context, bail, ensure};
use std::{
    fmt, fs,
    io::{self, Write as _},
    path::Path,
    process::Command,
};

/// Above this a file should be split.
const SOFT_LIMIT: usize = 400;
/// Above this it must be.
const HARD_LIMIT: usize = 800;
/// A service's `main.rs` only starts what its library holds.
const MAIN_LIMIT: usize = 40;

/// Written by a task, as long as it has to be.
const GENERATED: &[&str] = &["crates/db/src/schema.rs"];

/// Text that no line of source may contain.
struct Banned {
    /// What to look for; rustfmt leaves one way to write each.
    needles: &'static [&'static str],
    /// Where it may stand: path prefixes from the root. This file names the needles and is skipped for all.
    allowed_in: &'static [&'static str],
    reason: &'static str,
}

const BANNED: &[Banned] = &[
    Banned {
        needles: &["SET ROLE", "SET LOCAL ROLE", "set_config("],
        allowed_in: &["crates/db/", "sql/", "migrations/"],
        reason: "only aisha-db chooses the role and the tenant of a transaction",
    },
    Banned { needles: &["todo!", "unimplemented!"], allowed_in: &[], reason: "unfinished code is not checked in" },
];

/// Endings that say nothing about what a type is.
const VAGUE_ENDINGS: &[&str] = &["Manager", "Helper", "Helpers", "Util", "Utils"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Note,
    Error,
}

#[derive(Debug, PartialEq, Eq)]
struct Finding {
    severity: Severity,
    /// From 1.
    line: usize,
    message: String,
}

impl Finding {
    fn error(line: usize, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.severity == Severity::Error { "error" } else { "note" };
        write!(f, "{}: {severity}: {}", self.line, self.message)
    }
}

/// Checks every source file that git tracks or would track, and prints one line per finding.
///
/// # Errors
/// There are errors among the findings, or git or a file cannot be read.
pub fn run(root: &Path) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let mut errors = 0_usize;
    for path in git_files(root)? {
        let bytes = match fs::read(root.join(&path)) {
            // Deleted, but not yet in the index; or a link to a folder.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => continue,
            read => read.with_context(|| format!("cannot read {path}"))?,
        };
        for finding in findings(&path, &String::from_utf8_lossy(&bytes)) {
            writeln!(out, "{path}:{finding}")?;
            errors += usize::from(finding.severity == Severity::Error);
        }
    }
    if errors == 0 { Ok(()) } else { bail!("check-lengths: {errors} error(s)") }
}

fn git_files(root: &Path) -> anyhow::Result<Vec<String>> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"])
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    ensure!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr).trim());
    let mut files: Vec<String> = String::from_utf8(listed.stdout)?.split_terminator('\0').map(str::to_owned).collect();
    files.sort();
    Ok(files)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Rust,
    Sql,
    Shell,
}

impl Language {
    fn of(path: &str, text: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or(path);
        match name.rsplit_once('.') {
            Some((_, "rs")) => Some(Self::Rust),
            Some((_, "sql")) => Some(Self::Sql),
            Some((_, "sh")) => Some(Self::Shell),
            Some(_) => None,
            None => {
                let first = text.lines().next().unwrap_or_default();
                (first.starts_with("#!") && first.ends_with("sh")).then_some(Self::Shell)
            }
        }
    }

    const fn comment(self) -> &'static str {
        match self {
            Self::Rust => "//",
            Self::Sql => "--",
            Self::Shell => "#",
        }
    }
}

fn findings(path: &str, text: &str) -> Vec<Finding> {
    let Some(language) = Language::of(path, text) else { return Vec::new() };
    let mut found = Vec::new();
    found.extend(too_long(path, text.lines().count()));
    if is_test(path) {
        return found;
    }
    if language == Language::Rust && !text.starts_with("//!") {
        found.push(Finding::error(1, "starts without `//!` saying what belongs here"));
    }
    for (line, code) in source_lines(language, text) {
        for banned in BANNED.iter().filter(|b| path != file!() && !b.allowed_in.iter().any(|a| path.starts_with(a))) {
            for needle in banned.needles.iter().filter(|needle| code.contains(**needle)) {
                found.push(Finding::error(line, format!("`{needle}`: {}", banned.reason)));
            }
        }
        if let Some(name) = type_name(code).filter(|_| language == Language::Rust)
            && let Some(ending) = VAGUE_ENDINGS.iter().find(|ending| name.ends_with(**ending))
        {
            found.push(Finding::error(line, format!("`{name}`: a name in {ending} does not say what the type is")));
        }
    }
    found
}

fn too_long(path: &str, lines: usize) -> Option<Finding> {
    if GENERATED.contains(&path) {
        return None;
    }
    if path.starts_with("services/") && path.ends_with("/main.rs") && lines > MAIN_LIMIT {
        let message = format!("{lines} lines; a service's main.rs has at most {MAIN_LIMIT}, the rest is its library");
        return Some(Finding::error(MAIN_LIMIT + 1, message));
    }
    if lines > HARD_LIMIT {
        return Some(Finding::error(HARD_LIMIT + 1, format!("{lines} lines; the limit is {HARD_LIMIT}")));
    }
    let message = format!("{lines} lines; think of splitting above {SOFT_LIMIT}");
    (lines > SOFT_LIMIT).then_some(Finding { severity: Severity::Note, line: SOFT_LIMIT + 1, message })
}

/// Tests and measurements may do to the database what the product may not.
fn is_test(path: &str) -> bool {
    let folder = |name: &str| ["tests", "bench", "benches", "chaos", "testkit"].contains(&name);
    path.split('/').any(folder) || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

/// The lines outside comments and `#[cfg(test)]` modules, with their numbers. rustfmt puts the braces of a module at
/// the start of the line, so no parser is needed.
fn source_lines(language: Language, text: &str) -> impl Iterator<Item = (usize, &str)> {
    let (mut after_cfg_test, mut in_tests) = (false, false);
    text.lines().zip(1_usize..).filter_map(move |(line, number)| {
        if in_tests {
            in_tests = line != "}";
            return None;
        }
        if language == Language::Rust {
            in_tests = after_cfg_test && line.starts_with("mod ") && line.ends_with('{');
            // Another attribute may stand between.
            after_cfg_test = line == "#[cfg(test)]" || (after_cfg_test && line.starts_with("#["));
        }
        let code = line.trim_start();
        (!in_tests && !code.starts_with(language.comment())).then_some((number, code))
    })
}

/// The name that a line of Rust gives to a type.
fn type_name(code: &str) -> Option<&str> {
    let mut words = code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
    let visibility = ["pub", "crate", "super", "in", "self", "unsafe"];
    let keyword = words.by_ref().find(|word| !visibility.contains(word))?;
    if ["struct", "enum", "trait", "type", "union"].contains(&keyword) { words.next() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &str, text: &str) -> Vec<String> {
        findings(path, text).iter().map(ToString::to_string).collect()
    }

    fn lines(count: usize) -> String {
        format!("//! Doc.\n{}", "x\n".repeat(count - 1))
    }

    #[test]
    fn lengths() {
        assert_eq!(said("crates/a/src/b.rs", &lines(400)), Vec::<String>::new());
        assert_eq!(said("crates/a/src/b.rs", &lines(401)), ["401: note: 401 lines; think of splitting above 400"]);
        assert_eq!(said("crates/a/src/b.rs", &lines(801)), ["801: error: 801 lines; the limit is 800"]);
        assert_eq!(said("crates/a/tests/b.rs", &lines(801)), ["801: error: 801 lines; the limit is 800"]);
        assert_eq!(said("sql/a.sql", &lines(801)).len(), 1);
        assert_eq!(said("bin/dev", &format!("#!/usr/bin/env bash\n{}", lines(801))).len(), 1);
        for other in ["Cargo.lock", "openapi/gateway.json", "LICENSE", GENERATED[0]] {
            assert_eq!(said(other, &lines(2000)), Vec::<String>::new(), "{other}");
        }
    }

    #[test]
    fn a_service_has_a_small_main() {
        assert_eq!(said("services/a/src/main.rs", &lines(40)), Vec::<String>::new());
        assert!(said("services/a/src/main.rs", &lines(41))[0].starts_with("41: error: 41 lines"));
        assert_eq!(said("crates/xtask/src/main.rs", &lines(41)), Vec::<String>::new());
    }

    #[test]
    fn banned_text() {
        let text = "//! Doc.\n// SET ROLE x\nlet a = \"SET ROLE x\";\n    todo!();\n";
        let found = said("services/a/src/lib.rs", text);
        assert!(found.len() == 2 && found[0].starts_with("3: error: `SET ROLE`"), "{found:?}");
        assert!(found[1].starts_with("4: error: `todo!`"), "{found:?}");
        assert_eq!(said("crates/db/src/tx.rs", text).len(), 1);
        assert_eq!(said("crates/a/tests/x.rs", text).len(), 0);
        assert_eq!(said("migrations/1/up.sql", "-- set_config(\nselect set_config('a', 'b', true);").len(), 0);
        assert_eq!(said("deploy/a.sql", "-- set_config(\nselect set_config('a', 'b', true);").len(), 1);
        assert_eq!(said("deploy/a.sh", "# SET ROLE\npsql -c 'SET LOCAL ROLE x'").len(), 1);
    }

    #[test]
    fn test_modules_are_skipped_and_what_follows_is_not() {
        let text = "//! Doc.\n#[cfg(test)]\nmod tests {\n    fn a() {\n        todo!()\n    }\n}\nfn b() { todo!() }\n";
        assert_eq!(said("a/src/lib.rs", text), ["8: error: `todo!`: unfinished code is not checked in"]);
        let text = "//! Doc.\n#[cfg(test)]\nmod tests;\nfn b() { todo!() }\n";
        assert_eq!(said("a/src/lib.rs", text), ["4: error: `todo!`: unfinished code is not checked in"]);
    }

    #[test]
    fn vague_names_and_missing_docs() {
        let text = "struct PoolManager;\npub(crate) enum Helper {}\npub type DateUtils<T> = T;\nstruct Manage;\n// struct XUtil\n";
        let found = said("a/src/lib.rs", text);
        assert_eq!(found[0], "1: error: starts without `//!` saying what belongs here");
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(
            found[1].contains("`PoolManager`") && found[2].contains("`Helper`") && found[3].contains("`DateUtils`")
        );
    }
}
