//! Addresses, numbers and times as tools write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use analyzer::{Endpoint, Timestamp};

use crate::model::Clock;
use crate::packet_rule::Net;

const SECOND: i64 = 1_000_000_000;

/// An address; `*` is any; an interface after `%` is left out; IPv4 within IPv6 is IPv4.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_start_matches('[').trim_end_matches(']');
    let text = text.split('%').next().unwrap_or(text).trim_end_matches(']');
    if text == "*" {
        return Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    }
    let ip: IpAddr = text.parse().ok()?;
    Some(ip.to_canonical())
}

/// `10.0.0.1:80`, `[::1]:80`, `::1:80` (netstat), `*:80`, `10.0.0.1%eth0:53`, `0.0.0.0:*`.
pub(crate) fn endpoint(text: &str) -> Option<Endpoint> {
    let (ip, port) = text.rsplit_once(':')?;
    let port = if port == "*" { 0 } else { port.parse().ok()? };
    Some(Endpoint::new(address(ip)?, port))
}

/// The other end of a socket; `None` when it has none, or the text is no endpoint.
pub(crate) fn peer(text: &str) -> Option<Endpoint> {
    endpoint(text).filter(|end| end.port != 0 && !end.ip.is_unspecified())
}

/// An address and a port from two texts.
pub(crate) fn pair(ip: &str, port: &str) -> Option<Endpoint> {
    Some(Endpoint::new(address(ip)?, port.parse().ok()?))
}

/// `10.0.0.0/8`, `10.0.0.1`, `!10.0.0.0/8`, `! 10.0.0.0/8`.
pub(crate) fn net(text: &str) -> Option<Net> {
    let (negated, text) = match text.strip_prefix('!') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, text),
    };
    let (ip, bits) = text.split_once('/').unwrap_or((text, ""));
    let ip: IpAddr = ip.parse().ok()?;
    let whole = if ip.is_ipv4() { 32 } else { 128 };
    let bits = match (bits, bits.parse::<Ipv4Addr>()) {
        ("", _) => whole,
        (_, Ok(mask)) => u8::try_from(mask.to_bits().leading_ones()).ok()?,
        _ => bits.parse().ok()?,
    };
    (bits <= whole).then_some(Net { ip, bits, negated })
}

/// Hexadecimal as in `/proc/net/tcp`: words of four octets in the order of the host (little-endian).
pub(crate) fn proc_endpoint(text: &str) -> Option<Endpoint> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.swap_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from_bits(word(0)?)),
        32 => {
            let mut bits = 0_u128;
            for at in 0..4 {
                bits = bits << 32 | u128::from(word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        _ => return None,
    };
    Some(Endpoint::new(ip.to_canonical(), port))
}

/// The digits at the beginning, as a number.
pub(crate) fn leading_number(text: &str) -> Option<u64> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    text.get(..len)?.parse().ok()
}

/// A decimal number with an optional unit `ms`, in milliseconds or as it is.
pub(crate) fn decimal(text: &str) -> Option<f64> {
    let len = text
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
        .count();
    let number: f64 = text.get(..len)?.parse().ok()?;
    number.is_finite().then_some(number)
}

/// The text between `before` and the next of `ends`.
pub(crate) fn between<'a>(text: &'a str, before: &str, ends: &[char]) -> Option<&'a str> {
    let from = text.find(before)? + before.len();
    let rest = text.get(from..)?;
    rest.get(..rest.find(ends).unwrap_or(rest.len()))
}

/// `12.345678` as nanoseconds.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let mut nanos = 0_i64;
    let mut unit = SECOND / 10;
    for digit in fraction.bytes().take(9) {
        nanos += i64::from(digit - b'0') * unit;
        unit /= 10;
    }
    whole
        .parse::<i64>()
        .ok()?
        .checked_mul(SECOND)?
        .checked_add(nanos)
}

/// `10:15:00` or `10:15:00.123456` as nanoseconds since midnight.
pub(crate) fn time_of_day(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let (hours, minutes) = (parts.next()?, parts.next()?);
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let hours: i64 = hours.parse().ok().filter(|hours| (0..24).contains(hours))?;
    let minutes: i64 = minutes
        .parse()
        .ok()
        .filter(|minutes| (0..60).contains(minutes))?;
    Some((hours * 60 + minutes) * 60 * SECOND + seconds(parts.next()?)?)
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The number of an English month's first three letters.
fn month(text: &str) -> Option<usize> {
    let name = text.get(..3)?;
    let at = MONTHS
        .iter()
        .position(|month| month.eq_ignore_ascii_case(name))?;
    Some(at + 1)
}

fn civil(year: &str, month: usize, day: &str, clock: &str, zone: &str) -> Option<i64> {
    let zone = match zone {
        "" | "UTC" | "GMT" | "Z" => "Z".to_owned(),
        _ if zone.len() == 5 => format!("{}:{}", zone.get(..3)?, zone.get(3..)?),
        _ => zone.to_owned(),
    };
    let day: u32 = day.parse().ok()?;
    let text = format!(
        "{year}-{month:02}-{day:02}T{}{zone}",
        clock.replace(',', ".")
    );
    text.parse::<Timestamp>().ok().map(Timestamp::as_nanos)
}

/// `24/Nov/2026:10:15:00 +0000` (web servers) and `24/Nov/2026:10:15:00.123` (HAProxy).
pub(crate) fn log_time(text: &str) -> Option<(i64, Clock)> {
    let (date, zone) = text.split_once(' ').unwrap_or((text, ""));
    let (date, clock) = date.split_once(':')?;
    let mut parts = date.splitn(3, '/');
    let (day, name, year) = (parts.next()?, parts.next()?, parts.next()?);
    let known = if zone.is_empty() {
        Clock::Local
    } else {
        Clock::Epoch
    };
    Some((civil(year, month(name)?, day, clock, zone)?, known))
}

/// `Nov 24 10:15:00`, of a year that the line does not tell: that of `year`.
pub(crate) fn syslog_time(text: &str, year: i64) -> Option<i64> {
    let mut words = text.split_ascii_whitespace();
    let (name, day, clock) = (words.next()?, words.next()?, words.next()?);
    civil(&format!("{year:04}"), month(name)?, day, clock, "")
}

/// RFC 3339 and what comes near: a space for the T, `/` in the date, a comma before the fraction,
/// a zone without colon or none.
pub(crate) fn iso_time(text: &str) -> Option<(i64, Clock)> {
    let date = text.get(..10)?;
    let bytes = date.as_bytes();
    let is_date = bytes.iter().enumerate().all(|(at, byte)| match at {
        4 | 7 => matches!(byte, b'-' | b'/'),
        _ => byte.is_ascii_digit(),
    });
    if !is_date || !matches!(text.as_bytes().get(10), Some(b'T' | b' ' | b't')) {
        return None;
    }
    let rest = text.get(11..)?;
    let is_clock = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b':' | b'.' | b',');
    let len = rest.bytes().take_while(|byte| is_clock(byte)).count();
    let clock = rest.get(..len)?.trim_end_matches([':', ',', '.']);
    let zone = rest.get(len..)?.trim_start_matches(' ');
    let (zone, known) = match zone.as_bytes().first() {
        Some(b'Z') => ("Z", Clock::Epoch),
        Some(b'+' | b'-') => {
            let is_zone = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b':');
            let len = zone.bytes().take_while(|byte| is_zone(byte)).count().min(6);
            (zone.get(..len)?, Clock::Epoch)
        }
        _ => ("", Clock::Local),
    };
    let month: usize = date.get(5..7)?.parse().ok()?;
    let nanos = civil(date.get(..4)?, month, date.get(8..)?, clock, zone)?;
    Some((nanos, known))
}

/// A line that is nothing but a time, as people print between snapshots: RFC 3339, seconds since
/// 1970, `date`'s own form, and any of them between marks such as `=== … ===`.
#[must_use]
pub fn read_time(line: &str) -> Option<(i64, Clock)> {
    let is_mark = |letter: char| matches!(letter, '=' | '-' | '#' | '*' | '>' | '<' | '[' | ']');
    let text = line.trim().trim_matches(is_mark).trim();
    if !(8..=60).contains(&text.len()) {
        return None;
    }
    if text.len() <= 33
        && let Some(found) = iso_time(text)
    {
        return Some(found);
    }
    if let Some(nanos) = seconds(text).filter(|nanos| *nanos > 900_000_000 * SECOND) {
        return Some((nanos, Clock::Epoch));
    }
    date_time(text)
}

/// `Tue Nov 24 10:15:00 UTC 2026`, `Tue 24 Nov 2026 10:15:00 AM UTC`.
fn date_time(text: &str) -> Option<(i64, Clock)> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    if !(5..=8).contains(&words.len()) {
        return None;
    }
    let name = words.iter().find_map(|word| {
        let is_month = word.len() >= 3 && word.len() <= 9;
        is_month.then(|| month(word)).flatten()
    })?;
    let is_number = |word: &&&str| word.bytes().all(|byte| byte.is_ascii_digit());
    let year = words
        .iter()
        .filter(is_number)
        .find(|word| word.len() == 4)?;
    let day = words
        .iter()
        .filter(is_number)
        .find(|word| word.len() <= 2)?;
    let clock = words.iter().find(|word| time_of_day(word).is_some())?;
    let is_zone = words.iter().any(|word| matches!(*word, "UTC" | "GMT"));
    let nanos = civil(year, name, day, clock, "")?;
    let afternoon = words.contains(&"PM") && !clock.starts_with("12");
    let shift = if afternoon { 12 * 3600 * SECOND } else { 0 };
    Some((
        nanos + shift,
        if is_zone { Clock::Epoch } else { Clock::Local },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_nanos()
    }

    #[test]
    fn endpoints_of_all_tools() {
        let shown = |text: &str| endpoint(text).map(|end| end.to_string());
        assert_eq!(shown("10.9.0.1:80").as_deref(), Some("10.9.0.1:80"));
        assert_eq!(shown("[fd00::1]:80").as_deref(), Some("[fd00::1]:80"));
        assert_eq!(shown("fd00::1:80").as_deref(), Some("[fd00::1]:80"));
        assert_eq!(
            shown("[::ffff:10.9.0.1]:80").as_deref(),
            Some("10.9.0.1:80")
        );
        assert_eq!(shown("127.0.0.53%lo:53").as_deref(), Some("127.0.0.53:53"));
        assert_eq!(shown("[fe80::1%eth0]:80").as_deref(), Some("[fe80::1]:80"));
        assert_eq!(shown("*:80").as_deref(), Some("0.0.0.0:80"));
        assert_eq!(shown("x"), None);
        assert_eq!(peer("0.0.0.0:*"), None);
        let text = "0100007F:1F90";
        assert_eq!(proc_endpoint(text).unwrap().to_string(), "127.0.0.1:8080");
        let text = "00000000000000000000000001000000:0050";
        assert_eq!(proc_endpoint(text).unwrap().to_string(), "[::1]:80");
    }

    #[test]
    fn times_of_all_tools() {
        let noon = utc("2026-11-24T12:00:00Z");
        for text in [
            "2026-11-24T12:00:00Z",
            "2026-11-24 13:00:00+01:00",
            "2026-11-24T13:00:00+0100",
            "=== 2026-11-24T12:00:00Z ===",
            "1795521600",
            "1795521600.000",
            "Tue Nov 24 12:00:00 UTC 2026",
            "Tue 24 Nov 2026 12:00:00 PM UTC",
        ] {
            assert_eq!(read_time(text), Some((noon, Clock::Epoch)), "{text}");
        }
        let local = Some((noon, Clock::Local));
        assert_eq!(read_time("2026-11-24 12:00:00"), local);
        assert_eq!(log_time("24/Nov/2026:12:00:00.000"), local);
        let epoch = Some((noon, Clock::Epoch));
        assert_eq!(log_time("24/Nov/2026:13:00:00 +0100"), epoch);
        assert_eq!(syslog_time("Nov 24 12:00:00", 2026), Some(noon));
        assert_eq!(iso_time("2026/11/24 12:00:00 [error] 1#1"), local);
        assert_eq!(read_time("LISTEN 0 5 0.0.0.0:80 0.0.0.0:*"), None);
        assert_eq!(time_of_day("00:00:01.5"), Some(1_500_000_000));
    }

    #[test]
    fn networks_hold_their_addresses() {
        let holds = |text: &str, ip: &str| net(text).unwrap().contains(ip.parse().unwrap());
        assert!(holds("123.56.0.0/16", "123.56.9.9"));
        assert!(holds("10.0.0.0/255.0.0.0", "10.1.2.3"));
        assert!(!holds("!10.0.0.0/8", "10.1.2.3"));
        assert!(holds("0.0.0.0/0", "8.8.8.8"));
        assert!(holds("fd00::/8", "fd12::1"));
        assert!(!holds("fd00::/8", "10.1.2.3"));
    }
}
