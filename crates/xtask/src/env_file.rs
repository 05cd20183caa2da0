//! Reads one value from a file of `KEY=VALUE` lines, as the local stack and people write them.
//!
//! Does not belong here: the process environment, which clap reads.

/// The value of `key`: the last assignment wins, as in a shell. Quotes around the value and a leading `export` are
/// dropped; nothing is expanded.
pub fn value(text: &str, key: &str) -> Option<String> {
    text.lines().rev().find_map(|line| {
        let line = line.trim();
        let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
        (name.trim() == key).then(|| unquote(value.trim()).to_owned())
    })
}

fn unquote(value: &str) -> &str {
    ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q)).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_plain_exported_and_quoted_values() {
        let text = "# URL=no\nURL=old\nexport URL='postgres://a:b@h/d?x=y'\n PORT = \"1\" \nEMPTY=\nnot a pair\n";
        assert_eq!(value(text, "URL").as_deref(), Some("postgres://a:b@h/d?x=y"));
        assert_eq!(value(text, "PORT").as_deref(), Some("1"));
        assert_eq!(value(text, "EMPTY").as_deref(), Some(""));
        assert_eq!(value(text, "OTHER"), None);
    }
}
