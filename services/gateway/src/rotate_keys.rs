//! Making the keys that tokens are signed with and secrets are sealed with, and putting them into an environment file.
//!
//! The key that seals is made once and never changed here: what it has sealed is in the database and would stay closed.
//! A rotation of the others keeps the old key for verification, so that nobody is signed out and services that still know the old
//! public key only go on working until they are restarted.

use aisha_auth::{api_key::generate_opaque, token::InternalSigner};
use anyhow::{Context as _, anyhow};
use std::{fs, io::Write as _, path::Path};

const JWT: &str = "JWT_SECRET";
const JWT_PREVIOUS: &str = "JWT_SECRET_PREVIOUS";
const SIGNING: &str = "INTERNAL_SIGNING_KEY";
const PUBLIC: &str = "INTERNAL_PUBLIC_KEYS";
const CREDENTIALS: &str = "CREDENTIALS_KEY";

/// Names with their new values, from the present ones.
///
/// # Errors
/// When there is no randomness, or the present signing key cannot be read.
pub fn new_values(
    present: impl Fn(&str) -> Option<String>,
    only_missing: bool,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut out = Vec::new();
    let old_jwt = present(JWT);
    if old_jwt.is_none() || !only_missing {
        out.push((JWT, generate_opaque().map_err(|_| anyhow!("no randomness"))?.shown));
        out.extend(old_jwt.map(|old| (JWT_PREVIOUS, old)));
    }
    let public_of = |seed: &str| -> anyhow::Result<String> {
        Ok(InternalSigner::new(&seed.to_owned().into())?.public_key().to_owned())
    };
    match present(SIGNING) {
        Some(seed) if only_missing => {
            if present(PUBLIC).is_none() {
                out.push((PUBLIC, public_of(&seed)?));
            }
        }
        old => {
            let seed = InternalSigner::generate()?;
            let mut public = vec![public_of(&seed)?];
            if let Some(old) = old {
                public.push(public_of(&old).context("the present INTERNAL_SIGNING_KEY")?);
            }
            out.push((SIGNING, seed));
            out.push((PUBLIC, public.join(",")));
        }
    }
    if present(CREDENTIALS).is_none() {
        out.push((CREDENTIALS, generate_opaque().map_err(|_| anyhow!("no randomness"))?.shown));
    }
    Ok(out)
}

/// Rewrites an environment file: keys that stand there keep their line, new ones come at the end, everything else stays
/// as it is. The file is replaced in one step and readable by its owner only. Returns the names that were written.
///
/// # Errors
/// When the file cannot be read or replaced, or see [`new_values`].
pub fn rewrite_file(path: &Path, only_missing: bool) -> anyhow::Result<Vec<&'static str>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let values = new_values(|name| value_of(&text, name), only_missing)?;
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Made with mode 0600, beside the file, so that the rename stays within one file system.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(rewrite(&text, &values).as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).with_context(|| format!("cannot replace {}", path.display()))?;
    Ok(values.into_iter().map(|(name, _)| name).collect())
}

/// The name that a line sets, and the value as it stands there.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    (!name.is_empty() && !name.starts_with('#')).then_some((name, value))
}

/// The last value of a name that is not empty, without quotes or comment.
fn value_of(text: &str, name: &str) -> Option<String> {
    let raw =
        text.lines().filter_map(assignment).filter(|(n, _)| *n == name).map(|(_, value)| value).next_back()?.trim();
    let value = match raw.chars().next() {
        Some(quote @ ('"' | '\'')) => raw.get(1..)?.split(quote).next()?,
        _ => raw.split(" #").next()?.trim(),
    };
    (!value.is_empty() && !value.starts_with('#')).then(|| value.to_owned())
}

fn rewrite(text: &str, values: &[(&'static str, String)]) -> String {
    let mut out = String::with_capacity(text.len() + 512);
    let mut missing: Vec<_> = values.iter().collect();
    for line in text.split_inclusive('\n') {
        let named = assignment(line).and_then(|(name, _)| values.iter().find(|(n, _)| *n == name));
        match named {
            Some((name, value)) => {
                missing.retain(|(n, _)| n != name);
                out.push_str(&format!("{name}={value}"));
                if line.ends_with('\n') {
                    out.push('\n');
                }
            }
            None => out.push_str(line),
        }
    }
    if !missing.is_empty() && !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    for (name, value) in missing {
        out.push_str(&format!("{name}={value}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn names(values: &[(&'static str, String)]) -> Vec<&'static str> {
        values.iter().map(|(n, _)| *n).collect()
    }

    #[test]
    fn only_missing_keys_are_made() {
        let none = new_values(|_| None, true).unwrap();
        assert_eq!(names(&none), [JWT, SIGNING, PUBLIC, CREDENTIALS]);
        let get = |name: &str| none.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone());
        assert_eq!(get(JWT).unwrap().len(), 64);
        assert!(new_values(get, true).unwrap().is_empty());
        let without_public = new_values(|n| get(n).filter(|_| n != PUBLIC), true).unwrap();
        assert_eq!(without_public, [(PUBLIC, get(PUBLIC).unwrap())]);
    }

    #[test]
    fn a_rotation_keeps_the_old_keys_for_verification() {
        let first = new_values(|_| None, false).unwrap();
        let get = |name: &str| first.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone());
        let second = new_values(get, false).unwrap();
        assert_eq!(names(&second), [JWT, JWT_PREVIOUS, SIGNING, PUBLIC]);
        assert_eq!(second[1].1, get(JWT).unwrap());
        assert!(second[3].1.ends_with(&format!(",{}", get(PUBLIC).unwrap())));
        assert!(new_values(|n| (n == SIGNING).then(|| "nonsense".into()), false).is_err());
    }

    #[test]
    fn lines_keep_their_place_and_comments_stay() {
        let text = "# JWT_SECRET=commented\nA=1\nexport JWT_SECRET='old'\n\n# about B\nB=\"x=y\" # why";
        let out = rewrite(text, &[(JWT, "new".into()), (PUBLIC, "p".into())]);
        assert_eq!(
            out,
            "# JWT_SECRET=commented\nA=1\nJWT_SECRET=new\n\n# about B\nB=\"x=y\" # why\nINTERNAL_PUBLIC_KEYS=p\n"
        );
        assert_eq!(value_of(text, JWT).as_deref(), Some("old"));
        assert_eq!(value_of(text, "B").as_deref(), Some("x=y"));
        assert_eq!(value_of("K=\n", "K"), None);
        assert_eq!(value_of("K= # nothing\n", "K"), None);
        assert_eq!(value_of("K=ab==  # base64\n", "K").as_deref(), Some("ab=="));
    }

    #[test]
    fn files_are_replaced_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        fs::write(&path, "A=1\nJWT_SECRET=\n").unwrap();
        assert_eq!(rewrite_file(&path, true).unwrap(), [JWT, SIGNING, PUBLIC, CREDENTIALS]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let before = fs::read_to_string(&path).unwrap();
        assert!(before.starts_with("A=1\nJWT_SECRET="));
        assert!(rewrite_file(&path, true).unwrap().is_empty());
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
        assert_eq!(rewrite_file(&path, false).unwrap(), [JWT, JWT_PREVIOUS, SIGNING, PUBLIC]);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        assert!(rewrite_file(&folder.path().join("none"), true).is_err());
    }
}
