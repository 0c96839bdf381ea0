//! Connections told packet by packet to the tracker, for tests that say exactly what passes: those of
//! the analyzer, and those of rules, which are thereby tested on what a tracker makes.

#![allow(
    dead_code,
    reason = "every test file compiles its own copy and uses a part"
)]

use std::net::Ipv4Addr;

use pcapdoc_analyzer::decode::{Packet, PacketKind, TcpFields, TcpFlags};
use pcapdoc_analyzer::flow::tcp::{TcpSettings, TcpTracker, Verdict};
use pcapdoc_analyzer::seq::SeqNumber;
use pcapdoc_analyzer::{Connection, Timestamp};

/// Nanoseconds.
pub const MS: u64 = 1_000_000;

/// A capture point with one pair of endpoints, on which connections may follow each other.
pub struct Capture {
    tracker: Option<TcpTracker>,
    /// One that judges every segment in full: it must come to the same.
    reference: Option<TcpTracker>,
    /// Connections that a SYN of the next one ended.
    earlier: Vec<Connection>,
    /// Port of the client.
    client_port: u16,
    pub frame: u64,
    /// Hop limit of the packets to come.
    pub hop_limit: u8,
}

/// What a packet bears beyond its octets.
#[derive(Clone, Copy, Default)]
pub struct Marks {
    pub ts: Option<(u32, u32)>,
    pub ip_id: Option<u16>,
}

impl Capture {
    /// Of client port 40,000 and server port 80; the first packet is frame 1.
    pub const fn new() -> Self {
        Self::of_client(40_000, 1)
    }

    /// Of another client port; the first packet has this frame number.
    pub const fn of_client(client_port: u16, first_frame: u64) -> Self {
        Self {
            tracker: None,
            reference: None,
            earlier: Vec::new(),
            client_port,
            frame: first_frame - 1,
            hop_limit: 64,
        }
    }

    /// Lets a packet pass `at` nanoseconds; gives the verdict on it.
    pub fn packet(
        &mut self,
        from_client: bool,
        at: u64,
        marks: Marks,
        tcp: TcpFields,
        len: u32,
    ) -> Verdict {
        self.pass(from_client, at, marks, tcp, (len, &[]))
    }

    /// Lets a packet pass that was captured with its payload.
    pub fn payload(
        &mut self,
        from_client: bool,
        at: u64,
        marks: Marks,
        tcp: TcpFields,
        payload: &[u8],
    ) -> Verdict {
        let len = u32::try_from(payload.len()).expect("within a segment");
        self.pass(from_client, at, marks, tcp, (len, payload))
    }

    /// `payload`: its true length and what was captured of it.
    fn pass(
        &mut self,
        from_client: bool,
        at: u64,
        marks: Marks,
        tcp: TcpFields,
        (len, payload): (u32, &[u8]),
    ) -> Verdict {
        self.frame += 1;
        let tcp = TcpFields {
            timestamps: marks.ts,
            ..tcp
        };
        let ends = [
            (Ipv4Addr::new(10, 0, 0, 1), self.client_port),
            (Ipv4Addr::new(10, 0, 0, 2), 80),
        ];
        let [(src, src_port), (dst, dst_port)] = if from_client {
            ends
        } else {
            [ends[1], ends[0]]
        };
        let packet = Packet {
            frame: self.frame,
            time: Timestamp::from_nanos(i64::try_from(at).expect("within the test")),
            src: src.to_ipv6_mapped().octets(),
            dst: dst.to_ipv6_mapped().octets(),
            src_port,
            dst_port,
            wire_len: len + 66,
            payload_len: len,
            payload_start: 0,
            payload_captured: payload.len() as u32,
            ip_id: marks.ip_id,
            hop_limit: self.hop_limit,
            ecn: 0,
            dont_fragment: true,
            reassembled: false,
            observation_point: 0,
            kind: PacketKind::Tcp(tcp),
        };
        // As the flow table does it.
        let known = self.tracker.as_ref();
        let reused = known.is_some_and(|known| known.is_new_incarnation(&packet, &tcp));
        if reused {
            let earlier = self.ended();
            self.earlier.push(earlier);
        }
        let [verdict, in_full] = [(&mut self.tracker, false), (&mut self.reference, true)].map(
            |(tracker, judge_all)| {
                let settings = TcpSettings {
                    judge_all,
                    ..TcpSettings::default()
                };
                let tracker =
                    tracker.get_or_insert_with(|| TcpTracker::new(&packet, &tcp, &settings));
                if reused {
                    tracker.mark_port_reuse();
                }
                tracker.segment(&packet, &tcp, payload).0
            },
        );
        assert_eq!(verdict, in_full, "frame {}", self.frame);
        verdict
    }

    /// A packet of the client at a time in microseconds, without options.
    pub fn client(&mut self, at_us: u64, flags: u8, seq: u32, ack: u32, len: u32) -> Verdict {
        let tcp = fields(seq, ack, flags);
        self.packet(true, at_us * 1000, Marks::default(), tcp, len)
    }

    /// A packet of the server.
    pub fn server(&mut self, at_us: u64, flags: u8, seq: u32, ack: u32, len: u32) -> Verdict {
        let tcp = fields(seq, ack, flags);
        self.packet(false, at_us * 1000, Marks::default(), tcp, len)
    }

    /// The server's acknowledgement with a window.
    pub fn server_window(&mut self, at_us: u64, seq: u32, ack: u32, window: u16) -> Verdict {
        let tcp = TcpFields {
            window_field: window,
            ..fields(seq, ack, TcpFlags::ACK)
        };
        self.packet(false, at_us * 1000, Marks::default(), tcp, 0)
    }

    /// A handshake at the client's side over a path of 20 ms: the client's data begins at 101,
    /// the server's at 901. It is complete at 20 ms.
    pub fn handshake(&mut self) {
        self.client(0, TcpFlags::SYN, 100, 0, 0);
        self.server(20_000, TcpFlags::SYN | TcpFlags::ACK, 900, 101, 0);
        self.client(20_000, TcpFlags::ACK, 101, 901, 0);
    }

    /// The connection as it stands.
    pub fn finish(mut self) -> Connection {
        self.ended()
    }

    /// All connections of these endpoints, in their order.
    pub fn finish_all(mut self) -> Vec<Connection> {
        let last = self.ended();
        self.earlier.push(last);
        self.earlier
    }

    /// Ends what is tracked.
    fn ended(&mut self) -> Connection {
        let [connection, in_full] = [&mut self.tracker, &mut self.reference].map(|tracker| {
            let tracker = tracker.take().expect("a packet passed");
            Box::new(tracker).finish(false)
        });
        assert!(connection == in_full, "judged in full it is another one");
        connection
    }
}

pub fn fields(seq: u32, ack: u32, flags: u8) -> TcpFields {
    TcpFields {
        seq: SeqNumber(seq),
        ack: SeqNumber(ack),
        flags: TcpFlags(flags),
        window_field: 60_000,
        ..TcpFields::default()
    }
}
