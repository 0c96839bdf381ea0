//! Captures made octet by octet, for tests that need to say exactly what is on the wire.

#![allow(
    dead_code,
    reason = "every test file compiles its own copy and uses a part"
)]

use std::net::IpAddr;

/// Ethernet addresses of every frame: destination, source.
pub const MACS: [[u8; 6]; 2] = [
    [0x00, 0x1b, 0x21, 0xd1, 0xd2, 0xd3],
    [0x3c, 0x97, 0x0e, 0xe1, 0xe2, 0xe3],
];

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

/// A classic capture with microseconds, one frame after the other.
pub struct Capture {
    pub bytes: Vec<u8>,
    now_us: u64,
    identification: u16,
}

/// One end of a packet.
pub type End<'a> = (&'a str, u16);

impl Capture {
    pub fn new() -> Self {
        let mut bytes = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
        bytes.extend([2, 0, 4, 0]);
        bytes.extend([0; 8]);
        bytes.extend(262_144_u32.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        Self {
            bytes,
            now_us: 1_700_000_000_000_000,
            identification: 0,
        }
    }

    /// Ends a file of a ring: gives its bytes, and goes on in the next one.
    pub fn next_file(&mut self) -> Vec<u8> {
        let header = self.bytes[..24].to_vec();
        std::mem::replace(&mut self.bytes, header)
    }

    /// Lets time pass.
    pub fn wait_ms(&mut self, ms: u64) {
        self.now_us += ms * 1_000;
    }

    /// A TCP segment; an option-less header.
    pub fn tcp(
        &mut self,
        from: End<'_>,
        to: End<'_>,
        flags: u8,
        seq: u32,
        ack: u32,
        payload: &[u8],
    ) {
        let mut segment = Vec::new();
        segment.extend(from.1.to_be_bytes());
        segment.extend(to.1.to_be_bytes());
        segment.extend(seq.to_be_bytes());
        segment.extend(ack.to_be_bytes());
        segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(payload);
        self.ip(from.0, to.0, 6, &segment);
    }

    /// A UDP datagram.
    pub fn udp(&mut self, from: End<'_>, to: End<'_>, payload: &[u8]) {
        let mut datagram = Vec::new();
        datagram.extend(from.1.to_be_bytes());
        datagram.extend(to.1.to_be_bytes());
        datagram.extend(
            u16::try_from(8 + payload.len())
                .expect("short")
                .to_be_bytes(),
        );
        datagram.extend([0, 0]);
        datagram.extend(payload);
        self.ip(from.0, to.0, 17, &datagram);
    }

    /// An ICMP error: the port that a datagram from one end to the other went to is not open.
    pub fn port_unreachable(&mut self, from: (&str, u16), to: (&str, u16)) {
        let address = |end: &str| -> std::net::Ipv4Addr { end.parse().expect("an IPv4 address") };
        let mut error = vec![
            3, 3, 0, 0, 0, 0, 0, 0, 0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 17, 0, 0,
        ];
        error.extend(address(from.0).octets());
        error.extend(address(to.0).octets());
        error.extend(from.1.to_be_bytes());
        error.extend(to.1.to_be_bytes());
        error.extend([0, 20, 0, 0]);
        self.ip(to.0, from.0, 1, &error);
    }

    fn ip(&mut self, from: &str, to: &str, protocol: u8, payload: &[u8]) {
        let (from, to): (IpAddr, IpAddr) = (
            from.parse().expect("an address"),
            to.parse().expect("an address"),
        );
        self.identification += 1;
        let mut frame = MACS.concat();
        let len = u16::try_from(payload.len()).expect("short");
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend([8, 0, 0x45, 0]);
                frame.extend((len + 20).to_be_bytes());
                frame.extend(self.identification.to_be_bytes());
                frame.extend([0x40, 0, 64, protocol, 0, 0]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(len.to_be_bytes());
                frame.extend([protocol, 64]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            _ => panic!("one family on both ends"),
        }
        frame.extend(payload);
        self.frame(&frame);
    }

    fn frame(&mut self, frame: &[u8]) {
        self.now_us += 100;
        let seconds = u32::try_from(self.now_us / 1_000_000).expect("before 2106");
        let micros = u32::try_from(self.now_us % 1_000_000).expect("below a million");
        let len = u32::try_from(frame.len()).expect("short");
        for field in [seconds, micros, len, len] {
            self.bytes.extend(field.to_le_bytes());
        }
        self.bytes.extend(frame);
    }

    /// An HTTP server that closes after two seconds of idling while the next request is on its
    /// way, `times` times.
    pub fn keepalive_race(&mut self, client: &str, server: End<'_>, request: &[u8], times: u16) {
        let response =
            b"HTTP/1.1 200 OK\r\nServer: nginx/1.2 acme-build\r\nContent-Length: 2\r\n\r\nhi";
        let len = u32::try_from(request.len()).expect("short");
        let answer = u32::try_from(response.len()).expect("short");
        for number in 0..times {
            let client = (client, 40_000 + number);
            self.tcp(client, server, SYN, 100, 0, b"");
            self.tcp(server, client, SYN | ACK, 500, 101, b"");
            self.tcp(client, server, ACK, 101, 501, b"");
            self.tcp(client, server, PSH | ACK, 101, 501, request);
            self.tcp(server, client, ACK, 501, 101 + len, b"");
            self.wait_ms(20);
            self.tcp(server, client, PSH | ACK, 501, 101 + len, response);
            self.tcp(client, server, ACK, 101 + len, 501 + answer, b"");
            self.wait_ms(2_000);
            self.tcp(server, client, FIN | ACK, 501 + answer, 101 + len, b"");
            self.wait_ms(40);
            self.tcp(client, server, ACK, 101 + len, 502 + answer, b"");
            self.wait_ms(300);
            self.tcp(client, server, PSH | ACK, 101 + len, 502 + answer, request);
            self.tcp(server, client, RST, 502 + answer, 0, b"");
            self.wait_ms(200);
        }
    }

    /// Questions for a name, all answered by NXDOMAIN.
    pub fn unknown_names(&mut self, client: &str, resolver: &str, name: &[&[u8]], times: u16) {
        for number in 0..times {
            let (client, resolver) = ((client, 50_000 + number), (resolver, 53));
            let mut question = Vec::new();
            question.extend(number.to_be_bytes());
            question.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
            for label in name {
                question.push(u8::try_from(label.len()).expect("a label"));
                question.extend(*label);
            }
            question.extend([0, 0, 1, 0, 1]);
            self.udp(client, resolver, &question);
            self.wait_ms(5);
            let mut answer = question.clone();
            answer[2..4].copy_from_slice(&[0x81, 0x83]);
            self.udp(resolver, client, &answer);
            self.wait_ms(50);
        }
    }
}

/// Strings that attack whoever shows them: HTML, Markdown, Mermaid, terminals.
pub const ATTACKS: [&str; 7] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "[a](javascript:alert(1))|`x`|",
    "\u{1b}]0;owned\u{7}\u{1b}[31m",
    "%%{init: {}}%%; end",
    "x\u{202e}gnp.exe",
    "{{7*7}}${7*7}",
];

/// A capture whose targets, hosts, payloads and DNS names are [`ATTACKS`].
pub fn hostile() -> Vec<u8> {
    let mut capture = Capture::new();
    for (number, attack) in ATTACKS.iter().enumerate() {
        let target = attack.replace(' ', "+");
        let request =
            format!("GET /{target} HTTP/1.1\r\nHost: {target}\r\nX-Note: {attack}\r\n\r\n");
        let server = format!("192.0.2.{}", number + 1);
        capture.keepalive_race("198.51.100.9", (&server, 8080), request.as_bytes(), 4);
        capture.unknown_names(
            "198.51.100.9",
            "192.0.2.53",
            &[attack.as_bytes(), b"example"],
            12,
        );
    }
    capture.bytes
}
