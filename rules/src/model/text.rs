//! Numbers, counts and filters in words: the one place where units are written.
//!
//! Sentences of findings round coarsely ([`time`], [`bytes`], [`percent`]). What reports list and draw
//! has three digits and the unit that fits ([`duration`], [`size`], [`percentage`]). Neither depends on
//! a locale: a comma groups thousands, a point separates decimals.

use std::net::IpAddr;
use std::time::Duration;

use analyzer::Endpoint;

use crate::model::connection_ref::ConnectionRef;

/// Milliseconds of a duration.
#[must_use]
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A time given in milliseconds, in the unit that reads best: `< 1 µs`, `420 µs`, `37 ms`, `5.00 s`.
#[must_use]
pub fn time(ms: f64) -> String {
    let size = ms.abs();
    if size < 0.001 {
        "< 1 µs".to_owned()
    } else if size < 0.9995 {
        format!("{:.0} µs", ms * 1e3)
    } else if size < 10.0 {
        format!("{ms:.1} ms")
    } else if size < 1000.0 {
        format!("{ms:.0} ms")
    } else if size < 100_000.0 {
        format!("{:.2} s", ms / 1e3)
    } else {
        format!("{:.0} s", ms / 1e3)
    }
}

/// A duration in the unit that reads best.
#[must_use]
pub fn span(duration: Duration) -> String {
    time(ms(duration))
}

/// Seconds for a setting: whole when they are nearly whole, else one digit.
#[must_use]
pub fn seconds(ms: f64) -> String {
    let seconds = ms / 1e3;
    if (seconds - seconds.round()).abs() < 0.05 && seconds >= 0.95 {
        format!("{:.0}", seconds.round())
    } else {
        format!("{seconds:.1}")
    }
}

/// A number of octets: `512 bytes`, `12.4 kB`, `3.2 MB` (powers of ten).
#[must_use]
pub fn bytes(octets: f64) -> String {
    if octets < 10_000.0 {
        plural(octets, "byte")
    } else if octets < 1e6 {
        format!("{:.1} kB", octets / 1e3)
    } else if octets < 1e9 {
        format!("{:.1} MB", octets / 1e6)
    } else {
        format!("{:.1} GB", octets / 1e9)
    }
}

/// The end that is not `end`: `client` or `server`.
#[must_use]
pub fn other_end(end: &str) -> &'static str {
    if end == "server" { "client" } else { "server" }
}

/// One end of the connections with a server: `server 10.0.0.2:80` or `client of 10.0.0.2:80`.
#[must_use]
pub fn end_at(end: &str, server: Endpoint) -> String {
    match end {
        "server" => format!("server {server}"),
        end => format!("{end} of {server}"),
    }
}

/// A count and its noun: `1 request`, `12 requests`.
#[must_use]
pub fn plural(count: f64, noun: &str) -> String {
    let rounded = count.round();
    format!(
        "{rounded:.0} {}",
        agreeing(noun, (rounded - 1.0).abs() < 0.5)
    )
}

/// A noun as it stands behind its count.
fn agreeing(noun: &str, is_one: bool) -> String {
    if is_one {
        return noun.to_owned();
    }
    match noun.strip_suffix("ry") {
        Some(stem) => format!("{stem}ries"),
        None if noun.ends_with("ss") || noun.ends_with('x') || noun.ends_with("ch") => {
            format!("{noun}es")
        }
        None => format!("{noun}s"),
    }
}

/// A count of `u64` and its noun.
#[must_use]
pub fn many(count: u64, noun: &str) -> String {
    plural(number(count), noun)
}

/// A counter as a figure. Exact to 2⁵³.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counters stay far below 2^53")]
pub fn number(count: u64) -> f64 {
    count as f64
}

/// A share (0–1) in percent.
#[must_use]
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 1.0 {
        format!("{percent:.2} %")
    } else if percent < 10.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

/// `a / b`, or zero when `b` is zero.
#[must_use]
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        number(part) / number(whole)
    }
}

/// `12,345`.
#[must_use]
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 check`, `12,345 checks`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {}", count(number), agreeing(noun, number == 1))
}

/// Three significant digits at most, whole numbers in full: `0.05`, `5`, `65`, `12.3`, `1,234`.
#[must_use]
pub fn rounded(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let magnitude = value.abs();
    if magnitude >= 100.0 || (value.fract() == 0.0 && magnitude < 1e15) {
        let sign = if value <= -0.5 { "−" } else { "" };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rounded, not negative; huge values saturate"
        )]
        return format!("{sign}{}", count(magnitude.round() as u64));
    }
    let decimals = if magnitude >= 10.0 {
        1
    } else if magnitude >= 0.1 {
        2
    } else {
        3
    };
    let text = format!("{value:.decimals$}");
    text.trim_end_matches('0')
        .trim_end_matches('.')
        .replace('-', "−")
}

/// A duration in its fitting unit: `45 µs`, `12.3 ms`, `5 s`, `2 min 5 s`, `3 h 12 min`.
#[must_use]
pub fn duration(ms: f64) -> String {
    let magnitude = ms.abs();
    if magnitude == 0.0 {
        "0 ms".to_owned()
    } else if magnitude < 0.9995 {
        format!("{} µs", rounded(ms * 1e3))
    } else if magnitude < 999.5 {
        format!("{} ms", rounded(ms))
    } else if magnitude < 119_500.0 {
        format!("{} s", rounded((ms / 10.0).round() / 100.0))
    } else {
        let sign = if ms < 0.0 { "−" } else { "" };
        let seconds = (magnitude / 1e3).round();
        let (hours, minutes) = (
            (seconds / 3600.0).floor(),
            (seconds % 3600.0 / 60.0).floor(),
        );
        match (hours > 0.0, minutes, seconds % 60.0) {
            (false, minutes, 0.0) => format!("{sign}{minutes} min"),
            (false, minutes, rest) => format!("{sign}{minutes} min {rest} s"),
            (true, minutes, _) => format!("{sign}{} h {minutes} min", rounded(hours)),
        }
    }
}

/// Bytes in decimal units, as network people count: `512 B`, `1.5 kB`, `12.3 MB`.
#[must_use]
pub fn size(bytes: f64) -> String {
    scaled(bytes, ["B", "kB", "MB", "GB", "TB", "PB"])
}

/// Bits per second: `9.6 Mbit/s`.
#[must_use]
pub fn bit_rate(rate: f64) -> String {
    scaled(
        rate,
        ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s"],
    )
}

fn scaled(value: f64, units: [&str; 6]) -> String {
    let mut scaled = value;
    let mut unit = units[0];
    for larger in &units[1..] {
        if scaled.abs() < 999.5 {
            break;
        }
        scaled /= 1e3;
        unit = larger;
    }
    format!("{} {unit}", rounded(scaled))
}

/// A share of 0–1 as `97 %`; small ones keep a digit. Never says 100 % or 0 % unless it is.
#[must_use]
pub fn percentage(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 99.5 && percent < 100.0 {
        "> 99 %".to_owned()
    } else if percent.abs() < 9.95 {
        format!("{} %", rounded((percent * 10.0).round() / 10.0))
    } else {
        format!("{} %", rounded(percent.round()))
    }
}

/// Words joined as `a`, `a and b`, `a, b and c`.
#[must_use]
pub fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

/// A hardware address: `02:00:5e:10:00:01`.
#[must_use]
pub fn mac(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

/// The display filter field of an address: `ip.addr` or `ipv6.addr`.
fn address_field(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "ip.addr" } else { "ipv6.addr" }
}

/// A Wireshark display filter for one connection.
#[must_use]
pub fn connection_filter(connection: &ConnectionRef) -> String {
    let field = address_field(connection.client.ip);
    let transport = connection.transport.as_str();
    let (client, server) = (connection.client, connection.server);
    if let Some(other) = connection.translated_to {
        return format!(
            "{field}=={} && {transport}.port=={} && ({field}=={} || {field}=={})",
            client.ip, client.port, server.ip, other.ip
        );
    }
    let addresses = if client.ip == server.ip {
        format!("{field}=={}", client.ip)
    } else {
        format!("{field}=={} && {field}=={}", client.ip, server.ip)
    };
    format!(
        "{addresses} && {transport}.port=={} && {transport}.port=={}",
        client.port, server.port
    )
}

/// A Wireshark display filter for several connections (the first five).
#[must_use]
pub fn connections_filter(connections: &[ConnectionRef]) -> String {
    match connections {
        [one] => connection_filter(one),
        many => {
            let parts: Vec<String> = many
                .iter()
                .take(5)
                .map(|one| format!("({})", connection_filter(one)))
                .collect();
            parts.join(" || ")
        }
    }
}

/// A Wireshark display filter for everything to and from an endpoint.
#[must_use]
pub fn endpoint_filter(endpoint: analyzer::Endpoint, transport: analyzer::Transport) -> String {
    let field = address_field(endpoint.ip);
    format!(
        "{field}=={} && {}.port=={}",
        endpoint.ip,
        transport.as_str(),
        endpoint.port
    )
}

/// A request target of at most 60 characters: a longer one loses its end.
#[must_use]
pub(crate) fn shortened(target: &str) -> String {
    if target.chars().count() <= 60 {
        target.to_owned()
    } else {
        target.chars().take(59).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        assert_eq!(time(0.0), "< 1 µs");
        assert_eq!(time(0.4219), "422 µs");
        assert_eq!(time(37.2), "37 ms");
        assert_eq!(time(5002.0), "5.00 s");
        assert_eq!(time(350_000.0), "350 s");
        assert_eq!(seconds(5002.0), "5");
        assert_eq!(seconds(1500.0), "1.5");
    }

    #[test]
    fn counts_agree_with_their_noun() {
        assert_eq!(many(1, "request"), "1 request");
        assert_eq!(many(2, "loss"), "2 losses");
        assert_eq!(many(2, "query"), "2 queries");
        assert_eq!(bytes(512.0), "512 bytes");
        assert_eq!(bytes(12_400.0), "12.4 kB");
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(12_345_678), "12,345,678");
    }

    #[test]
    fn durations_take_the_fitting_unit() {
        assert_eq!(duration(0.045), "45 µs");
        assert_eq!(duration(12.34), "12.3 ms");
        assert_eq!(duration(5_000.0), "5 s");
        assert_eq!(duration(5_012.0), "5.01 s");
        assert_eq!(duration(125_000.0), "2 min 5 s");
        assert_eq!(duration(11_520_000.0), "3 h 12 min");
        assert_eq!(duration(999.9), "1 s");
        assert_eq!(duration(-3.0), "−3 ms");
    }

    #[test]
    fn bytes_and_rates() {
        assert_eq!(size(512.0), "512 B");
        assert_eq!(size(1_500.0), "1.5 kB");
        assert_eq!(size(999_999.0), "1 MB");
        assert_eq!(bit_rate(9_600_000.0), "9.6 Mbit/s");
    }

    #[test]
    fn shares_never_round_to_certainty() {
        assert_eq!(percentage(0.997), "> 99 %");
        assert_eq!(percentage(1.0), "100 %");
        assert_eq!(percentage(0.004), "0.4 %");
        assert_eq!(percentage(0.95), "95 %");
    }

    #[test]
    fn a_count_of_any_size_agrees_with_its_noun() {
        assert_eq!(counted(1, "query"), "1 query");
        assert_eq!(counted(2_000, "query"), "2,000 queries");
    }
}
