//! From the text of an argument to its value, or to a line that says what was expected.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use analyzer::Timestamp;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use reports::Severity;

/// A point in time, nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Since(pub u64);

/// How many connections to list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionLimit {
    /// At most this many.
    AtMost(usize),
    /// All of them.
    All,
}

impl ConnectionLimit {
    /// The most there may be; `None` for all.
    pub const fn most(self) -> Option<usize> {
        match self {
            Self::AtMost(limit) => Some(limit),
            Self::All => None,
        }
    }
}

pub(super) fn severity() -> impl TypedValueParser<Value = Severity> {
    let known = [
        (Severity::Info, "Worth knowing"),
        (Severity::Low, "Unlikely to affect users"),
        (Severity::Medium, "Users may have noticed"),
        (Severity::High, "Requests failed or waited long"),
        (Severity::Critical, "The service was down"),
    ];
    let values = known.map(|(severity, help)| PossibleValue::new(severity.as_str()).help(help));
    PossibleValuesParser::new(values).try_map(move |name| {
        let mut named = known.into_iter().map(|(severity, _)| severity);
        named
            .find(|severity| severity.as_str() == name)
            .ok_or("no severity")
    })
}

pub(super) fn connection_limit(text: &str) -> Result<ConnectionLimit, String> {
    if text == "all" {
        return Ok(ConnectionLimit::All);
    }
    let number = text
        .parse()
        .map_err(|_| "expected a number or all".to_owned())?;
    Ok(ConnectionLimit::AtMost(number))
}

pub(super) fn since(text: &str) -> Result<Since, String> {
    let expected = || format!("{text:?} is no time: expected 2026-11-24, RFC 3339, 36h or 7d");
    let ago = text
        .split_at_checked(text.len().saturating_sub(1))
        .and_then(|(number, unit)| {
            let seconds = match unit {
                "m" => 60,
                "h" => 3600,
                "d" => 86_400,
                _ => return None,
            };
            number.parse::<u64>().ok()?.checked_mul(seconds)
        });
    let nanos = match ago {
        Some(seconds) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.map_err(|error| error.to_string())?;
            now.saturating_sub(Duration::from_secs(seconds)).as_nanos()
        }
        None => {
            let time: Timestamp = text.parse().map_err(|_| expected())?;
            u128::try_from(time.as_nanos()).map_err(|_| expected())?
        }
    };
    u64::try_from(nanos).map(Since).map_err(|_| expected())
}

/// A number of bytes, with K, M, G or T for powers of 1,024.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let expected = || format!("{text:?} is no size: expected bytes, or a number with K, M, G or T");
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err(expected()),
    };
    let number: u64 = digits.parse().map_err(|_| expected())?;
    number.checked_mul(1 << shift).ok_or_else(expected)
}

pub(super) fn file_and_time(text: &str) -> Result<(String, Timestamp), String> {
    let (file, time) = text.rsplit_once('=').ok_or("expected FILE=TIME")?;
    let time = time
        .parse()
        .map_err(|_| format!("{time:?} is no time: expected RFC 3339"))?;
    Ok((file.to_owned(), time))
}

pub(super) fn port_and_bytes(text: &str) -> Result<(u16, u32), String> {
    let (port, bytes) = text.split_once('=').ok_or("expected PORT=BYTES")?;
    let port = port
        .parse()
        .map_err(|_| format!("{port:?} is not a port"))?;
    let bytes = bytes
        .parse()
        .map_err(|_| format!("{bytes:?} is not a number of bytes"))?;
    Ok((port, bytes))
}

pub(super) fn port_and_spec(text: &str) -> Result<(u16, String), String> {
    let (port, spec) = text.split_once('=').ok_or("expected PORT=SPEC")?;
    let port = port
        .parse()
        .map_err(|_| format!("{port:?} is not a port"))?;
    spec.parse::<analyzer::app::FramingSpec>()
        .map_err(|error| error.to_string())?;
    Ok((port, spec.to_owned()))
}
