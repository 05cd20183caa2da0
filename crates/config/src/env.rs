//! The environment as typed values. Every getter records what is wrong and returns a stand-in, so that one start shows
//! all problems; [`Env::finish`] turns them into the error. A value read from an [`Env`] is good only after that.

use secrecy::SecretString;
use std::{cell::RefCell, collections::HashMap, fmt, str::FromStr, time::Duration};
use url::Url;

/// Everything that is wrong with the environment, one problem a line. Never contains a value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the configuration cannot be used:\n{}", .problems.join("\n"))]
pub struct ConfigError {
    /// `NAME: what is wrong`, in the order the settings were read.
    pub problems: Vec<String>,
}

/// The settings of a process: `.env` of the working directory under the process environment, which wins.
pub struct Env {
    vars: HashMap<String, String>,
    problems: RefCell<Vec<String>>,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").field("vars", &self.vars.len()).field("problems", &self.problems).finish()
    }
}

impl Env {
    /// Reads `.env` from the working directory (if there is one) and puts the process environment over it.
    #[must_use]
    pub fn load() -> Self {
        let mut problems = Vec::new();
        let mut vars = HashMap::new();
        match dotenvy::from_path_iter(".env") {
            Ok(lines) => {
                for line in lines {
                    match line {
                        Ok((name, value)) => {
                            vars.insert(name, value);
                        }
                        // The parser's own message would quote the line, which may hold a secret.
                        Err(_) => problems.push(".env: a line is not KEY=VALUE".to_owned()),
                    }
                }
            }
            Err(e) if e.not_found() => {}
            Err(_) => problems.push(".env: cannot be read".to_owned()),
        }
        vars.extend(std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))));
        Self { vars, problems: RefCell::new(problems) }
    }

    /// Settings from a map, for tests.
    pub fn from_map<K: Into<String>, V: Into<String>>(vars: impl IntoIterator<Item = (K, V)>) -> Self {
        Self { vars: vars.into_iter().map(|(k, v)| (k.into(), v.into())).collect(), problems: RefCell::default() }
    }

    /// Records a problem that a getter cannot see, for instance two settings that exclude each other.
    pub fn problem(&self, name: &str, what: impl fmt::Display) {
        self.problems.borrow_mut().push(format!("{name}: {what}"));
    }

    /// All problems as one error; call it after everything has been read.
    pub fn finish(&self) -> Result<(), ConfigError> {
        let problems = self.problems.borrow().clone();
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
    }

    /// The trimmed value; unset and empty are the same.
    pub fn optional(&self, name: &str) -> Option<String> {
        self.vars.get(name).map(|v| v.trim()).filter(|v| !v.is_empty()).map(str::to_owned)
    }

    /// A required text.
    pub fn text(&self, name: &str) -> String {
        self.required(name).unwrap_or_default()
    }

    /// A text with a default.
    pub fn text_or(&self, name: &str, default: &str) -> String {
        self.optional(name).unwrap_or_else(|| default.to_owned())
    }

    /// One of a few words, compared without case.
    pub fn one_of<T: Clone>(&self, name: &str, choices: &[(&str, T)], default: T) -> T {
        let Some(value) = self.optional(name) else { return default };
        match choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(&value)) {
            Some((_, choice)) => choice.clone(),
            None => {
                let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                self.problem(name, format_args!("must be one of {}", words.join(", ")));
                default
            }
        }
    }

    /// A number (or anything else that parses from text) with a default.
    pub fn number_or<T: FromStr>(&self, name: &str, default: T) -> T {
        match self.optional(name).map(|v| v.parse()) {
            None => default,
            Some(Ok(n)) => n,
            Some(Err(_)) => {
                self.problem(name, "is not a number in the allowed range");
                default
            }
        }
    }

    /// A positive number of milliseconds with a default.
    pub fn millis_or(&self, name: &str, default: Duration) -> Duration {
        let default_ms = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        match self.number_or(name, default_ms) {
            0 => {
                self.problem(name, "must be more than 0 milliseconds");
                default
            }
            ms => Duration::from_millis(ms),
        }
    }

    /// `true/false`, `1/0`, `yes/no`, `on/off`; unset is the default.
    pub fn flag(&self, name: &str, default: bool) -> bool {
        const WORDS: &[(&str, bool)] = &[
            ("true", true),
            ("false", false),
            ("1", true),
            ("0", false),
            ("yes", true),
            ("no", false),
            ("on", true),
            ("off", false),
        ];
        self.one_of(name, WORDS, default)
    }

    /// A comma-separated list without empty items; unset is an empty list.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.vars
            .get(name)
            .map(|v| v.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
            .unwrap_or_default()
    }

    /// An address to listen on, `ip:port`, with a default.
    pub fn socket_addr_or(&self, name: &str, default: &str) -> std::net::SocketAddr {
        let text = self.text_or(name, default);
        text.parse().unwrap_or_else(|_| {
            self.problem(name, "must be ip:port, for instance 127.0.0.1:4001");
            std::net::SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    /// A required URL of one of the schemes; http(s) ones lose a trailing slash. Otherwise the text is what was set.
    pub fn url(&self, name: &str, schemes: &[&str]) -> String {
        self.required(name).map(|text| self.checked_url(name, text, schemes)).unwrap_or_default()
    }

    /// A URL of one of the schemes with a default.
    pub fn url_or(&self, name: &str, schemes: &[&str], default: &str) -> String {
        self.checked_url(name, self.text_or(name, default), schemes)
    }

    /// A URL of one of the schemes, or nothing.
    pub fn optional_url(&self, name: &str, schemes: &[&str]) -> Option<String> {
        self.optional(name).map(|text| self.checked_url(name, text, schemes))
    }

    /// A required URL that carries a password (a database, a broker). A password left at its placeholder is a problem.
    pub fn secret_url(&self, name: &str, schemes: &[&str]) -> SecretString {
        self.url(name, schemes).into()
    }

    /// Like [`Env::secret_url`], or nothing.
    pub fn optional_secret_url(&self, name: &str, schemes: &[&str]) -> Option<SecretString> {
        self.optional_url(name, schemes).map(Into::into)
    }

    /// A required secret of at least `min_bytes`.
    pub fn secret(&self, name: &str, min_bytes: usize) -> SecretString {
        self.required(name).map(|text| self.checked_secret(name, text, min_bytes)).unwrap_or_default().into()
    }

    /// A secret of at least `min_bytes`, or nothing.
    pub fn optional_secret(&self, name: &str, min_bytes: usize) -> Option<SecretString> {
        self.optional(name).map(|text| self.checked_secret(name, text, min_bytes).into())
    }

    fn required(&self, name: &str) -> Option<String> {
        let value = self.optional(name);
        if value.is_none() {
            self.problem(name, "is not set");
        }
        value
    }

    fn checked_url(&self, name: &str, mut text: String, schemes: &[&str]) -> String {
        match Url::parse(&text) {
            Err(_) => self.problem(name, "is not a URL"),
            Ok(url) if !schemes.contains(&url.scheme()) => {
                self.problem(name, format_args!("must start with {}", schemes.join(":// or ") + "://"));
            }
            Ok(url) if !url.has_host() => self.problem(name, "is a URL without a host"),
            Ok(url) if url.password().is_some_and(is_placeholder) => {
                self.problem(name, "still has its placeholder password");
            }
            Ok(_) => {}
        }
        if text.starts_with("http") {
            text.truncate(text.trim_end_matches('/').len());
        }
        text
    }

    fn checked_secret(&self, name: &str, text: String, min_bytes: usize) -> String {
        if is_placeholder(&text) {
            self.problem(name, "still has its placeholder value; set a random one (openssl rand -base64 48)");
        } else if text.len() < min_bytes {
            self.problem(name, format_args!("is too short: at least {min_bytes} bytes"));
        }
        text
    }
}

/// What example files and tutorials put where a secret belongs. Long enough fragments that random text does not hit
/// them by chance.
fn is_placeholder(value: &str) -> bool {
    const FRAGMENTS: &[&str] = &[
        "changeme",
        "change-me",
        "change_me",
        "change-this",
        "change_this",
        "replaceme",
        "replace-me",
        "replace_me",
        "placeholder",
        "your-secure-random",
        "your-secret",
        "your_secret",
        "your-super-secret",
        "your-password",
        "your_password",
        "insecure",
    ];
    const WHOLE: &[&str] = &["secret", "password", "example", "default", "test", "todo", "none", "null"];
    let lower = value.to_ascii_lowercase();
    let mut chars = lower.chars();
    let first = chars.next();
    FRAGMENTS.iter().any(|f| lower.contains(f))
        || WHOLE.contains(&lower.as_str())
        || (lower.starts_with('<') && lower.ends_with('>'))
        || (lower.len() > 3 && chars.all(|c| Some(c) == first))
}

#[cfg(test)]
#[path = "env_tests.rs"]
mod tests;
