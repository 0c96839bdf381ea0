//! Reads one DNS message: header, question, addresses and EDNS size (RFC 1035, RFC 6891).
//!
//! An own reader: what is wanted is a few fields of messages that may be cut anywhere, where the
//! maintained crates read whole messages or nothing, and allocate every record. Names are read
//! through a budget of pointers, so loops end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::cursor::Cursor;

/// Longest name in octets, and in characters of its text form.
const NAME_MAX: usize = 255;
/// Room for a name to begin with: most are no longer.
const USUAL_NAME: usize = 32;
/// Compression pointers followed in one name; each must point backwards as well.
const POINTERS_MAX: u32 = 16;
/// Records read of one message; real answers have far fewer.
const RECORDS_MAX: u32 = 256;
/// Addresses kept of one answer.
const ADDRESSES_MAX: usize = 16;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;

const OPCODE_QUERY: u16 = 0;
const CLASS_CHAOS: u16 = 3;

/// What is read of a DNS message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::app) struct Message {
    pub id: u16,
    pub response: bool,
    /// A name of the internet is looked up: no dynamic update (RFC 2136), no notification (RFC 1996),
    /// no question to the server about itself (class CHAOS, RFC 4892).
    pub is_lookup: bool,
    pub truncated: bool,
    /// Response code, the extension of EDNS included, at most 255.
    pub rcode: u8,
    /// First question: name in lower case without final dot, and type.
    pub question: Option<(String, u16)>,
    pub addresses: Vec<IpAddr>,
    /// EDNS buffer size of the sender.
    pub edns_size: Option<u16>,
    /// Every section was there, and nothing after them.
    pub complete: bool,
}

/// Whether the first octets may be a DNS header: known operation, counts that a message can hold.
///
/// True as long as nothing speaks against it, however short `bytes` are.
pub(in crate::app) fn header_is_plausible(bytes: &[u8]) -> bool {
    let word = |index: usize| {
        bytes
            .get(index * 2..)?
            .first_chunk()
            .map(|word| u16::from_be_bytes(*word))
    };
    let flags = word(1).unwrap_or(0);
    let response = flags & 0x8000 != 0;
    let operation = flags >> 11 & 0xf;
    let questions = word(2).unwrap_or(1);
    let [answers, authorities, additional] = [3, 4, 5].map(|index| word(index).unwrap_or(0));
    matches!(operation, 0 | 1 | 2 | 4 | 5)
        && flags & 0x40 == 0
        && (response || flags & 0xf == 0)
        && questions <= 32
        && answers <= 512
        && authorities <= 512
        && additional <= 64
        && (questions > 0 || response)
}

impl Message {
    /// Reads what is there; `None` when it is no DNS message as far as it goes.
    pub(in crate::app) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < 12 || !header_is_plausible(bytes) {
            return None;
        }
        let mut cursor = Cursor::new(bytes);
        let id = cursor.u16()?;
        let flags = cursor.u16()?;
        let [questions, answers, authorities, additional] =
            [cursor.u16()?, cursor.u16()?, cursor.u16()?, cursor.u16()?];
        let mut message = Self {
            id,
            response: flags & 0x8000 != 0,
            is_lookup: flags >> 11 & 0xf == OPCODE_QUERY,
            truncated: flags & 0x200 != 0,
            rcode: u8::try_from(flags & 0xf).unwrap_or(0),
            ..Self::default()
        };
        for index in 0..questions {
            let at = bytes.len() - cursor.len();
            match read_question(bytes, at, &mut cursor) {
                Read::Whole((question, class)) if index == 0 => {
                    message.is_lookup &= class != CLASS_CHAOS;
                    message.question = Some(question);
                }
                Read::Whole(_) => {}
                Read::Cut => return (index > 0).then_some(message),
                Read::Wrong => return None,
            }
        }
        message.read_records(bytes, cursor, [answers, authorities, additional])?;
        Some(message)
    }

    /// Reads records as far as they go; `None` when one makes no sense.
    fn read_records(
        &mut self,
        bytes: &[u8],
        mut cursor: Cursor<'_>,
        counts: [u16; 3],
    ) -> Option<()> {
        let mut read = 0;
        for (section, count) in counts.into_iter().enumerate() {
            for _ in 0..count {
                read += 1;
                if read > RECORDS_MAX {
                    return Some(());
                }
                let at = bytes.len() - cursor.len();
                match read_record(bytes, at, &mut cursor) {
                    Read::Whole(record) => self.take(&record, section == 0),
                    Read::Cut => return Some(()),
                    Read::Wrong => return None,
                }
            }
        }
        self.complete = cursor.is_empty();
        Some(())
    }

    fn take(&mut self, record: &Record<'_>, is_answer: bool) {
        let address = match record.kind {
            TYPE_A => record
                .data
                .try_into()
                .ok()
                .map(|octets: [u8; 4]| IpAddr::V4(Ipv4Addr::from(octets))),
            TYPE_AAAA => record
                .data
                .try_into()
                .ok()
                .map(|octets: [u8; 16]| IpAddr::V6(Ipv6Addr::from(octets))),
            TYPE_OPT => {
                self.edns_size = Some(record.class);
                let extended = u16::from(record.ttl[0]) << 4 | u16::from(self.rcode & 0xf);
                self.rcode = u8::try_from(extended).unwrap_or(u8::MAX);
                None
            }
            _ => None,
        };
        if is_answer && self.addresses.len() < ADDRESSES_MAX {
            self.addresses.extend(address);
        }
    }
}

struct Record<'a> {
    kind: u16,
    class: u16,
    ttl: [u8; 4],
    data: &'a [u8],
}

/// A part of a message that may be cut or be no DNS.
enum Read<T> {
    Whole(T),
    Cut,
    Wrong,
}

/// Name and type of a question, and its class.
fn read_question(bytes: &[u8], at: usize, cursor: &mut Cursor<'_>) -> Read<((String, u16), u16)> {
    let (name, len) = match read_name(bytes, at) {
        Read::Whole(found) => found,
        Read::Cut => return Read::Cut,
        Read::Wrong => return Read::Wrong,
    };
    let fields = cursor
        .take(len)
        .and_then(|_| Some((cursor.u16()?, cursor.u16()?)));
    match fields {
        // The top bit asks for a unicast answer (RFC 6762 §5.4).
        Some((kind, class)) if matches!(class & 0x7fff, 1 | 3 | 4 | 254 | 255) => {
            Read::Whole(((name, kind), class & 0x7fff))
        }
        Some(_) => Read::Wrong,
        None => Read::Cut,
    }
}

fn read_record<'a>(bytes: &[u8], at: usize, cursor: &mut Cursor<'a>) -> Read<Record<'a>> {
    let len = match walk_name(bytes, at, |_| {}) {
        Read::Whole(len) => len,
        Read::Cut => return Read::Cut,
        Read::Wrong => return Read::Wrong,
    };
    let mut read = || {
        cursor.take(len)?;
        let (kind, class) = (cursor.u16()?, cursor.u16()?);
        let ttl = cursor.array()?;
        let data_len = usize::from(cursor.u16()?);
        Some(Record {
            kind,
            class,
            ttl,
            data: cursor.take(data_len)?,
        })
    };
    read().map_or(Read::Cut, Read::Whole)
}

/// The name at `at` and the octets it takes there.
fn read_name(bytes: &[u8], at: usize) -> Read<(String, usize)> {
    let mut name = String::with_capacity(USUAL_NAME);
    match walk_name(bytes, at, |label| push_label(&mut name, label)) {
        Read::Whole(len) => Read::Whole((name, len)),
        Read::Cut => Read::Cut,
        Read::Wrong => Read::Wrong,
    }
}

/// Gives `label` each label of the name at `at`; the result is how many octets the name takes there.
fn walk_name<'a>(bytes: &'a [u8], at: usize, mut label: impl FnMut(&'a [u8])) -> Read<usize> {
    let mut place = at;
    let mut taken = None;
    let mut pointers = 0;
    let mut octets = 1; // The empty label at the end (RFC 1035 §2.3.4).
    loop {
        let Some(first) = bytes.get(place).copied() else {
            return Read::Cut;
        };
        match first {
            0 => return Read::Whole(taken.unwrap_or_else(|| place + 1 - at)),
            1..=63 => {
                let Some(octets_of_label) = bytes.get(place + 1..=place + usize::from(first))
                else {
                    return Read::Cut;
                };
                octets += 1 + octets_of_label.len();
                if octets > NAME_MAX {
                    return Read::Wrong;
                }
                label(octets_of_label);
                place += 1 + octets_of_label.len();
            }
            0xc0.. => {
                let Some(low) = bytes.get(place + 1).copied() else {
                    return Read::Cut;
                };
                let target = usize::from(first & 0x3f) << 8 | usize::from(low);
                pointers += 1;
                if target >= place || pointers > POINTERS_MAX {
                    return Read::Wrong;
                }
                taken.get_or_insert_with(|| place + 2 - at);
                place = target;
            }
            _ => return Read::Wrong,
        }
    }
}

/// Adds a label in lower case; octets outside printable ASCII are written `\DDD` (RFC 4343).
fn push_label(name: &mut String, label: &[u8]) {
    if !name.is_empty() {
        name.push('.');
    }
    let is_plain = |octet: &u8| matches!(octet, 0x21..=0x7e) && !matches!(octet, b'.' | b'\\');
    if name.len() + label.len() + 3 <= NAME_MAX
        && label.iter().all(is_plain)
        && let Ok(text) = std::str::from_utf8(label)
    {
        let start = name.len();
        name.push_str(text);
        name[start..].make_ascii_lowercase();
        return;
    }
    for octet in label {
        if name.len() + 4 > NAME_MAX {
            return;
        }
        match octet {
            b'.' | b'\\' => {
                name.push('\\');
                name.push(char::from(*octet));
            }
            0x21..=0x7e => name.push(char::from(octet.to_ascii_lowercase())),
            _ => name.push_str(&format!("\\{octet:03}")),
        }
    }
}
