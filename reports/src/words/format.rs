//! Figures, times and costs for people; units are written by [`rules::text`].
//!
//! A figure's unit is the ending of its name; see [`figure`].

pub use rules::text::{bit_rate, count, counted, duration, percentage, rounded, size};
use serde_json::{Map, Value};

/// A duration given in seconds.
#[must_use]
pub fn seconds(s: f64) -> String {
    duration(s * 1e3)
}

/// Advice with the product it is for in front, unless it is for any.
#[must_use]
pub fn advice(product: &str, text: &str) -> String {
    match product {
        "any" => text.to_owned(),
        product => format!("{product}: {text}"),
    }
}

/// A phrase as a sentence: with a capital and a full stop.
#[must_use]
pub fn sentence(phrase: &str) -> String {
    let mut letters = phrase.chars();
    letters.next().map_or_else(String::new, |first| {
        format!("{}{}.", first.to_uppercase(), letters.as_str())
    })
}

/// Longest title of a finding.
pub const TITLE: usize = 80;

/// A title of at most [`TITLE`] characters: IPv6 addresses and long names lose their middle, then what does
/// not fit is left out behind a whole word.
#[must_use]
pub fn title(text: &str) -> String {
    let fits = |text: &str| text.chars().count() <= TITLE;
    if fits(text) {
        return text.to_owned();
    }
    let words: Vec<String> = text.split(' ').map(folded).collect();
    let mut title = words.join(" ");
    while !fits(&title) {
        let Some((kept, _)) = title.trim_end_matches('…').rsplit_once(' ') else {
            return shortened(&title, TITLE);
        };
        title = format!("{}…", kept.trim_end_matches([',', ';', ':', '(', '–', '—']));
    }
    title
}

/// An address or a name without its middle, with what stands around it; any other word as it is.
fn folded(word: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | ':' | '-' | '_');
    let (Some(start), Some(end)) = (word.find(is_part), word.rfind(is_part)) else {
        return word.to_owned();
    };
    let bracket = word.find(']').filter(|at| *at < end);
    let stop =
        bracket.unwrap_or_else(|| end + word[end..].chars().next().map_or(1, char::len_utf8));
    let (before, rest) = word.split_at(start);
    let (name, after) = rest.split_at(stop - start);
    let name = match name.parse::<std::net::Ipv6Addr>() {
        Ok(_) => without_middle(name, ':'),
        Err(_) if name.chars().count() > 24 => without_middle(name, '.'),
        Err(_) => name.to_owned(),
    };
    format!("{before}{name}{after}")
}

/// The first and the last two of more than four parts, or of more than two parts of a name.
fn without_middle(name: &str, separator: char) -> String {
    let parts: Vec<&str> = name
        .split(separator)
        .filter(|part| !part.is_empty())
        .collect();
    let most = if separator == ':' { 4 } else { 3 };
    match parts.as_slice() {
        [first, .., before, last] if parts.len() > most => {
            format!("{first}{separator}…{separator}{before}{separator}{last}")
        }
        _ => name.to_owned(),
    }
}

/// Frames named in a sentence.
const NAMED_FRAMES: usize = 8;

/// `frame 7`, `frames 7, 9 and 12`; of many the first ones and how many more there are.
#[must_use]
pub fn frames(frames: &[u64]) -> String {
    let named: Vec<_> = frames
        .iter()
        .take(NAMED_FRAMES)
        .map(u64::to_string)
        .collect();
    let last = match frames.len().saturating_sub(NAMED_FRAMES) {
        0 => None,
        more => Some(format!("{more} more")),
    };
    let (named, last) = match (named.split_last(), last) {
        (None, _) => return String::new(),
        (Some((only, [])), None) => return format!("frame {only}"),
        (Some((last, named)), None) => (named, last.clone()),
        (Some(_), Some(more)) => (named.as_slice(), more),
    };
    format!("frames {} and {last}", named.join(", "))
}

/// Time of day of an RFC 3339 text, to the millisecond: `12:30:05.123`.
#[must_use]
pub fn time_of_day(rfc3339: &str) -> &str {
    rfc3339.get(11..23).unwrap_or(rfc3339)
}

/// An RFC 3339 text as `2026-11-23 12:30:05 UTC`.
#[must_use]
pub fn date_time(rfc3339: &str) -> String {
    match (rfc3339.get(..10), rfc3339.get(11..19)) {
        (Some(date), Some(time)) => format!("{date} {time} UTC"),
        _ => rfc3339.to_owned(),
    }
}

/// Seconds since the capture began: `+12.345678 s`.
#[must_use]
pub fn elapsed(seconds: f64) -> String {
    format!("+{seconds:.6} s")
}

/// A figure's name without its unit, in words: `idle_timeout_ms` becomes `idle timeout`.
#[must_use]
pub fn figure_label(name: &str) -> String {
    let stem = unit_of(name).map_or(name, |(stem, _)| stem);
    // A unit inside the name is written with the value, too: `stall_ms_total`.
    let stem = stem.replace("_ms_", "_").replace("_bytes_", "_");
    stem.replace('_', " ")
        .replace("rtt", "RTT")
        .replace("dns", "DNS")
        .replace("synack", "SYN-ACK")
        .replace("syn ", "SYN ")
}

/// A figure's value with the unit its name ends in.
#[must_use]
pub fn figure(name: &str, value: &Value) -> String {
    match value {
        Value::Number(value) => value.as_f64().map_or_else(String::new, |value| {
            unit_of(name).map_or_else(|| rounded(value), |(_, format)| format(value))
        }),
        Value::String(text) => text.clone(),
        Value::Null => "–".to_owned(),
        other => other.to_string(),
    }
}

/// Writes a number with its unit.
type Format = fn(f64) -> String;

/// Splits a figure's name into its stem and the way its unit is written.
fn unit_of(name: &str) -> Option<(&str, Format)> {
    let units: [(&str, Format); 8] = [
        ("_ms", duration),
        ("_s", seconds),
        ("_bytes", size),
        ("_percent", |percent| percentage(percent / 100.0)),
        ("_per_second", |rate| format!("{}/s", rounded(rate))),
        ("_bps", bit_rate),
        ("_bits_per_second", bit_rate),
        ("_share", percentage),
    ];
    let found = units
        .into_iter()
        .find_map(|(ending, format)| name.strip_suffix(ending).map(|stem| (stem, format)));
    // `bytes` alone, or `stall_ms_total`: the unit stands inside the name.
    found.or_else(|| {
        let (inside, format): (_, Format) = if name.contains("_ms_") {
            (true, duration)
        } else if name == "bytes" || name.starts_with("bytes_") || name.contains("_bytes_") {
            (true, size)
        } else {
            (false, rounded)
        };
        inside.then_some((name, format))
    })
}

/// A cost in words: `12 requests failed, 3.4 s lost`. `None` when it cost nothing.
#[must_use]
pub fn cost_phrase(cost: &Map<String, Value>) -> Option<String> {
    let parts: Vec<_> = cost
        .iter()
        .filter_map(|(name, value)| cost_part(name, value))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// A count in a table column: bytes where the column's name says so.
#[must_use]
pub fn table_count(column: &str, number: u64) -> String {
    if column == "bytes" || column.ends_with("_bytes") {
        size(number as f64)
    } else {
        count(number)
    }
}

/// Seconds from one RFC 3339 text to another on the same or a later day, to the microsecond.
/// `None` when either is not of the form that [`analyzer::Timestamp`] writes.
#[must_use]
pub fn seconds_between(earlier: &str, later: &str) -> Option<f64> {
    let nanos = nanos(later)?.checked_sub(nanos(earlier)?)?;
    Some((nanos as f64 / 1e3).round() / 1e6)
}

/// Nanoseconds since 1970 of an RFC 3339 text in UTC; `None` for another form or year.
#[must_use]
pub(crate) fn unix_nanos(text: &str) -> Option<i64> {
    let since_1970 = nanos(text)? - nanos("1970-01-01T00:00:00.000000000Z")?;
    i64::try_from(since_1970).ok()
}

/// Nanoseconds since the year 0 of an RFC 3339 text in UTC.
fn nanos(text: &str) -> Option<i128> {
    let field = |from: usize, to: usize| text.get(from..to)?.parse::<i128>().ok();
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    // Days before a month count from March, so that the leap day ends a year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (month * 153 + 2) / 5
        + day;
    let seconds = ((days * 24 + field(11, 13)?) * 60 + field(14, 16)?) * 60 + field(17, 19)?;
    Some(seconds * 1_000_000_000 + field(20, 29).unwrap_or(0))
}

/// One item of a cost; `None` for zero.
fn cost_part(name: &str, value: &Value) -> Option<String> {
    if let Some(number) = value.as_f64()
        && number == 0.0
    {
        return None;
    }
    let amount = figure(name, value);
    let words = figure_label(name);
    let words = words.strip_prefix("bytes ").unwrap_or(&words);
    if value.as_f64() == Some(1.0) && amount == "1" {
        let (noun, rest) = words.split_once(' ').unwrap_or((words, ""));
        let noun = noun.strip_suffix('s').unwrap_or(noun);
        return Some(format!("1 {noun} {rest}").trim_end().to_owned());
    }
    Some(match words.strip_prefix("time ") {
        Some(rest) => format!("{amount} {rest}"),
        None => format!("{amount} {words}"),
    })
}

/// Confidence in words with its number: `certain (95 %)`. Each word is one step of the scale.
#[must_use]
pub fn confidence(confidence: f64) -> String {
    let words = if confidence >= 0.945 {
        "certain"
    } else if confidence >= 0.8 {
        "very likely"
    } else if confidence >= 0.6 {
        "likely"
    } else {
        "possible"
    };
    format!("{words} ({})", percentage(confidence))
}

/// Keeps numbers and their units on one line, for headings and paragraphs of the page.
#[must_use]
pub fn unbroken(text: &str) -> String {
    const UNITS: [&str; 14] = [
        "s", "ms", "µs", "min", "h", "B", "kB", "MB", "GB", "TB", "%", "bytes", "kbit/s", "Mbit/s",
    ];
    let mut out = String::with_capacity(text.len() + 8);
    for (index, word) in text.split(' ').enumerate() {
        let unit = word.trim_end_matches(['.', ',', ';', ':', ')']);
        let is_unit = UNITS.contains(&unit) && out.ends_with(|last: char| last.is_ascii_digit());
        match (index, is_unit) {
            (0, _) => {}
            (_, true) => out.push('\u{a0}'),
            (_, false) => out.push(' '),
        }
        out.push_str(word);
    }
    out
}

/// Cuts a text after at most `limit` characters and marks the cut.
#[must_use]
pub fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some(_) => {
            let kept: String = text.chars().take(limit.saturating_sub(1)).collect();
            format!("{}…", kept.trim_end())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_take_their_unit_from_the_name() {
        assert_eq!(figure("idle_timeout_ms", &json!(5000.0)), "5 s");
        assert_eq!(figure_label("idle_timeout_ms"), "idle timeout");
        assert_eq!(figure("stall_ms_total", &json!(250.0)), "250 ms");
        assert_eq!(figure("share_percent", &json!(97.0)), "97 %");
        assert_eq!(figure("packets_per_second", &json!(21_000.0)), "21,000/s");
        assert_eq!(figure("framing", &json!("u32be")), "u32be");
        assert_eq!(figure("bytes_unacked", &json!(2_000.0)), "2 kB");
    }

    #[test]
    fn units_stay_with_their_numbers() {
        assert_eq!(
            unbroken("after 1.15 s (2 kB), 3 times"),
            "after 1.15\u{a0}s (2\u{a0}kB), 3 times"
        );
        assert_eq!(figure_label("stall_ms_total"), "stall total");
    }

    #[test]
    fn seconds_between_times_of_different_years() {
        let (before, after) = (
            "2023-12-31T23:59:59.500000000Z",
            "2024-03-01T00:00:00.000001000Z",
        );
        assert_eq!(
            seconds_between(before, after),
            Some(60.0 * 86_400.0 + 0.500_001)
        );
        assert_eq!(seconds_between("yesterday", after), None);
    }

    #[test]
    fn titles_fold_names_and_keep_words_whole() {
        let title_of = |text: &str| {
            let title = title(text);
            assert!(title.chars().count() <= TITLE, "{title}");
            title
        };
        assert_eq!(title_of("Short (10.0.0.1:80)"), "Short (10.0.0.1:80)");
        assert_eq!(
            title_of(
                "Loss held back data from the server for up to 3.54 s ([2001:db8:1:2:3:4:5:6]:65535)"
            ),
            "Loss held back data from the server for up to 3.54 s ([2001:…:5:6]:65535)"
        );
        assert_eq!(
            title_of(
                "1 lookup of orders.backend.production.svc.cluster.local at 10.9.0.53:53 gets no response"
            ),
            "1 lookup of orders.….cluster.local at 10.9.0.53:53 gets no response"
        );
        let cut = title_of(
            "Redis 10.9.0.2:6379 returns error OOM command not allowed when used memory, and more",
        );
        assert_eq!(
            cut,
            "Redis 10.9.0.2:6379 returns error OOM command not allowed when used memory, and…"
        );
        title_of(&"ö".repeat(100));
    }

    #[test]
    fn costs_read_as_words() {
        let cost = json!({"requests_failed": 12.0, "time_lost_ms": 3_400.0, "bytes_lost": 0.0});
        let cost = cost.as_object().unwrap();
        assert_eq!(cost_phrase(cost).unwrap(), "12 requests failed, 3.4 s lost");
        let one = json!({"requests_failed": 1.0, "bytes_lost": 2_000.0});
        assert_eq!(
            cost_phrase(one.as_object().unwrap()).unwrap(),
            "1 request failed, 2 kB lost"
        );
        assert_eq!(cost_phrase(json!({}).as_object().unwrap()), None);
    }
}
