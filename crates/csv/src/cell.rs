//! One cell: quoted where it must be, and never a formula.

/// A spreadsheet runs a cell that starts like a formula (OWASP, "CSV Injection"); an apostrophe makes it text. Plain
/// numbers and phone numbers start with a sign too and are harmless. What looks escaped already gets another apostrophe, so
/// that [`unescaped`] gives back exactly what was there.
pub fn push(out: &mut String, s: &str) {
    let formula = s.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r']);
    let harmless = s.chars().all(|c| c.is_ascii_digit() || "+-(). /".contains(c));
    if formula && !harmless {
        push_quoted(out, &format!("'{s}"));
    } else {
        push_quoted(out, s);
    }
}

/// The same for what cannot start like a formula: numbers, JSON.
pub fn push_quoted(out: &mut String, s: &str) {
    if s.contains([',', '"', '\n', '\r', ';', '\t', '\'']) || s.starts_with(' ') || s.ends_with(' ') {
        out.push('"');
        out.push_str(&s.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(s);
    }
}

/// Takes away the apostrophe that [`push`] put before what a spreadsheet would take for a formula.
#[must_use]
pub fn unescaped(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if rest.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r']) => rest,
        _ => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(s: &str) -> String {
        let mut out = String::new();
        push(&mut out, s);
        out
    }

    #[test]
    fn formulas_become_text_and_numbers_stay_numbers() {
        assert_eq!(cell("=cmd|'/c calc'!A1"), "\"'=cmd|'/c calc'!A1\"");
        assert_eq!(cell("@SUM(1)"), "\"'@SUM(1)\"");
        assert_eq!(cell("+49 (30) 90-18"), "+49 (30) 90-18");
        assert_eq!(cell("-1.5"), "-1.5");
        assert_eq!(cell("a \"b\", c"), "\"a \"\"b\"\", c\"");
    }

    #[test]
    fn what_was_escaped_comes_back() {
        for s in ["=1+1", "'=1+1", "''@x", "O'Brien", "'quoted'", "-x"] {
            let written = cell(s);
            let read = written.trim_matches('"');
            assert_eq!(unescaped(read), s);
        }
    }
}
