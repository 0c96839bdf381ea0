//! Finds the end of an HTTP/1.x message body (RFC 9112 §6, §7.1) without keeping it.

/// A body being read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Body {
    /// So many octets are left; never 0.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// All until the sender closes.
    UntilClose,
    /// The head was cut: nobody knows. Ends where the next head begins.
    Unknown,
}

/// Where in a chunked body the stream is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Chunked {
    /// In the line that gives a chunk's size; `extension` once the digits are over.
    Size {
        value: u64,
        digits: u8,
        extension: bool,
        octets: u32,
    },
    /// So many octets are left of the chunk's data and the line end behind it.
    Data(u64),
    /// In the trailer: octets of the current line, and of all lines.
    Trailer { line: u32, octets: u32 },
}

/// What some octets did to a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// It goes on; all octets were used.
    Within,
    /// It ended after so many octets.
    Ended(usize),
    /// The octets make no sense.
    Broken,
}

/// Longest line of chunk size with extensions, and longest trailer.
const LINE_MAX: u32 = 16 * 1024;

impl Chunked {
    pub(super) const START: Self = Self::Size {
        value: 0,
        digits: 0,
        extension: false,
        octets: 0,
    };
}

impl Body {
    /// Reads the next octets.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Progress {
        match self {
            Self::Length(left) => match usize::try_from(*left) {
                Ok(end) if end <= bytes.len() => Progress::Ended(end),
                _ => {
                    *left -= bytes.len() as u64;
                    Progress::Within
                }
            },
            Self::Chunked(chunked) => chunked.read(bytes),
            Self::UntilClose | Self::Unknown => Progress::Within,
        }
    }

    /// Octets that are missing where it ends here: of the body, or of the chunk in progress. `None` when
    /// all of it may be there: what is left of a chunked body after its last chunk is no part of it.
    pub(super) const fn missing(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            // The line end behind the data is not counted.
            Self::Chunked(Chunked::Data(left)) => Some(left.saturating_sub(2)),
            Self::Chunked(Chunked::Size {
                value: 0, digits, ..
            }) if *digits > 0 => None,
            Self::Chunked(Chunked::Size { .. }) => Some(0),
            Self::Chunked(Chunked::Trailer { .. }) | Self::UntilClose | Self::Unknown => None,
        }
    }

    /// Skips octets that were not captured. `Ended(0)`: the body ends with them.
    pub(super) const fn skip(&mut self, octets: u64) -> Progress {
        match self {
            Self::Length(left) if octets == *left => return Progress::Ended(0),
            Self::Chunked(Chunked::Data(left)) if octets == *left => {
                *self = Self::Chunked(Chunked::START);
            }
            Self::Length(left) | Self::Chunked(Chunked::Data(left)) if octets < *left => {
                *left -= octets;
            }
            Self::Length(_) | Self::Chunked(_) => return Progress::Broken,
            Self::UntilClose | Self::Unknown => {}
        }
        Progress::Within
    }
}

impl Chunked {
    fn read(&mut self, bytes: &[u8]) -> Progress {
        let mut used = 0;
        while let Some(octet) = bytes.get(used) {
            match self {
                Self::Data(left) => {
                    let now = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len() - used);
                    used += now;
                    *left -= now as u64;
                    if *left == 0 {
                        *self = Self::START;
                    }
                    continue;
                }
                Self::Size { .. } => {
                    if !self.read_size(*octet) {
                        return Progress::Broken;
                    }
                }
                Self::Trailer { line, octets } => {
                    *octets += 1;
                    match octet {
                        b'\n' if *line == 0 => return Progress::Ended(used + 1),
                        b'\n' => *line = 0,
                        b'\r' => {}
                        _ => *line += 1,
                    }
                    if *octets > LINE_MAX {
                        return Progress::Broken;
                    }
                }
            }
            used += 1;
        }
        Progress::Within
    }

    /// Reads one octet of a size line; false when it makes no sense.
    fn read_size(&mut self, octet: u8) -> bool {
        let Self::Size {
            value,
            digits,
            extension,
            octets,
        } = self
        else {
            return false;
        };
        *octets += 1;
        if octet == b'\n' {
            let (size, is_size) = (*value, *digits > 0);
            *self = if size == 0 {
                Self::Trailer { line: 0, octets: 0 }
            } else {
                Self::Data(size.saturating_add(2))
            };
            return is_size;
        }
        match char::from(octet).to_digit(16) {
            Some(digit) if !*extension => {
                *digits += 1;
                *value = *value << 4 | u64::from(digit);
                *digits <= 15
            }
            Some(_) => *octets <= LINE_MAX,
            None => {
                let ends_digits = matches!(octet, b';' | b' ' | b'\t' | b'\r');
                let fits = *extension || (ends_digits && *digits > 0);
                *extension = true;
                fits && *octets <= LINE_MAX
            }
        }
    }
}
