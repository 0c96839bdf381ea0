//! What file names tell: which files are parts of one rotated capture.
//!
//! | written by | names |
//! |---|---|
//! | `tcpdump -C` | `web.pcap`, `web.pcap1`, `web.pcap2`; with `-W` `web.pcap00`, … |
//! | `tcpdump -G` | `web-20261124-101500.pcap`, `web-2026-11-24_10:15:00.pcap`, `web-1795515300.pcap` |
//! | `dumpcap -b`, `editcap -c` | `web_00001_20261124101500.pcapng` |
//! | sidecars in Kubernetes | `pod-7d9f8b6c5-x2x4z_20261124T101500Z.pcap` |
//!
//! A number without leading noughts behind a dash (`web-1.pcap`, `web-2.pcap`) is the name of a
//! host as often as a part's number, so it groups nothing: `--group-by dir` does.

use std::ffi::OsStr;
use std::path::Path;

const COMPRESSIONS: [&str; 6] = ["gz", "zst", "lz4", "xz", "bz2", "zstd"];
const CAPTURES: [&str; 6] = ["pcap", "pcapng", "cap", "dmp", "snoop", "ntar"];

/// What stands for a date, a time or a number in a key.
const MARK: char = '*';

/// A file name taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name {
    /// The name without compression: two files that share it hold the same packets.
    pub content: String,
    /// What all parts of one rotated capture share.
    pub key: String,
}

impl Name {
    /// Whether the name says that it is one part of several.
    pub fn is_part(&self) -> bool {
        self.key.contains(MARK)
    }

    /// The key as a name for people and files: without marks and the separators around them.
    pub fn title(&self) -> String {
        let (stem, ending) = self.key.rsplit_once('.').unwrap_or((&self.key, ""));
        let separators = ['_', '-', '.', ' ', MARK];
        let words: Vec<&str> = stem
            .split(MARK)
            .map(|word| word.trim_matches(separators))
            .filter(|word| !word.is_empty())
            .collect();
        let words = if words.is_empty() {
            "capture".to_owned()
        } else {
            words.join("-")
        };
        if ending.is_empty() {
            words
        } else {
            format!("{words}.{ending}")
        }
    }
}

/// Whether a file's name says that it is a capture.
pub fn is_capture_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    split(uncompressed(&name)).1.is_some()
}

/// Whether an ending of a file name is a capture format's or a compression's.
pub fn is_capture_ending(ending: &OsStr) -> bool {
    let known = CAPTURES.iter().chain(&COMPRESSIONS);
    known.into_iter().any(|one| ending == *one)
}

/// Takes a file name apart.
pub fn parse(path: &Path) -> Name {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let content = uncompressed(&name);
    let (stem, ending) = split(content);
    let key = match ending {
        Some(ending) => {
            let stem = without_counter(&without_times(stem));
            format!("{stem}.{ending}")
        }
        None => without_times(content),
    };
    // `web.pcap` begins the series `web.pcap1`, `web.pcap2`: the number behind it is no mark.
    Name {
        content: content.to_owned(),
        key,
    }
}

fn uncompressed(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((rest, ending)) if COMPRESSIONS.contains(&ending.to_ascii_lowercase().as_str()) => {
            rest
        }
        _ => name,
    }
}

/// Stem and capture ending, the number that tcpdump -C puts behind it left out.
fn split(name: &str) -> (&str, Option<&str>) {
    let Some((stem, ending)) = name.rsplit_once('.') else {
        return (name, None);
    };
    let bare = ending.trim_end_matches(|c: char| c.is_ascii_digit());
    if CAPTURES.contains(&bare.to_ascii_lowercase().as_str()) {
        (stem, Some(bare))
    } else {
        (name, None)
    }
}

/// Puts a mark in the place of every date with time and every count of seconds since 1970.
fn without_times(stem: &str) -> String {
    let bytes = stem.as_bytes();
    let mut out = String::with_capacity(stem.len());
    let mut at = 0;
    while at < bytes.len() {
        let starts_number =
            bytes[at].is_ascii_digit() && (at == 0 || !bytes[at - 1].is_ascii_digit());
        if starts_number && let Some(len) = time_at(&bytes[at..]) {
            out.push(MARK);
            at += len;
            continue;
        }
        let end = (at + 1..=bytes.len()).find(|end| stem.is_char_boundary(*end));
        let end = end.unwrap_or(bytes.len());
        out.push_str(&stem[at..end]);
        at = end;
    }
    out
}

/// Length of the date or time that `text` begins with.
fn time_at(text: &[u8]) -> Option<usize> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // Seconds or milliseconds since 1970, from 2001 to 2065.
    if (digits == 10 || digits == 13) && matches!(text[0], b'1' | b'2') {
        return Some(digits);
    }
    let mut cursor = Cursor { text, at: 0 };
    cursor.number(4, 1990..=2099)?;
    cursor.separator(b"-_.");
    cursor.number(2, 1..=12)?;
    cursor.separator(b"-_.");
    cursor.number(2, 1..=31)?;
    let mut end = cursor.at;
    cursor.separator(b"T_-. t");
    let time = |cursor: &mut Cursor<'_>| {
        cursor.number(2, 0..=23)?;
        cursor.separator(b"-_.:h");
        cursor.number(2, 0..=59)?;
        let whole = cursor.at;
        cursor.separator(b"-_.:m");
        Some(cursor.number(2, 0..=60).map_or(whole, |()| cursor.at))
    };
    if let Some(after) = time(&mut cursor) {
        end = after;
    }
    if text
        .get(end)
        .is_some_and(|byte| matches!(byte, b'Z' | b'z'))
    {
        end += 1;
    }
    // A longer number is something else.
    text.get(end)
        .is_none_or(|byte| !byte.is_ascii_digit())
        .then_some(end)
}

struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn number(&mut self, len: usize, range: std::ops::RangeInclusive<u32>) -> Option<()> {
        let digits = self.text.get(self.at..self.at + len)?;
        let digits = std::str::from_utf8(digits).ok()?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || !range.contains(&digits.parse().ok()?) {
            return None;
        }
        self.at += len;
        Some(())
    }

    fn separator(&mut self, of: &[u8]) {
        let next = self.text.get(self.at);
        self.at += usize::from(next.is_some_and(|byte| of.contains(byte)));
    }
}

/// Puts a mark in the place of a part's number: before a time, or at the end with noughts in
/// front (`web_00001_*`, `web_001`).
fn without_counter(stem: &str) -> String {
    let (before, after) = match stem.find(MARK) {
        Some(mark) => (
            stem[..mark].trim_end_matches(['_', '-', '.']),
            &stem[mark..],
        ),
        None => (stem, ""),
    };
    let head = before.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &before[head.len()..];
    let is_counter =
        digits.len() >= 3 && (digits.starts_with('0') || !after.is_empty() && digits.len() >= 5);
    let is_apart = head.is_empty() || head.ends_with(['_', '-', '.']);
    if is_counter && is_apart {
        return format!("{head}{MARK}{}", after.trim_start_matches(MARK));
    }
    stem.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> String {
        parse(Path::new(name)).key
    }

    #[test]
    fn parts_of_one_capture_share_a_key() {
        for parts in [
            &["web.pcap", "web.pcap1", "web.pcap27", "web.pcap2.gz"][..],
            &["web-20261124-101500.pcap", "web-20261125-000000.pcap.zst"],
            &[
                "web-2026-11-24_10:15:00.pcap",
                "web-2026-11-24_11:15:00.pcap",
            ],
            &["web-1795515300.pcap", "web-1795518900.pcap"],
            &[
                "web_00001_20261124101500.pcapng",
                "web_10000_20261125101500.pcapng",
            ],
            &["web_20261124T101500Z.pcap", "web_20261124T111500Z.pcap"],
            &["web_001.pcap", "web_002.pcap"],
            &["20261124.pcap", "20261125.pcap"],
        ] {
            let first = key(parts[0]);
            for part in parts {
                assert_eq!(key(part), first, "{part}");
            }
        }
    }

    #[test]
    fn other_captures_do_not() {
        for (one, other) in [
            ("web-1.pcap", "web-2.pcap"),
            ("node01.pcap", "node02.pcap"),
            ("port-8080.pcap", "port-8443.pcap"),
            ("web.pcap", "db.pcap"),
            ("web.pcap", "web.pcapng"),
            (
                "web-7d9f8b6c5-x2x4z_20261124T101500Z.pcap",
                "web-7d9f8b6c5-q9q8z_20261124T101500Z.pcap",
            ),
            ("10.0.0.1.pcap", "10.0.0.2.pcap"),
            ("eth0", "eth1"),
        ] {
            assert_ne!(key(one), key(other), "{one} {other}");
        }
    }

    #[test]
    fn titles_are_names_without_marks() {
        let title = |name: &str| parse(Path::new(name)).title();
        assert_eq!(title("web_00001_20261124101500.pcapng"), "web.pcapng");
        assert_eq!(title("20261124.pcap"), "capture.pcap");
        assert_eq!(title("web.pcap12.gz"), "web.pcap");
        assert_eq!(title("eth0"), "eth0");
        assert_eq!(title("a-20261124-b.pcap"), "a-b.pcap");
    }

    #[test]
    fn compressed_copies_have_the_same_content() {
        assert_eq!(
            parse(Path::new("a.pcap1.gz")).content,
            parse(Path::new("a.pcap1")).content
        );
        assert!(is_capture_name(Path::new("a.PCAP3.gz")));
        assert!(!is_capture_name(Path::new("notes.txt.gz")));
    }
}
