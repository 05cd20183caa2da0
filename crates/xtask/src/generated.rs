//! Files that a task writes and that are checked in: written, or compared with what is there.

use anyhow::{Context, bail};
use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

/// Writes `text` to `path`, or with `check` fails unless the file holds exactly that.
///
/// # Errors
/// The file cannot be read or written; with `check`, the first line that differs and `fix`, the command to run.
pub fn write_or_check(path: &Path, text: &str, check: bool, fix: &str) -> anyhow::Result<()> {
    let shown = path.display();
    if !check {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(path, text).with_context(|| format!("cannot write {shown}"))?;
        return Ok(writeln!(io::stdout(), "wrote {shown}")?);
    }
    let current = match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => bail!("{shown} is missing; run `{fix}`"),
        read => read.with_context(|| format!("cannot read {shown}"))?,
    };
    match first_difference(&current, text) {
        None => Ok(()),
        Some(difference) => bail!("{shown}:{difference}\n  to fix: {fix}"),
    }
}

/// The number of the first line that differs, what stands there and what should.
fn first_difference(current: &str, wanted: &str) -> Option<String> {
    // Not `lines`, for which a missing newline at the end makes no difference.
    let (mut have, mut want) = (current.split('\n'), wanted.split('\n'));
    let quoted = |line: Option<&str>| line.map_or("(end of file)".to_owned(), |l| format!("`{l}`"));
    (1_usize..).find_map(|number| match (have.next(), want.next()) {
        (None, None) => Some(None),
        (a, b) if a == b => None,
        (a, b) => Some(Some(format!("{number}: out of date\n  is:        {}\n  should be: {}", quoted(a), quoted(b)))),
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_first_line_that_differs() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        let changed = first_difference("a\nb\nc\n", "a\nx\ny\n").unwrap();
        assert_eq!(changed, "2: out of date\n  is:        `b`\n  should be: `x`");
        assert!(first_difference("a", "a\n").unwrap().starts_with("2: out of date\n  is:        (end of file)"));
        assert!(first_difference("a\nb\n", "a\n").unwrap().contains("`b`"));
    }

    #[test]
    fn writes_then_agrees_then_notices() {
        let folder = std::env::temp_dir().join(format!("xtask-generated-{}", std::process::id()));
        let path = folder.join("deep/file.txt");
        let missing = write_or_check(&path, "a\n", true, "fix me").unwrap_err().to_string();
        assert!(missing.contains("is missing; run `fix me`"), "{missing}");
        write_or_check(&path, "a\n", false, "fix me").unwrap();
        write_or_check(&path, "a\n", true, "fix me").unwrap();
        let stale = write_or_check(&path, "b\n", true, "fix me").unwrap_err().to_string();
        assert!(stale.contains("file.txt:1: out of date") && stale.ends_with("to fix: fix me"), "{stale}");
        fs::remove_dir_all(folder).unwrap();
    }
}
