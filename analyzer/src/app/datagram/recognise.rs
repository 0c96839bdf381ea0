//! Tells a datagram's protocol by its content.
//!
//! What one datagram proves: marks at fixed places together with lengths that agree, at least
//! 24 bits that chance would have to meet. What it only makes likely has to be seen several
//! times in a row. A port adds its share to content that would be likely, and proves nothing
//! alone.

use crate::app::dns::Message;
use crate::direction::Direction;

/// What one datagram says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Likeness {
    /// It is this protocol.
    Proof(&'static str),
    /// Others like it would prove it.
    Likely(&'static str),
    None,
}

use Likeness::{Likely, Proof};

/// A datagram as the tests see it.
struct Datagram<'a> {
    bytes: &'a [u8],
    /// True length, of which `bytes` may be cut.
    len: usize,
    ports: (u16, u16),
    /// What it says if it is DNS.
    message: Option<&'a Message>,
}

/// Judges one datagram; `message` is what it says if it is DNS.
pub(super) fn datagram(
    bytes: &[u8],
    true_len: u32,
    ports: (u16, u16),
    message: Option<&Message>,
) -> Likeness {
    let len = usize::try_from(true_len)
        .unwrap_or(usize::MAX)
        .max(bytes.len());
    let datagram = Datagram {
        bytes,
        len,
        ports,
        message,
    };
    let tests: [fn(&Datagram<'_>) -> Likeness; 16] = [
        dns, text, radius, quic, stun, dtls, wireguard, dhcp, ntp, snmp, gtp, vxlan, geneve, ike,
        rtcp, tftp,
    ];
    let mut likely = Likeness::None;
    for test in tests {
        match test(&datagram) {
            Proof(name) => return Proof(name),
            Likely(name) if likely == Likeness::None => likely = Likely(name),
            _ => {}
        }
    }
    likely
}

impl Datagram<'_> {
    fn u8(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.u8(at), self.u8(at + 1)])
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) << 16 | u32::from(self.u16(at + 2))
    }

    /// At least so many octets are there.
    const fn has(&self, octets: usize) -> bool {
        self.bytes.len() >= octets
    }

    const fn is_cut(&self) -> bool {
        self.bytes.len() < self.len
    }

    const fn port(&self, port: u16) -> bool {
        self.ports.0 == port || self.ports.1 == port
    }

    /// Proof where the port agrees as well, likely otherwise.
    const fn with_port(&self, port: u16, name: &'static str) -> Likeness {
        if self.port(port) {
            Proof(name)
        } else {
            Likely(name)
        }
    }
}

/// RFC 1035, RFC 6762 (mDNS), RFC 4795 (LLMNR): a message that is read to its last octet.
fn dns(datagram: &Datagram<'_>) -> Likeness {
    let hinted = [(5353, "mdns"), (5355, "llmnr"), (53, "dns")]
        .into_iter()
        .find(|(port, _)| datagram.port(*port));
    let Some(message) = datagram.message else {
        return Likeness::None;
    };
    let name = hinted.map_or("dns", |(_, name)| name);
    let has_question = message
        .question
        .as_ref()
        .is_some_and(|(name, _)| !name.is_empty());
    match (message.complete, hinted.is_some()) {
        (true, true) => Proof(name),
        (true, false) if has_question => Proof(name),
        // Cut by the snap length, or with octets behind it.
        (false, true) if message.question.is_some() => Proof(name),
        (false, false) if has_question && datagram.is_cut() => Likely(name),
        _ => Likeness::None,
    }
}

/// RADIUS (RFC 2865 §3): a code, an identifier, and the length of the datagram.
fn radius(datagram: &Datagram<'_>) -> Likeness {
    let fits = matches!(datagram.u8(0), 1..=5 | 11)
        && usize::from(datagram.u16(2)) == datagram.len
        && (20..=4096).contains(&datagram.len);
    match [1812, 1813, 1645, 1646]
        .into_iter()
        .find(|port| datagram.port(*port))
    {
        Some(port) if fits => datagram.with_port(port, "radius"),
        _ => Likeness::None,
    }
}

/// Protocols of text lines: SIP (RFC 3261), SSDP, syslog (RFC 5424 §6.2.1, RFC 3164).
fn text(datagram: &Datagram<'_>) -> Likeness {
    const STARTS: [(&[u8], &str); 10] = [
        (b"SIP/2.0 ", "sip"),
        (b"INVITE sip:", "sip"),
        (b"REGISTER sip:", "sip"),
        (b"OPTIONS sip:", "sip"),
        (b"SUBSCRIBE sip:", "sip"),
        (b"NOTIFY sip:", "sip"),
        (b"M-SEARCH * HTTP/1.1", "ssdp"),
        (b"NOTIFY * HTTP/1.1", "ssdp"),
        (b"HTTP/1.1 200 OK", "ssdp"),
        (b"BYE sip:", "sip"),
    ];
    if let Some((_, name)) = STARTS
        .iter()
        .find(|(start, _)| datagram.bytes.starts_with(start))
    {
        return Proof(name);
    }
    syslog(datagram)
}

fn syslog(datagram: &Datagram<'_>) -> Likeness {
    let Some((b'<', rest)) = datagram.bytes.split_first() else {
        return Likeness::None;
    };
    let digits = rest
        .iter()
        .take(4)
        .take_while(|octet| octet.is_ascii_digit())
        .count();
    let priority = std::str::from_utf8(&rest[..digits])
        .ok()
        .and_then(|text| text.parse().ok());
    // Facility 23, severity 7 is the highest.
    let fits = priority.is_some_and(|priority: u16| priority <= 191)
        && rest.get(digits) == Some(&b'>')
        && rest.iter().take(32).all(|octet| !octet.is_ascii_control());
    if fits {
        datagram.with_port(514, "syslog")
    } else {
        Likeness::None
    }
}

/// RFC 9000 §17.2, RFC 9369: a long header with a known version and sound identifiers.
fn quic(datagram: &Datagram<'_>) -> Likeness {
    let version = datagram.u32(1);
    let destination = usize::from(datagram.u8(5));
    let source = usize::from(datagram.u8(6 + destination));
    let known = matches!(version, 1 | 0x6b33_43cf | 0xff00_001d..=0xff00_0022);
    let negotiation = version == 0 && datagram.u8(0) & 0x80 != 0;
    if datagram.u8(0) & 0xc0 == 0xc0 && known && destination <= 20 && source <= 20 {
        return Proof("quic");
    }
    let sizes = destination <= 20 && source <= 20 && destination + source >= 8;
    let versions = datagram
        .len
        .checked_sub(7 + destination + source)
        .is_some_and(|rest| rest >= 4 && rest % 4 == 0);
    if negotiation && sizes && versions && datagram.port(443) {
        Likely("quic")
    } else {
        Likeness::None
    }
}

/// RFC 8489 §5: the magic cookie, and a length that agrees.
fn stun(datagram: &Datagram<'_>) -> Likeness {
    let fits = datagram.has(20)
        && datagram.u8(0) < 0x40
        && datagram.u32(4) == 0x2112_a442
        && usize::from(datagram.u16(2)) + 20 == datagram.len;
    if fits { Proof("stun") } else { Likeness::None }
}

/// RFC 9147 §4, RFC 6347 §4.1: a record header whose length fits.
fn dtls(datagram: &Datagram<'_>) -> Likeness {
    let fits = datagram.has(13)
        && (20..=25).contains(&datagram.u8(0))
        && matches!(datagram.u16(1), 0xfeff | 0xfefd)
        && usize::from(datagram.u16(11)) + 13 <= datagram.len;
    if fits { Proof("dtls") } else { Likeness::None }
}

/// The messages of WireGuard: type, three zeros, and the length each type has. Not proof: small
/// numbers in little endian look the same.
fn wireguard(datagram: &Datagram<'_>) -> Likeness {
    if !datagram.has(16) || datagram.u32(0) & 0x00ff_ffff != 0 {
        return Likeness::None;
    }
    match (datagram.u8(0), datagram.len) {
        (1, 148) | (2, 92) => Likely("wireguard"),
        // The counter's high half stays zero for a very long time.
        (4, len) if len >= 32 && len % 16 == 0 && datagram.bytes.get(12..16) == Some(&[0; 4]) => {
            Likely("wireguard")
        }
        _ => Likeness::None,
    }
}

/// RFC 2131 §2, §3: operation, hardware type and the magic cookie.
fn dhcp(datagram: &Datagram<'_>) -> Likeness {
    let header = matches!(datagram.u8(0), 1 | 2) && datagram.u8(1) == 1 && datagram.u8(2) == 6;
    if header && datagram.has(240) && datagram.u32(236) == 0x6382_5363 {
        return Proof("dhcp");
    }
    let cut = datagram.is_cut() && (datagram.port(67) || datagram.port(68));
    if header && cut {
        Proof("dhcp")
    } else {
        Likeness::None
    }
}

/// RFC 5905 §7.3: 48 octets (or more with extensions), version, mode, stratum.
fn ntp(datagram: &Datagram<'_>) -> Likeness {
    let (version, mode) = (datagram.u8(0) >> 3 & 7, datagram.u8(0) & 7);
    let fits = datagram.has(16)
        && matches!(datagram.len, 48 | 52 | 68 | 72)
        && (1..=4).contains(&version)
        && (1..=5).contains(&mode)
        && datagram.u8(1) <= 16
        && datagram.u8(2) <= 17;
    // Transmit time: since 1995; clients may leave it out, which only the port makes up for.
    let dated = datagram.u8(40) >= 0xb4;
    if fits && (dated || datagram.port(123)) {
        datagram.with_port(123, "ntp")
    } else {
        Likeness::None
    }
}

/// RFC 3416, RFC 3411: a BER sequence of the datagram's length that begins with the version.
fn snmp(datagram: &Datagram<'_>) -> Likeness {
    if datagram.u8(0) != 0x30 || !datagram.has(8) {
        return Likeness::None;
    }
    let (header, len) = match datagram.u8(1) {
        short @ 0..=0x7f => (2, usize::from(short)),
        0x81 => (3, usize::from(datagram.u8(2))),
        0x82 => (4, usize::from(datagram.u16(2))),
        _ => return Likeness::None,
    };
    let version = [datagram.u8(header), datagram.u8(header + 1)] == [2, 1]
        && matches!(datagram.u8(header + 2), 0 | 1 | 3);
    if header + len == datagram.len && version {
        Proof("snmp")
    } else {
        Likeness::None
    }
}

/// 3GPP TS 29.281 §5.1: GTP-U version 1, a known message, and a length that agrees.
fn gtp(datagram: &Datagram<'_>) -> Likeness {
    let fits = datagram.has(8)
        && datagram.u8(0) & 0xf8 == 0x30
        && matches!(datagram.u8(1), 1 | 2 | 26 | 31 | 254 | 255)
        && usize::from(datagram.u16(2)) + 8 == datagram.len;
    if fits {
        datagram.with_port(2152, "gtp")
    } else {
        Likeness::None
    }
}

/// RFC 7348 §5: flags, reserved fields, and an Ethernet frame inside.
fn vxlan(datagram: &Datagram<'_>) -> Likeness {
    let fits = datagram.has(22)
        && datagram.u32(0) == 0x0800_0000
        && datagram.u8(7) == 0
        && is_ethertype(datagram.u16(20));
    if fits { Proof("vxlan") } else { Likeness::None }
}

/// RFC 8926 §3.4: version 0, reserved bits, and a known protocol inside.
fn geneve(datagram: &Datagram<'_>) -> Likeness {
    let options = usize::from(datagram.u8(0) & 0x3f) * 4;
    let inner = datagram.u16(2);
    let fits = datagram.has(8)
        && datagram.u8(0) >> 6 == 0
        && datagram.u8(1) & 0x3f == 0
        && datagram.u8(7) == 0
        && 8 + options <= datagram.len
        && (inner == 0x6558 || is_ethertype(inner));
    if fits {
        datagram.with_port(6081, "geneve")
    } else {
        Likeness::None
    }
}

/// IPv4, ARP, VLAN, IPv6, MPLS.
const fn is_ethertype(kind: u16) -> bool {
    matches!(kind, 0x0800 | 0x0806 | 0x8100 | 0x86dd | 0x8847 | 0x88a8)
}

/// RFC 7296 §3.1, with the marker of RFC 3948 §2.2 on port 4500: version and length.
fn ike(datagram: &Datagram<'_>) -> Likeness {
    let marker = if datagram.u32(0) == 0 && datagram.port(4500) {
        4
    } else {
        0
    };
    let fits = datagram.has(marker + 28)
        && matches!(datagram.u8(marker + 17), 0x10 | 0x20)
        && usize::try_from(datagram.u32(marker + 24)).is_ok_and(|len| len + marker == datagram.len);
    if fits { Proof("ike") } else { Likeness::None }
}

/// RFC 3550 §6.4: a report whose length fits, alone or first of several.
fn rtcp(datagram: &Datagram<'_>) -> Likeness {
    let len = (usize::from(datagram.u16(2)) + 1) * 4;
    let fits = datagram.has(8)
        && datagram.u8(0) & 0xe0 == 0x80
        && (200..=207).contains(&datagram.u8(1))
        && (len == datagram.len || (len + 8 <= datagram.len && datagram.u8(len) & 0xc0 == 0x80));
    if fits { Likely("rtcp") } else { Likeness::None }
}

/// RFC 1350 §5: a request, with the names of file and mode.
fn tftp(datagram: &Datagram<'_>) -> Likeness {
    let (Some(&[0, 1 | 2]), true) = (datagram.bytes.first_chunk(), datagram.port(69)) else {
        return Likeness::None;
    };
    let mut names = datagram.bytes[2..].split(|octet| *octet == 0);
    let file = names.next().unwrap_or_default();
    let mode = names.next().unwrap_or_default();
    let known = [&b"octet"[..], b"netascii"]
        .iter()
        .any(|known| mode.eq_ignore_ascii_case(known));
    if known && !file.is_empty() {
        Proof("tftp")
    } else {
        Likeness::None
    }
}

/// Protocols whose datagrams only a running sequence number gives away: RTP and ESP in UDP.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    halves: [Half; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Half {
    rtp: Row,
    esp: Row,
    quic: Row,
}

/// Datagrams in a row of one source whose number rose a little.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    source: u64,
    number: u32,
    count: u32,
}

/// Steps demanded: each is 1 in 2¹⁰ by chance for RTP (and its source 1 in 2³²).
const ROW_MIN: u32 = 4;
/// Largest step of a sequence number, for loss and reordering on the way.
const STEP_MAX: u32 = 64;

impl Sequences {
    /// Takes a datagram that nothing else explains; names the protocol when the row is long.
    pub(super) fn take(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        true_len: u32,
        ports: (u16, u16),
    ) -> Option<&'static str> {
        let half = &mut self.halves[direction.index()];
        let word = |at: usize| {
            bytes
                .get(at..)?
                .first_chunk()
                .map(|word| u32::from_be_bytes(*word))
        };
        let (first, second, third) = (word(0)?, word(4)?, word(8)?);
        // RFC 3550 §5.1: version 2; the type with the marker bit cleared belongs to the source.
        let is_rtp = first >> 30 == 2 && true_len >= 12;
        let kind = u64::from(first >> 16 & 0x7f);
        if is_rtp
            && half
                .rtp
                .step(kind << 32 | u64::from(third), first & 0xffff, 0xffff)
        {
            return Some("rtp");
        }
        // RFC 3948 §2.1. Anybody's mark and number look the same, so the port has to agree.
        let is_esp = ports.0 == 4500 || ports.1 == 4500;
        if is_esp && first != 0 && half.esp.step(u64::from(first), second, u32::MAX) {
            return Some("ipsec");
        }
        // RFC 9000 §17.3, a capture that missed the handshake: a short header whose low bits are
        // enciphered and a connection identifier that stays (8 octets are usual). Text is no such.
        let identifier =
            u64::from(first & 0xff_ffff) << 40 | u64::from(second) << 8 | u64::from(third >> 24);
        let is_binary = identifier & 0x8080_8080_8080_8080 != 0;
        if first >> 30 == 1 && is_binary && half.quic.stays(identifier, first >> 24) {
            return Some("quic");
        }
        None
    }
}

impl Row {
    fn step(&mut self, source: u64, number: u32, mask: u32) -> bool {
        let step = number.wrapping_sub(self.number) & mask;
        let follows = self.count > 0 && source == self.source && (1..=STEP_MAX).contains(&step);
        *self = Self {
            source,
            number,
            count: if follows { self.count + 1 } else { 1 },
        };
        self.count > ROW_MIN
    }

    /// For rows without a number: `noise` has to change from one datagram to the next.
    const fn stays(&mut self, source: u64, noise: u32) -> bool {
        let follows = self.count > 0 && source == self.source && noise != self.number;
        *self = Self {
            source,
            number: noise,
            count: if follows { self.count + 1 } else { 1 },
        };
        self.count > 2 * ROW_MIN
    }
}
