//! Statements of SQL without their literals: what is alike in all statements of one kind, and names nobody.

/// Characters kept of a statement.
const STATEMENT_MAX: usize = 64;

/// The beginning of a statement with `?` for literals and parameters, comments left out, and spaces made
/// one; `None` for octets that begin no statement.
///
/// What stands between double quotes is a name in the standard and text in MySQL: `double_quotes_text`.
pub(super) fn folded(octets: &[u8], double_quotes_text: bool) -> Option<String> {
    let text = String::from_utf8_lossy(octets);
    let mut out = Folded::default();
    let mut rest = text.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    while let Some(first) = rest.chars().next() {
        if out.length > STATEMENT_MAX {
            break;
        }
        rest = if let Some(body) = rest.strip_prefix("/*") {
            out.space();
            body.split_once("*/").map_or("", |(_, rest)| rest)
        } else if rest.starts_with("--") || (first == '#' && double_quotes_text) {
            out.space();
            rest.split_once('\n').map_or("", |(_, rest)| rest)
        } else if first == '\'' || (first == '"' && double_quotes_text) {
            out.literal();
            behind_text(&rest[1..], first)
        } else if first == '$' || (first.is_ascii_digit() && !out.in_word) {
            out.literal();
            behind_value(rest)
        } else if first.is_whitespace() {
            out.space();
            rest.trim_start()
        } else {
            out.push(first);
            &rest[first.len_utf8()..]
        };
    }
    out.finish()
}

/// What follows a text whose quote was opened.
fn behind_text(mut rest: &str, quote: char) -> &str {
    loop {
        let Some(end) = rest.find([quote, '\\']) else {
            return "";
        };
        let escaped = rest[end..].starts_with('\\');
        rest = &rest[end + 1..];
        let doubled = !escaped && rest.starts_with(quote);
        if !escaped && !doubled {
            return rest;
        }
        let mut behind = rest.chars();
        behind.next();
        rest = behind.as_str();
    }
}

/// What follows a number, a parameter (`$1`) or a text between dollars.
fn behind_value(rest: &str) -> &str {
    if let Some(body) = rest.strip_prefix("$$") {
        return body.split_once("$$").map_or("", |(_, rest)| rest);
    }
    let is_value = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '$');
    rest.trim_start_matches(is_value)
}

/// The statement as it is made.
#[derive(Default)]
struct Folded {
    text: String,
    /// Characters of it.
    length: usize,
    /// The last one belongs to a name or a word.
    in_word: bool,
    /// A space is due before the next.
    space: bool,
}

impl Folded {
    const fn space(&mut self) {
        self.space = true;
        self.in_word = false;
    }

    fn push(&mut self, c: char) {
        if std::mem::take(&mut self.space) && !self.text.is_empty() {
            self.text.push(' ');
            self.length += 1;
        }
        self.text.push(c);
        self.length += 1;
        self.in_word = c.is_alphanumeric() || matches!(c, '_' | '`' | '"');
    }

    /// One `?` for a literal, and for a row of them.
    fn literal(&mut self) {
        let before = self.text.trim_end_matches([' ', ',']);
        if before.len() < self.text.len() && before.ends_with('?') {
            self.text.truncate(before.len());
            self.length = self.text.chars().count();
            self.space = false;
        } else {
            self.push('?');
        }
        self.in_word = false;
    }

    /// A statement begins with a word.
    fn finish(self) -> Option<String> {
        let word = self
            .text
            .chars()
            .take_while(char::is_ascii_alphabetic)
            .count();
        if word < 2 {
            return None;
        }
        if self.length <= STATEMENT_MAX {
            let end = self.text.trim_end_matches([';', ' ', '\0']);
            return Some(end.to_owned());
        }
        let kept = self.text.chars().take(STATEMENT_MAX - 1);
        Some(kept.chain(['…']).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_left_out() {
        let cases = [
            (
                "SELECT * FROM orders WHERE id = 17",
                "SELECT * FROM orders WHERE id = ?",
            ),
            (
                "  select\n name from t1 where a='it''s' and b=$1;",
                "select name from t1 where a=? and b=?",
            ),
            (
                "/* app */ UPDATE t SET x = 1.5e3 -- why\n WHERE y IN (1, 2, 3)",
                "UPDATE t SET x = ? WHERE y IN (?)",
            ),
            ("SET password = 'a\\'b'", "SET password = ?"),
            ("SELECT \"name\" FROM \"t\"", "SELECT \"name\" FROM \"t\""),
            ("SELECT 'never closed", "SELECT ?"),
            ("COMMIT\0", "COMMIT"),
        ];
        for (statement, expected) in cases {
            assert_eq!(
                folded(statement.as_bytes(), false).as_deref(),
                Some(expected)
            );
        }
        let quoted = folded(b"SELECT \"secret\" # note", true);
        assert_eq!(quoted.as_deref(), Some("SELECT ?"));
        for nothing in ["", "17", "\0\u{1}", "a", "'text'"] {
            assert_eq!(folded(nothing.as_bytes(), false), None);
        }
    }

    #[test]
    fn long_statements_are_cut() {
        let long = format!("SELECT {} FROM t", "column, ".repeat(40));
        let text = folded(long.as_bytes(), false).unwrap();
        assert_eq!(text.chars().count(), STATEMENT_MAX);
        assert!(text.ends_with('…'));
    }
}
