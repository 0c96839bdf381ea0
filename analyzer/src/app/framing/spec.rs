//! How a stream is cut into messages, and its text form: the SPEC of `--framing`.
//!
//! The text form is what users write and what the figure `framing` shows; parsing and printing
//! are inverse to each other (a default such as `offset=0` is not printed).

use std::fmt;
use std::str::FromStr;

/// How a stream is cut into messages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FramingSpec {
    /// A header with a length field, then that many octets: `u32be`, `u16le,offset=2,adjust=-4`.
    Length(LengthField),
    /// Messages of one size in octets, at least 1: `fixed:64`.
    Fixed(u32),
    /// Lines that end in LF (a CR before it belongs to the line): `line`.
    Line,
    /// Messages that end in a sequence of octets: `delimiter:00`.
    Delimiter(Delimiter),
}

/// Where the length field is and what it counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LengthField {
    /// Width and byte order.
    pub width: LengthWidth,
    /// Octets of the header before the length field.
    pub offset: u16,
    /// Added to the field's value to get the octets that follow the header (offset and field).
    pub adjust: i32,
    /// Octets a decoder removes from the front of the message; no count depends on it.
    pub strip: u16,
}

/// Width and byte order of a length field.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LengthWidth {
    /// One octet.
    U8,
    /// Two octets, network order.
    U16Be,
    /// Two octets, little endian.
    U16Le,
    /// Four octets, network order.
    U32Be,
    /// Four octets, little endian.
    U32Le,
}

/// A sequence of 1 to [`Delimiter::MAX`] octets that ends a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Delimiter {
    octets: [u8; Self::MAX],
    len: u8,
}

/// Why a SPEC was not understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{problem} in framing '{spec}'; write u8, u16be, u16le, u32be or u32le with [,offset=N][,adjust=N][,strip=N], or fixed:N, line, delimiter:HEX"
)]
pub struct FramingSpecError {
    spec: String,
    problem: String,
}

/// Not more: a header longer than this before its length field is no framing anyone reads by
/// itself, and the reader keeps that many octets of every header that spans segments.
const OFFSET_MAX: u16 = 64;

impl LengthWidth {
    /// All widths, the widest last.
    pub const ALL: [Self; 5] = [Self::U8, Self::U16Be, Self::U16Le, Self::U32Be, Self::U32Le];

    /// Octets of the field: 1, 2 or 4.
    #[must_use]
    pub const fn octets(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16Be | Self::U16Le => 2,
            Self::U32Be | Self::U32Le => 4,
        }
    }

    /// The value of the field at the front of `bytes`; `None` when it is cut.
    #[must_use]
    pub fn read(self, bytes: &[u8]) -> Option<u32> {
        Some(match self {
            Self::U8 => u32::from(*bytes.first()?),
            Self::U16Be => u32::from(u16::from_be_bytes(*bytes.first_chunk()?)),
            Self::U16Le => u32::from(u16::from_le_bytes(*bytes.first_chunk()?)),
            Self::U32Be => u32::from_be_bytes(*bytes.first_chunk()?),
            Self::U32Le => u32::from_le_bytes(*bytes.first_chunk()?),
        })
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::U16Be => "u16be",
            Self::U16Le => "u16le",
            Self::U32Be => "u32be",
            Self::U32Le => "u32le",
        }
    }
}

impl LengthField {
    /// A length field at the front that counts what follows it.
    #[must_use]
    pub const fn new(width: LengthWidth) -> Self {
        Self {
            width,
            offset: 0,
            adjust: 0,
            strip: 0,
        }
    }

    /// Octets up to the end of the length field.
    #[must_use]
    pub const fn header_len(self) -> usize {
        self.offset as usize + self.width.octets()
    }

    /// Octets of a message with nothing in it: the header, and what `adjust` adds to it.
    pub(super) fn empty_len(self) -> u64 {
        self.header_len() as u64 + u64::try_from(self.adjust).unwrap_or(0)
    }

    /// What the field of a message of `len` octets holds.
    pub(super) fn value(self, len: u64) -> u64 {
        let follow = len.saturating_sub(self.header_len() as u64);
        follow.saturating_add_signed(-i64::from(self.adjust))
    }

    /// Octets of the whole message whose header is at the front of `bytes`.
    ///
    /// `None` when the header is cut, or when its value makes no message (it and `adjust` fall
    /// below zero).
    #[must_use]
    pub fn message_len(self, bytes: &[u8]) -> Option<u64> {
        let value = self.width.read(bytes.get(usize::from(self.offset)..)?)?;
        let follow = u64::try_from(i64::from(value) + i64::from(self.adjust)).ok()?;
        Some(self.header_len() as u64 + follow)
    }
}

impl Delimiter {
    /// The longest sequence in octets.
    pub const MAX: usize = 8;

    /// A delimiter of these octets; `None` when there are none or too many.
    #[must_use]
    pub fn new(octets: &[u8]) -> Option<Self> {
        if octets.is_empty() || octets.len() > Self::MAX {
            return None;
        }
        let mut all = [0; Self::MAX];
        all[..octets.len()].copy_from_slice(octets);
        Some(Self {
            octets: all,
            len: u8::try_from(octets.len()).ok()?,
        })
    }

    /// The octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }
}

impl fmt::Display for FramingSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(field) => {
                f.write_str(field.width.as_str())?;
                if field.offset != 0 {
                    write!(f, ",offset={}", field.offset)?;
                }
                if field.adjust != 0 {
                    write!(f, ",adjust={}", field.adjust)?;
                }
                if field.strip != 0 {
                    write!(f, ",strip={}", field.strip)?;
                }
                Ok(())
            }
            Self::Fixed(size) => write!(f, "fixed:{size}"),
            Self::Line => f.write_str("line"),
            Self::Delimiter(delimiter) => {
                f.write_str("delimiter:")?;
                delimiter
                    .octets()
                    .iter()
                    .try_for_each(|octet| write!(f, "{octet:02x}"))
            }
        }
    }
}

impl FromStr for FramingSpec {
    type Err = FramingSpecError;

    fn from_str(spec: &str) -> Result<Self, Self::Err> {
        parse(spec.trim()).map_err(|problem| FramingSpecError {
            spec: spec.trim().to_owned(),
            problem,
        })
    }
}

fn parse(spec: &str) -> Result<FramingSpec, String> {
    let lower = spec.to_ascii_lowercase();
    if lower == "line" {
        return Ok(FramingSpec::Line);
    }
    if let Some(size) = lower.strip_prefix("fixed:") {
        return match size.parse() {
            Ok(size) if size > 0 => Ok(FramingSpec::Fixed(size)),
            _ => Err(format!("size '{size}' is not a positive number")),
        };
    }
    if let Some(hex) = lower.strip_prefix("delimiter:") {
        return parse_delimiter(hex).map(FramingSpec::Delimiter);
    }
    parse_length(&lower).map(FramingSpec::Length)
}

fn parse_delimiter(hex: &str) -> Result<Delimiter, String> {
    let digits: Vec<u8> = hex
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|value| u8::try_from(value).ok())
        })
        .collect::<Option<_>>()
        .ok_or_else(|| format!("'{hex}' is not hexadecimal"))?;
    let (pairs, odd) = digits.as_chunks::<2>();
    let octets: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    match Delimiter::new(&octets) {
        Some(delimiter) if odd.is_empty() => Ok(delimiter),
        _ => Err(format!(
            "delimiter '{hex}' is not 1 to {} bytes",
            Delimiter::MAX
        )),
    }
}

fn parse_length(spec: &str) -> Result<LengthField, String> {
    let mut parts = spec.split(',').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let width = LengthWidth::ALL
        .into_iter()
        .find(|width| width.as_str() == name)
        .ok_or_else(|| format!("unknown kind '{name}'"))?;
    let mut field = LengthField::new(width);
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let bad = || format!("'{part}' is not usable");
        match key {
            "offset" => field.offset = value.parse().map_err(|_| bad())?,
            "adjust" => field.adjust = value.parse().map_err(|_| bad())?,
            "strip" => field.strip = value.parse().map_err(|_| bad())?,
            _ => return Err(format!("unknown part '{part}'")),
        }
    }
    if field.offset > OFFSET_MAX {
        return Err(format!("offset above {OFFSET_MAX}"));
    }
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_survives_a_round_trip() {
        for text in [
            "u8",
            "u16be",
            "u32le",
            "u16le,offset=2,adjust=-4",
            "u32be,offset=4,adjust=2,strip=8",
            "fixed:64",
            "line",
            "delimiter:00",
            "delimiter:0d0a0d0a",
        ] {
            assert_eq!(text.parse::<FramingSpec>().unwrap().to_string(), text);
        }
        assert_eq!(
            "U16BE, offset=0"
                .parse::<FramingSpec>()
                .unwrap()
                .to_string(),
            "u16be"
        );
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        for text in [
            "",
            "u24be",
            "fixed:0",
            "fixed:",
            "fixed:-1",
            "delimiter:",
            "delimiter:0",
            "delimiter:zz",
            "delimiter:000000000000000000",
            "u16be,size=3",
            "u16be,offset=",
            "u32be,offset=65",
        ] {
            let error = text.parse::<FramingSpec>().unwrap_err().to_string();
            assert!(error.contains(&format!("'{text}'")), "{error}");
        }
    }

    #[test]
    fn message_length_counts_the_header() {
        let FramingSpec::Length(field) = "u16le,offset=2,adjust=-4".parse().unwrap() else {
            panic!("a length field");
        };
        assert_eq!(field.message_len(&[9, 9, 10, 0]), Some(10));
        assert_eq!(field.message_len(&[9, 9, 3, 0]), None);
        assert_eq!(field.message_len(&[9, 9, 3]), None);
    }
}
