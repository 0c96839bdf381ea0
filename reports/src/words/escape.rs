//! The one place where text from packets is made harmless, for every output.
//!
//! Strings may hold anything: names and targets come from the wire, file names from anywhere.
//! [`visible`] removes what no output may carry: control characters (terminal escapes, line
//! breaks) and characters that reorder or hide text. The others build on it and quote what has a
//! meaning in their format.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Writes control, reordering and invisible characters as visible escapes such as `\x1b`.
///
/// The result holds no character below U+0020, no DEL, no C1 control, no line or paragraph
/// separator and no bidirectional or zero-width formatting. Other text is unchanged.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    // Printable ASCII, as most text is.
    let is_plain = text.bytes().all(|octet| matches!(octet, b' '..=b'~'));
    if is_plain || !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            hidden if is_hidden(hidden) => {
                let code = u32::from(hidden);
                let written = if code < 0x100 {
                    write!(safe, "\\x{code:02x}")
                } else {
                    write!(safe, "\\u{{{code:x}}}")
                };
                debug_assert!(written.is_ok(), "writing to a String cannot fail");
            }
            shown => safe.push(shown),
        }
    }
    Cow::Owned(safe)
}

/// Characters that change how other text is shown, or are not shown themselves.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{00ad}' // soft hyphen
            | '\u{061c}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' // zero width, direction marks
            | '\u{2028}'..='\u{202e}' // separators, embeddings, overrides
            | '\u{2060}'..='\u{206f}' // joiners, isolates
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}' // tags
        )
}

/// For the terminal: [`visible`] is all it takes.
#[must_use]
pub fn terminal(text: &str) -> Cow<'_, str> {
    visible(text)
}

/// For HTML and SVG text and for attribute values in double or single quotes.
#[must_use]
pub fn html(text: &str) -> String {
    let visible = visible(text);
    let mut rest = &*visible;
    let mut safe = String::with_capacity(text.len() + 8);
    while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
        let (plain, marked) = rest.split_at(at);
        safe.push_str(plain);
        safe.push_str(match marked.as_bytes()[0] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            _ => "&#39;",
        });
        rest = &marked[1..];
    }
    safe + rest
}

/// For Markdown text, in paragraphs, list items and table cells alike.
///
/// Besides markup it breaks what hosts turn into links by themselves: URLs, `www.`, mail
/// addresses, `@names` and `#123`.
#[must_use]
pub fn markdown(text: &str) -> String {
    let visible = visible(text);
    let mut safe = String::with_capacity(visible.len() + 16);
    let mut previous = ' ';
    for (at, character) in visible.char_indices() {
        let rest = &visible[at..];
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '@' => safe.push_str("&#64;"),
            ':' if rest.starts_with("://") || names_a_scheme(&visible[..at]) => {
                safe.push_str("&#58;");
            }
            '.' if ends_with_www(&visible[..at]) => safe.push_str("&#46;"),
            // Inside a word `_` means nothing, and names are full of it.
            '_' if previous.is_alphanumeric()
                && rest[1..].starts_with(|next: char| next.is_alphanumeric()) =>
            {
                safe.push('_');
            }
            // Parentheses mean something only behind brackets, and those are quoted.
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '#' | '|' | '~' | '!' | '$' => {
                safe.push('\\');
                safe.push(character);
            }
            '+' | '-' | '=' if at == 0 => {
                safe.push('\\');
                safe.push(character);
            }
            '.' | ')' if begins_a_list(&visible[..at], &rest[1..]) => {
                safe.push('\\');
                safe.push(character);
            }
            plain => safe.push(plain),
        }
        previous = character;
    }
    safe
}

/// `1.` or `1)` and a space: a numbered list.
fn begins_a_list(before: &str, after: &str) -> bool {
    !before.is_empty()
        && before.bytes().all(|byte| byte.is_ascii_digit())
        && (after.is_empty() || after.starts_with(' '))
}

fn ends_with_www(before: &str) -> bool {
    let bytes = before.as_bytes();
    bytes.len() >= 3 && bytes[bytes.len() - 3..].eq_ignore_ascii_case(b"www")
}

/// `javascript:` and the like need no slashes to be followed.
fn names_a_scheme(before: &str) -> bool {
    ["javascript", "data", "vbscript", "mailto", "xmpp", "file"]
        .iter()
        .any(|scheme| {
            let (text, scheme) = (before.as_bytes(), scheme.as_bytes());
            text.len() >= scheme.len()
                && text[text.len() - scheme.len()..].eq_ignore_ascii_case(scheme)
        })
}

/// A relative path in a link: everything but letters, digits, `-`, `.`, `_` and `/` is encoded.
#[must_use]
pub fn url_path(path: &str) -> String {
    let mut safe = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'/') {
            safe.push(char::from(byte));
        } else {
            let written = write!(safe, "%{byte:02X}");
            debug_assert!(written.is_ok(), "writing to a String cannot fail");
        }
    }
    safe
}

/// A fenced code block that its content cannot leave.
///
/// Line ends of `code` are kept; all else is made [`visible`].
#[must_use]
pub fn markdown_code_block(code: &str, language: &str) -> String {
    let lines: Vec<_> = code.lines().map(visible).collect();
    let body = lines.join("\n");
    let fence = "`".repeat(longest_run(&body, '`').max(2) + 1);
    format!("{fence}{language}\n{body}\n{fence}\n")
}

/// Inline code for paragraphs and list items (in tables use [`markdown`]).
#[must_use]
pub fn markdown_code(code: &str) -> String {
    let body = visible(code);
    let fence = "`".repeat(longest_run(&body, '`') + 1);
    let pad = if body.starts_with('`') || body.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{body}{pad}{fence}")
}

fn longest_run(text: &str, wanted: char) -> usize {
    text.split(|character| character != wanted)
        .map(str::len)
        .max()
        .unwrap_or(0)
}

/// For a label or message of a Mermaid diagram inside a Markdown code block.
///
/// Mermaid reads `;` and `#` as syntax, lines as statements and labels as HTML: only letters,
/// digits and harmless punctuation stay, the rest is shown by look-alikes or dropped.
#[must_use]
pub fn mermaid(text: &str) -> String {
    let safe: String = visible(text)
        .chars()
        .map(|character| match character {
            '<' => '‹',
            '>' => '›',
            '"' | '`' | '\'' => '’',
            ';' => ',',
            '&' => '+',
            ' ' | '.' | ',' | ':' | '/' | '+' | '-' | '=' | '(' | ')' | '→' | '–' | '—' | '…'
            | '²' | '×' | '≥' | '≤' | '≈' | 'µ' | '_' | '\\' => character,
            other if other.is_alphanumeric() => other,
            _ => '·',
        })
        .collect();
    // `%%` (a comment) cannot occur any more: `%` became `·`; `--` could begin an arrow.
    safe.replace("--", "–")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_and_bidi_controls_are_shown_not_sent() {
        assert_eq!(terminal("a\x1b[31mb"), "a\\x1b[31mb");
        assert_eq!(terminal("x\u{202e}gnp.exe"), "x\\u{202e}gnp.exe");
        assert_eq!(terminal("\u{9b}31m\u{7f}\n"), "\\x9b31m\\x7f\\n");
        assert!(matches!(terminal("GET /größe → ok"), Cow::Borrowed(_)));
    }

    #[test]
    fn html_is_quoted() {
        assert_eq!(
            html("<a href='x'>&\""),
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;"
        );
    }

    #[test]
    fn markdown_markup_and_links_are_broken() {
        assert_eq!(markdown("[a](javascript:b)"), "\\[a\\](javascript&#58;b)");
        assert_eq!(markdown("a|b`c`"), "a\\|b\\`c\\`");
        assert_eq!(markdown("http://evil"), "http&#58;//evil");
        assert_eq!(markdown("www.evil.org"), "www&#46;evil.org");
        assert_eq!(markdown("@team #12"), "&#64;team \\#12");
        assert_eq!(markdown("tcp_fin_timeout"), "tcp_fin_timeout");
        assert_eq!(markdown("1. no list"), "1\\. no list");
        assert_eq!(markdown("a\nb"), "a\\\\nb");
        assert_eq!(markdown("1) no list"), "1\\) no list");
        assert_eq!(markdown("10.9.0.1:80 (http)"), "10.9.0.1:80 (http)");
    }

    #[test]
    fn code_cannot_leave_its_fence() {
        assert_eq!(markdown_code("a`b"), "``a`b``");
        let block = markdown_code_block("x\n````\ny", "");
        assert!(block.starts_with("`````\n") && block.ends_with("\n`````\n"));
    }

    #[test]
    fn mermaid_statements_cannot_be_smuggled_in() {
        let safe = mermaid("x; note over A: <script>#59;\nend %%{init}");
        assert!(
            !safe.contains([';', '<', '>', '#', '%', '{', '\n']),
            "{safe}"
        );
    }
}
