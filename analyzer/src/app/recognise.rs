//! Tells a TCP stream's protocol by its first octets.
//!
//! Each test looks at one direction's first octets, or at the octets of a segment further on
//! (captures that start in mid-stream). A test that would need more octets says so; what is
//! decided on some octets stays decided on more of them, so the way a stream is cut does not
//! matter. Protocols that are only named are those whose framing or lines would otherwise be
//! reported as somebody's own.

use super::http1::looks_like_head;
use super::{dns, http2, service, tls};

/// A protocol that was recognised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Recognised {
    Http1,
    Http2,
    Tls,
    Dns,
    Ssh,
    /// Named; at most its errors are read.
    Named(&'static str),
}

/// What a test found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Is(Recognised),
    /// More octets may decide.
    Maybe,
    No,
}

/// Judges the first octets of a direction. `cut`: no octet of this run will follow.
pub(super) fn first_octets(bytes: &[u8], cut: bool) -> Verdict {
    let http1: fn(&[u8]) -> Verdict = if cut { http1_cut } else { http1 };
    let mut verdict = Verdict::No;
    for test in [http2_preface, http1, tls, dns, ssh, named] {
        let found = test(bytes);
        match found {
            Verdict::Is(_) => return found,
            Verdict::Maybe if !cut => verdict = Verdict::Maybe,
            _ => {}
        }
    }
    verdict
}

/// Judges the octets of a segment in mid-stream: only what can be told from one segment.
pub(super) fn later_segment(bytes: &[u8]) -> Verdict {
    for test in [http1_cut, tls] {
        let found = test(bytes);
        if let Verdict::Is(_) = found {
            return found;
        }
    }
    Verdict::No
}

/// Whether `bytes` begin with `magic`, as far as they go.
#[inline]
fn magic(bytes: &[u8], magic: &[u8], is: Recognised) -> Verdict {
    // Nearly always the first octet tells.
    if let (Some(first), Some(wanted)) = (bytes.first(), magic.first())
        && first != wanted
    {
        return Verdict::No;
    }
    let common = bytes.len().min(magic.len());
    match bytes[..common] == magic[..common] {
        true if common == magic.len() => Verdict::Is(is),
        true => Verdict::Maybe,
        false => Verdict::No,
    }
}

fn http2_preface(bytes: &[u8]) -> Verdict {
    magic(bytes, http2::PREFACE, Recognised::Http2)
}

fn http1(bytes: &[u8]) -> Verdict {
    head(looks_like_head(bytes, false))
}

fn http1_cut(bytes: &[u8]) -> Verdict {
    head(looks_like_head(bytes, true))
}

fn head(looks: Option<bool>) -> Verdict {
    match looks {
        Some(true) => Verdict::Is(Recognised::Http1),
        Some(false) => Verdict::No,
        None => Verdict::Maybe,
    }
}

fn ssh(bytes: &[u8]) -> Verdict {
    magic(bytes, b"SSH-", Recognised::Ssh)
}

/// A record header that is TLS by version, type and length, and by what follows it.
fn tls(bytes: &[u8]) -> Verdict {
    match tls::looks_like_record(bytes) {
        Some(true) => Verdict::Is(Recognised::Tls),
        Some(false) => Verdict::No,
        None => Verdict::Maybe,
    }
}

/// A length and a DNS message of that length, complete (RFC 1035 §4.2.2).
fn dns(bytes: &[u8]) -> Verdict {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return Verdict::Maybe;
    };
    let length = usize::from(u16::from_be_bytes(*length));
    if !(17..=4096).contains(&length) || !dns::header_is_plausible(rest) {
        return Verdict::No;
    }
    match rest.get(..length) {
        Some(message) if dns::Message::parse(message).is_some_and(|message| message.complete) => {
            Verdict::Is(Recognised::Dns)
        }
        Some(_) => Verdict::No,
        None => Verdict::Maybe,
    }
}

/// Openings of other protocols.
const MAGICS: &[(&[u8], &str)] = &[
    (b"RFB 00", "vnc"),
    (b"AMQP\0", "amqp"),
    (b"\x13BitTorrent protocol", "bittorrent"),
    (b"SIP/2.0 ", "sip"),
    (b"INVITE sip:", "sip"),
    (b"REGISTER sip:", "sip"),
    (b"OPTIONS sip:", "sip"),
    (b"SUBSCRIBE sip:", "sip"),
    (b"RTSP/1.0 ", "rtsp"),
    (b"<?xml version=", "xmpp"),
    (b"<stream:stream", "xmpp"),
    (b"* OK ", "imap"),
    (b"+OK ", "pop3"),
    (b"EHLO ", "smtp"),
    (b"HELO ", "smtp"),
    (b"@RSYNCD: ", "rsync"),
    (b"INFO {\"server_id\":", "nats"),
    (b"STORED\r\n", "memcached"),
    (b"SERVER_ERROR ", "memcached"),
    // A server that takes no more clients says so before the first command.
    (b"-ERR max number of clients reached\r\n", "redis"),
    (b"-DENIED Redis is running in protected mode", "redis"),
    (
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        "bgp",
    ),
    (b"\x05\0\x0b\x03\x10\0\0\0", "dcerpc"),
    (b"\x05\0\x0c\x03\x10\0\0\0", "dcerpc"),
];

fn named(bytes: &[u8]) -> Verdict {
    let mut verdict = Verdict::No;
    let fixed = MAGICS
        .iter()
        .map(|(octets, name)| magic(bytes, octets, Recognised::Named(name)));
    let looked = [greeting, resp, telnet, ldap, kafka, binary_headers].map(|test| test(bytes));
    for found in fixed.chain(looked) {
        match found {
            Verdict::Is(_) => return found,
            Verdict::Maybe => verdict = Verdict::Maybe,
            Verdict::No => {}
        }
    }
    verdict
}

/// `220 ` and text, or what SMTP (RFC 5321 §3.1) and FTP servers say in its place when they take no more clients: SMTP
/// says so in its line, FTP otherwise.
fn greeting(bytes: &[u8]) -> Verdict {
    const CODES: [&[u8]; 5] = [b"220 ", b"220-", b"421 ", b"530 ", b"554 "];
    let open = CODES.map(|code| magic(bytes, code, Recognised::Named("ftp")));
    if open.contains(&Verdict::Maybe) {
        return Verdict::Maybe;
    }
    if !open.iter().any(|verdict| matches!(verdict, Verdict::Is(_))) {
        return Verdict::No;
    }
    let Some(end) = bytes.iter().take(512).position(|octet| *octet == b'\n') else {
        return if bytes.len() < 512 {
            Verdict::Maybe
        } else {
            Verdict::No
        };
    };
    let line = &bytes[..end];
    if !bytes.starts_with(b"220") && !line.ends_with(b"\r") {
        return Verdict::No;
    }
    let names = |name: &[u8; 4]| line.windows(4).any(|word| word.eq_ignore_ascii_case(name));
    // An enhanced status code (RFC 3463) is SMTP's alone.
    let enhanced = matches!(line[4..], [b'4' | b'5', b'.', b'0'..=b'9', ..]);
    let smtp = enhanced || names(b"SMTP") || names(b"mail") || line.starts_with(b"554");
    Verdict::Is(Recognised::Named(if smtp { "smtp" } else { "ftp" }))
}

/// Two negotiations of a TELNET option, one after the other (RFC 854).
fn telnet(bytes: &[u8]) -> Verdict {
    let fits = bytes
        .iter()
        .take(6)
        .enumerate()
        .all(|(index, octet)| match index % 3 {
            0 => *octet == 0xff,
            1 => (0xfb..=0xfe).contains(octet),
            _ => *octet < 50,
        });
    match (fits, bytes.len() < 6) {
        (false, _) => Verdict::No,
        (true, true) => Verdict::Maybe,
        (true, false) => Verdict::Is(Recognised::Named("telnet")),
    }
}

/// A bind request of LDAP version 3.
fn ldap(bytes: &[u8]) -> Verdict {
    match service::is_ldap_bind(bytes) {
        Some(true) => Verdict::Is(Recognised::Named("ldap")),
        Some(false) => Verdict::No,
        None => Verdict::Maybe,
    }
}

/// The first request of a Kafka client.
fn kafka(bytes: &[u8]) -> Verdict {
    match service::is_first_kafka_request(bytes) {
        Some(true) => Verdict::Is(Recognised::Named("kafka")),
        Some(false) => Verdict::No,
        None => Verdict::Maybe,
    }
}

/// A Redis command: `*N CRLF $N CRLF`.
fn resp(bytes: &[u8]) -> Verdict {
    let mut rest = bytes;
    for sigil in [b'*', b'$'] {
        match rest.split_first() {
            None => return Verdict::Maybe,
            Some((first, tail)) if *first == sigil => rest = tail,
            Some(_) => return Verdict::No,
        }
        let digits = rest
            .iter()
            .take_while(|octet| octet.is_ascii_digit())
            .count();
        if digits > 8 || (digits == 0 && !rest.is_empty()) {
            return Verdict::No;
        }
        match magic(&rest[digits..], b"\r\n", Recognised::Named("redis")) {
            Verdict::Is(_) => rest = &rest[digits + 2..],
            other => return other,
        }
    }
    Verdict::Is(Recognised::Named("redis"))
}

/// Protocols whose first header holds a length that fits and a mark at a fixed place.
fn binary_headers(bytes: &[u8]) -> Verdict {
    let Some(head) = bytes.first_chunk::<16>() else {
        return if bytes.len() < 16 {
            Verdict::Maybe
        } else {
            Verdict::No
        };
    };
    let big = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let little = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let opcode = u32::from_le_bytes([head[12], head[13], head[14], head[15]]);
    let mysql = little & 0x00ff_ffff;
    let name = if head[0] == 0 && matches!(&head[4..8], b"\xffSMB" | b"\xfeSMB" | b"\xfdSMB") {
        "smb"
    } else if is_postgresql(head, big) {
        "postgresql"
    } else if (16..48_000_000).contains(&little) && matches!(opcode, 2004 | 2010..=2013) {
        "mongodb"
    } else if (20..512).contains(&mysql)
        && head[3] == 0
        && head[4] == 10
        && head[5].is_ascii_digit()
        || service::is_mysql_refusal(head)
    {
        "mysql"
    } else if head[..2] == [3, 0]
        && matches!(head[5], 0xe0 | 0xd0)
        && usize::from(head[4]) + 5 == usize::from(head[3])
    {
        "tpkt"
    } else {
        return Verdict::No;
    };
    Verdict::Is(Recognised::Named(name))
}

/// A start-up message of version 3.0 with a parameter's name, or the request for TLS.
fn is_postgresql(head: &[u8; 16], len: u32) -> bool {
    match &head[4..8] {
        b"\0\x03\0\0" => {
            (16..10_000).contains(&len)
                && head[8..12].is_ascii()
                && head[8..12].iter().all(u8::is_ascii_lowercase)
        }
        b"\x04\xd2\x16\x2f" => len == 8,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Recognised) {
        assert_eq!(first_octets(bytes, false), Verdict::Is(expected));
        let decided = (0..=bytes.len())
            .find(|len| first_octets(&bytes[..*len], false) != Verdict::Maybe)
            .unwrap();
        for len in decided..=bytes.len() {
            assert_eq!(
                first_octets(&bytes[..len], false),
                Verdict::Is(expected),
                "{len} octets"
            );
        }
    }

    #[test]
    fn openings() {
        check(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n", Recognised::Http1);
        check(b"HTTP/1.1 200 OK\r\n\r\n", Recognised::Http1);
        check(http2::PREFACE, Recognised::Http2);
        check(b"SSH-2.0-OpenSSH_9.6\r\n", Recognised::Ssh);
        check(b"220 mail.example ESMTP\r\n", Recognised::Named("smtp"));
        check(b"220 (vsFTPd 3.0.5)\r\n", Recognised::Named("ftp"));
        check(
            b"421 4.7.0 a.example Error: too many\r\n",
            Recognised::Named("smtp"),
        );
        check(b"421 Too many users\r\n", Recognised::Named("ftp"));
        check(
            b"-ERR max number of clients reached\r\n",
            Recognised::Named("redis"),
        );
        check(b"OPTIONS sip:a@b SIP/2.0\r\n", Recognised::Named("sip"));
        check(
            b"\0\0\0\x0e\0\x12\0\x03\0\0\0\x01\0\x04labs",
            Recognised::Named("kafka"),
        );
        check(b"*1\r\n$4\r\nPING\r\n", Recognised::Named("redis"));
        check(
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03abcdef",
            Recognised::Tls,
        );
    }

    #[test]
    fn others() {
        for bytes in [
            b"OPTIONS rtsp://a/b RTSP/1.0\r\n\r\n".as_slice(),
            b"hello world, this is nothing\n",
            b"421 of a list of numbers\n",
            b"-ERR maximum of something\r\n",
            &[0; 64],
            &[0x16; 64],
            b"\0\0\0\x10abcdefghijklmnop",
        ] {
            assert_eq!(first_octets(bytes, false), Verdict::No, "{bytes:?}");
        }
    }
}
