//! Numbers, counts and filters in the words of findings.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::connection_ref::ConnectionRef;

/// Milliseconds of a duration.
#[must_use]
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A time given in milliseconds, in the unit that reads best: `0.42 ms`, `37 ms`, `5.00 s`.
#[must_use]
pub fn time(ms: f64) -> String {
    let size = ms.abs();
    if size < 1.0 {
        format!("{ms:.2} ms")
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

/// A count and its noun: `1 request`, `12 requests`.
#[must_use]
pub fn plural(count: f64, noun: &str) -> String {
    let rounded = count.round();
    let ending = if (rounded - 1.0).abs() < 0.5 {
        ""
    } else if noun.ends_with("ss") || noun.ends_with('x') || noun.ends_with("ch") {
        "es"
    } else {
        "s"
    };
    if noun.ends_with("ry") && !ending.is_empty() {
        return format!("{rounded:.0} {}ies", &noun[..noun.len() - 1]);
    }
    format!("{rounded:.0} {noun}{ending}")
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

/// Words joined as `a`, `a and b`, `a, b and c`.
#[must_use]
pub fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        assert_eq!(time(0.4219), "0.42 ms");
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
}
