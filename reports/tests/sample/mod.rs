//! A hand-made result with something in every part of the report.

use std::time::Duration;

use analyzer::analysis::{Analysis, FileSummary, InterfaceSummary, Interval, Intervals};
use analyzer::connection::{Histogram, TcpState};
use analyzer::decode::TcpFlags;
use analyzer::event::SegmentRef;
use analyzer::seq::SeqNumber;
use analyzer::{Direction, Endpoint, QualityKind, QualityNote, Timestamp, Transport};
use reports::document::{
    Bucket, Cell, Column, ConnectionRow, HalfRow, ResetRow, ResponseTimes, Table, TimePart,
};
use reports::{Afterwards, ConnectionCollector, Document, Draft, RunInfo};
use rules::finding::{
    Assessment, ConnectionRef, Distribution, Evidence, Figure, FigureValue, Finding, HostCommand,
    LookAlike, Origin, Remedy, RuleOutcome, Severity, Spread,
};
use rules::timeouts::Wait;
use rules::waits::Waits;

/// 2026-11-23T09:15:00Z.
const START: i64 = 1_795_425_300_000_000_000;

/// The whole document.
pub fn document() -> Document {
    let assessment = Assessment {
        findings: vec![race(), stall(), truncation()],
        outcomes: outcomes(),
        notices: vec!["ignored finding `http-error` matched nothing".to_owned()],
    };
    let mut document = build(&analysis(), &assessment);
    document.connection_total = 18_240;
    document.connections = connections();
    document.response_times = Some(response_times());
    document.round_trip_times = Some(round_trips());
    document.time_split = time_split();
    document.tables = tables();
    document
}

/// A capture without any finding.
pub fn clean() -> Document {
    let assessment = Assessment {
        findings: Vec::new(),
        outcomes: outcomes()
            .into_iter()
            .map(|outcome| RuleOutcome {
                findings: 0,
                ..outcome
            })
            .collect(),
        notices: Vec::new(),
    };
    let analysis = Analysis {
        quality: Vec::new(),
        ..analysis()
    };
    build(&analysis, &assessment)
}

/// A capture in which there was nothing at all.
pub fn empty() -> Document {
    build(&Analysis::default(), &Assessment::default())
}

fn build(analysis: &Analysis, assessment: &Assessment) -> Document {
    let run = RunInfo {
        version: "0.1.0".to_owned(),
        arguments: ["analyze", "checkout-502.pcapng", "--format", "html"]
            .map(str::to_owned)
            .into(),
        configuration: vec![("retransmit-hol.min_stall_ms".to_owned(), "20".to_owned())],
        configuration_file: Some("pcapdoc.toml".to_owned()),
    };
    let draft = Draft::new(analysis, assessment, ConnectionCollector::default(), &run);
    draft.finish(Afterwards::default())
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_nanos(START) + Duration::from_secs_f64(seconds)
}

fn client(port: u16) -> Endpoint {
    Endpoint::new("10.9.0.1".parse().unwrap(), port)
}

fn server(port: u16) -> Endpoint {
    Endpoint::new("10.9.0.2".parse().unwrap(), port)
}

fn connection(
    transport: Transport,
    client_port: u16,
    server_port: u16,
    first_frame: u64,
) -> ConnectionRef {
    ConnectionRef {
        first_frame,
        transport,
        client: client(client_port),
        server: server(server_port),
        translated_to: None,
    }
}

struct Step<'a>(u64, f64, Direction, u8, u64, u64, u32, &'a str);

fn evidence(
    connection: ConnectionRef,
    Step(frame, seconds, direction, flags, seq, ack, len, note): Step<'_>,
) -> Evidence {
    let (seq_base, ack_base) = match direction {
        Direction::ClientToServer => (2_874_113_001_u32, 911_204_377_u32),
        Direction::ServerToClient => (911_204_377, 2_874_113_001),
    };
    Evidence {
        segment: SegmentRef {
            frame,
            time: at(seconds),
            direction,
            flags: TcpFlags(flags),
            seq: SeqNumber(seq_base.wrapping_add(seq as u32)),
            ack: SeqNumber(ack_base.wrapping_add(ack as u32)),
            relative_seq: seq,
            relative_ack: ack,
            payload_len: len,
            window: 64_256,
        },
        connection,
        note: note.to_owned(),
        proves: true,
    }
}

fn number(name: &'static str, value: f64) -> Figure {
    Figure {
        name,
        value: FigureValue::Number(value),
        spread: None,
    }
}

fn median(name: &'static str, count: u64, min: f64, value: f64, max: f64) -> Figure {
    let spread = Some(Spread {
        count,
        min,
        median: value,
        max,
    });
    Figure {
        name,
        value: FigureValue::Number(value),
        spread,
    }
}

fn remedy(product: &str, text: &str, setting: &str) -> Remedy {
    let setting = (!setting.is_empty()).then(|| setting.to_owned());
    Remedy {
        product: product.to_owned(),
        text: text.to_owned(),
        setting,
    }
}

fn race_example(port: u16, first_frame: u64, start: f64) -> Vec<Evidence> {
    use Direction::{ClientToServer as C, ServerToClient as S};
    let conn = connection(Transport::Tcp, port, 80, first_frame);
    let steps = [
        Step(
            first_frame + 5,
            start,
            S,
            0x18,
            1,
            412,
            1_284,
            "last payload before the idle time, from server",
        ),
        Step(
            first_frame + 210,
            start + 5.0021,
            S,
            0x11,
            1_285,
            412,
            0,
            "FIN from server, 5.002 s after the last payload",
        ),
        Step(
            first_frame + 211,
            start + 5.0034,
            C,
            0x18,
            412,
            1_285,
            411,
            "request data from client (411 bytes), 1.3 ms after the FIN at the capture \
                 point; its ACK number does not cover the FIN",
        ),
        Step(
            first_frame + 212,
            start + 5.0035,
            S,
            0x04,
            1_285,
            0,
            0,
            "RST from server; its sequence number is the request's ACK number",
        ),
    ];
    steps.into_iter().map(|step| evidence(conn, step)).collect()
}

fn race() -> Finding {
    let values: Vec<f64> = (0..14).map(|n| 4_998.0 + f64::from(n) * 0.9).collect();
    Finding {
        id: "F1".to_owned(),
        rule: "keepalive-race",
        origin: Origin::BuiltIn,
        severity: Severity::High,
        confidence: 0.95,
        confidence_reason:
            "14 connections closed after the same 5 s, and each reset answers its request \
             by number"
                .to_owned(),
        title: "Server 10.9.0.2:80 closes idle connections after 5 s while requests are on \
             their way"
            .to_owned(),
        summary: "Server 10.9.0.2:80 closed connections that had been idle for 5 s (typical of \
             Node.js, Apache and uvicorn; the number alone proves no product), and the next \
             request from 10.9.0.1 was on its way at that moment. 14 requests got RST \
             instead of a response; the client sees \"connection reset\" or returns 502."
            .to_owned(),
        occurrences: 14,
        connections: (0..14)
            .map(|n| connection(Transport::Tcp, 40_000 + n, 80, 12 + u64::from(n) * 300))
            .collect(),
        connection_count: 14,
        evidence: [
            race_example(40_000, 12, 11.204),
            race_example(40_003, 912, 31.877),
        ]
        .concat(),
        figures: vec![
            median("idle_timeout_ms", 14, 4_998.0, 5_001.9, 5_010.2),
            median("race_gap_ms", 14, 0.2, 1.3, 3.9),
            number("resets", 14.0),
        ],
        cost: vec![number("requests_failed", 14.0), number("time_lost_ms", 0.0)],
        why: vec![
            "All 14 requests carry an ACK number that does not cover the server's FIN: \
                 the client did not know of the close"
                .to_owned(),
            "The idle times lie between 4.998 s and 5.010 s: a timer, not chance".to_owned(),
            "Each RST bears the sequence number of the request's ACK: it answers that request"
                .to_owned(),
        ],
        look_alikes: vec![
            LookAlike {
                name: "server restart".to_owned(),
                why_not:
                    "the 14 closes are spread over 55 s and the server served other requests in \
                 between"
                        .to_owned(),
            },
            LookAlike {
                name: "client-timeout-close".to_owned(),
                why_not: "the server sent FIN first, and nothing was pending".to_owned(),
            },
        ],
        remedy: vec![
            remedy(
                "any",
                "The server closes at 5 s: raise its idle timeout above the client's or \
                 balancer's (65 s for the usual 60 s), and let the client retry requests \
                 that may be repeated.",
                "",
            ),
            remedy(
                "Node.js",
                "Keep idle connections longer than the balancer does; headersTimeout must \
                 be longer still.",
                "server.keepAliveTimeout = 65_000;\nserver.headersTimeout = 66_000;",
            ),
            remedy(
                "nginx",
                "As the server behind a balancer.",
                "keepalive_timeout 75s;",
            ),
            remedy(
                "gunicorn",
                "Only asynchronous workers keep connections.",
                "gunicorn --keep-alive 65",
            ),
            remedy(
                "AWS ALB",
                "Lower the balancer's idle timeout below the server's, when the server \
                 cannot be changed.",
                "aws elbv2 modify-load-balancer-attributes --load-balancer-arn ARN \
                 --attributes Key=idle_timeout.timeout_seconds,Value=4",
            ),
        ],
        host_commands: vec![HostCommand {
            host: "server".to_owned(),
            command: "ss -tnoi 'sport = :80'".to_owned(),
            tells: "which connections are idle, and since when (lastrcv)".to_owned(),
        }],
        caveats: vec![(
            QualityKind::CaptureDrops,
            "212 bytes were acknowledged but not captured; none of the proving frames lies \
             near them"
                .to_owned(),
        )],
        stalls: Vec::new(),
        explained_by: Vec::new(),
        filter: "tcp.port == 80 && (tcp.flags.reset == 1 || tcp.flags.fin == 1) && ip.addr == \
             10.9.0.1"
            .to_owned(),
        host_evidence: None,
        onset: None,
        relation: None,
        timeouts: Waits::new(Wait::ServerIdle, values.clone())
            .into_iter()
            .collect(),
        distribution: Some(Distribution {
            figure: "idle_timeout_ms",
            values,
        }),
    }
}

fn stall() -> Finding {
    use Direction::{ClientToServer as C, ServerToClient as S};
    let conn = connection(Transport::Tcp, 51_000, 443, 5_120);
    let steps = [
        Step(
            5_201,
            22.100,
            S,
            0x10,
            40_000,
            900,
            1_448,
            "last segment before the hole",
        ),
        Step(
            5_202,
            22.101,
            S,
            0x10,
            42_896,
            900,
            1_448,
            "first segment behind the hole: 1,448 bytes are missing",
        ),
        Step(
            5_207,
            22.102,
            C,
            0x10,
            900,
            41_448,
            0,
            "SACK: the client has what came later",
        ),
        Step(
            5_260,
            22.424,
            S,
            0x18,
            41_448,
            900,
            1_448,
            "retransmission fills the hole, 322 ms after it opened",
        ),
    ];
    Finding {
        id: "F2".to_owned(),
        rule: "retransmit-hol",
        origin: Origin::BuiltIn,
        severity: Severity::Medium,
        confidence: 0.88,
        confidence_reason: "seen at the receiver, with SACK".to_owned(),
        title: "Lost segments from 10.9.0.2:443 held back data that had already arrived, for \
             up to 322 ms"
            .to_owned(),
        summary: "9 holes on 3 connections kept 1.1 MB waiting for 1.9 s in sum. 7 were repaired \
             by timeout."
            .to_owned(),
        occurrences: 9,
        connections: vec![conn],
        connection_count: 3,
        evidence: steps.into_iter().map(|step| evidence(conn, step)).collect(),
        figures: vec![
            number("stall_ms_total", 1_913.4),
            number("stall_ms_max", 322.0),
            number("blocked_bytes", 1_104_000.0),
            number("holes", 9.0),
        ],
        cost: vec![number("time_lost_ms", 1_913.4)],
        why: vec![
            "The segments behind each hole were captured and acknowledged by SACK before \
             the repair"
                .to_owned(),
        ],
        look_alikes: vec![LookAlike {
            name: "reordering".to_owned(),
            why_not: "TSval of the filling segments is newer than that of the segments behind the \
             hole"
                .to_owned(),
        }],
        remedy: vec![remedy(
            "Linux",
            "Let the sender recover without waiting for a timer.",
            "sysctl -w net.ipv4.tcp_recovery=1",
        )],
        host_commands: Vec::new(),
        caveats: Vec::new(),
        stalls: Vec::new(),
        explained_by: vec!["F3".to_owned()],
        filter: "tcp.stream == 41 && tcp.analysis.flags".to_owned(),
        distribution: None,
        relation: None,
        timeouts: Vec::new(),
        host_evidence: None,
        onset: None,
    }
}

fn truncation() -> Finding {
    use Direction::{ClientToServer as C, ServerToClient as S};
    let conn = connection(Transport::Udp, 53_001, 9_000, 77);
    let steps = [
        Step(78, 2.5, C, 0, 0, 0, 1_400, "datagram of 1,400 bytes"),
        Step(
            79,
            2.5004,
            S,
            0,
            0,
            0,
            1_024,
            "its answer is cut at 1,024 bytes",
        ),
    ];
    Finding {
        id: "F3".to_owned(),
        rule: "udp-truncation",
        origin: Origin::BuiltIn,
        severity: Severity::Low,
        confidence: 0.6,
        confidence_reason: "answers end at a round size, but only 3 datagrams were larger"
            .to_owned(),
        title: "Datagrams to 10.9.0.2:9000 are larger than its 1,024-byte receive buffer"
            .to_owned(),
        summary: "3 datagrams were larger than 1,024 bytes and their answers stop there."
            .to_owned(),
        occurrences: 3,
        connections: vec![conn],
        connection_count: 1,
        evidence: steps.into_iter().map(|step| evidence(conn, step)).collect(),
        figures: vec![
            number("receive_buffer_bytes", 1_024.0),
            number("largest_datagram_bytes", 1_400.0),
            number("datagrams", 3.0),
        ],
        cost: vec![number("bytes_lost", 1_128.0)],
        why: vec![
            "Answers follow the request's size up to 1,024 bytes and never beyond".to_owned(),
        ],
        look_alikes: Vec::new(),
        remedy: vec![remedy("any", "Read with a buffer of 65,535 bytes.", "")],
        host_commands: Vec::new(),
        caveats: Vec::new(),
        stalls: Vec::new(),
        explained_by: Vec::new(),
        filter: "udp.port == 9000 && udp.length > 1032".to_owned(),
        distribution: None,
        relation: None,
        timeouts: Vec::new(),
        host_evidence: None,
        onset: None,
    }
}

fn outcomes() -> Vec<RuleOutcome> {
    let outcome = |rule, title, assessed, not_assessed: &[(&str, u64)], findings| RuleOutcome {
        rule,
        title,
        origin: Origin::BuiltIn,
        assessed,
        not_assessed: not_assessed
            .iter()
            .map(|(reason, n)| ((*reason).to_owned(), *n))
            .collect(),
        findings,
        failure: None,
    };
    vec![
        outcome(
            "keepalive-race",
            "Servers close idle connections while requests are in flight",
            18_000,
            &[],
            1,
        ),
        outcome(
            "linger-zero-reset",
            "An application aborts connections by SO_LINGER 0",
            18_000,
            &[],
            0,
        ),
        outcome(
            "listen-overflow",
            "A listener cannot keep up with new connections",
            17_800,
            &[("only one direction was captured", 200)],
            0,
        ),
        outcome(
            "retransmit-hol",
            "A lost segment holds back bytes that already arrived",
            18_000,
            &[],
            1,
        ),
        outcome(
            "tls-handshake-failure",
            "TLS handshakes fail",
            0,
            &[("no TLS handshake was captured", 18_000)],
            0,
        ),
        outcome(
            "udp-truncation",
            "Datagrams are larger than the receiver's buffer",
            240,
            &[],
            1,
        ),
        RuleOutcome {
            failure: Some("index out of range".to_owned()),
            ..outcome(
                "zero-window-stall",
                "A receiver's closed window stops the sender",
                0,
                &[],
                0,
            )
        },
    ]
}

fn analysis() -> Analysis {
    let mut analysis = Analysis::default();
    let summary = &mut analysis.summary;
    summary.files = vec![FileSummary {
        name: "captures/checkout-502.pcapng".to_owned(),
        format: "pcapng (gzip)".to_owned(),
        stored_bytes: 48_211_904,
        frames: 412_889,
        first: Some(at(0.0)),
        last: Some(at(63.5)),
    }];
    summary.interfaces = vec![InterfaceSummary {
        index: 0,
        name: Some("eth0".to_owned()),
        link_type: "EN10MB".to_owned(),
        snaplen: 262_144,
        frames: 412_889,
        drops: Some(12),
    }];
    (summary.packets, summary.bytes) = (412_889, 301_443_120);
    (summary.first, summary.last) = (Some(at(0.0)), Some(at(63.5)));
    summary.protocols = [("tcp", 411_000), ("udp", 1_800), ("arp", 89)].into();
    summary.undecoded = [("ethertype 0x88cc".to_owned(), 12)].into();
    analysis.quality = vec![QualityNote {
        kind: QualityKind::CaptureDrops,
        count: 12,
        note: "The capturing host dropped 12 frames on eth0; missing data is not counted as loss."
            .to_owned(),
    }];
    (analysis.tcp_connections, analysis.udp_flows) = (18_000, 240);
    analysis.intervals = intervals();
    analysis
}

fn intervals() -> Intervals {
    let slices = (0..128_u64).map(|n| {
        let wave = 40 + (n * 7 % 13) * 3 + if (40..60).contains(&n) { 60 } else { 0 };
        Interval {
            packets: [wave * 30, wave * 42],
            bytes: [wave * 3_000, wave * 52_000],
            retransmissions: [
                u64::from(n % 31 == 0),
                if (44..48).contains(&n) {
                    14 + n % 3
                } else {
                    u64::from(n % 17 == 0)
                },
            ],
            resets: u64::from(n % 9 == 0),
            opened: wave,
            failed: u64::from(n % 23 == 0),
        }
    });
    let mut intervals = Intervals {
        start: Some(at(0.0)),
        width: Duration::from_millis(500),
        slices: slices.collect(),
        states: Vec::new(),
    };
    intervals.states = (0..128_u32)
        .map(|n| {
            let mut row = [[0; 11]; 2];
            let set = |ends: &mut [[u32; 11]; 2], end: usize, state, count| {
                ends[end][Intervals::state_index(state)] = count
            };
            set(&mut row, 0, TcpState::Established, 180 + n % 17);
            set(&mut row, 1, TcpState::Established, 176 + n % 19);
            set(&mut row, 0, TcpState::FinWait2, n.saturating_sub(30) * 2);
            set(&mut row, 1, TcpState::CloseWait, n.saturating_sub(30) * 2);
            set(&mut row, 0, TcpState::TimeWait, n.min(60));
            set(&mut row, 0, TcpState::SynSent, n % 3);
            row
        })
        .collect();
    intervals
}

fn response_times() -> ResponseTimes {
    let mut histogram = Histogram::default();
    for n in 0..4_000_u64 {
        let micros = 4_000 + n * n % 9_973 * 2 + if n % 40 == 0 { 900_000 + n * 130 } else { 0 };
        histogram.add(Duration::from_micros(micros));
    }
    times(&histogram)
}

fn round_trips() -> ResponseTimes {
    let mut histogram = Histogram::default();
    (0..900_u64).for_each(|n| histogram.add(Duration::from_micros(700 + n * n % 401 * 3)));
    times(&histogram)
}

fn times(histogram: &Histogram) -> ResponseTimes {
    let ms = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
    let quantile = |at| histogram.quantile(at).map(ms).unwrap_or_default();
    ResponseTimes {
        count: histogram.count(),
        p50_ms: quantile(0.5),
        p90_ms: quantile(0.9),
        p95_ms: quantile(0.95),
        p99_ms: quantile(0.99),
        max_ms: quantile(1.0),
        buckets: histogram
            .iter()
            .map(|(middle, count)| Bucket {
                ms: ms(middle),
                count,
            })
            .collect(),
    }
}

fn time_split() -> Vec<TimePart> {
    [
        ("handshake", "Handshake", 14.2),
        ("client_think", "Client idle between requests", 2_840.0),
        ("request_transfer", "Sending requests", 8.9),
        ("server_think", "Waiting for the server", 611.4),
        ("response_transfer", "Sending responses", 120.7),
        ("recovery_timeout", "Repairing loss, by timeout", 1.9),
    ]
    .map(|(name, label, total_s)| TimePart {
        name: name.to_owned(),
        label: label.to_owned(),
        total_s,
    })
    .into()
}

fn tables() -> Vec<Table> {
    let column = |(name, label): (&str, &str)| Column {
        name: name.to_owned(),
        label: label.to_owned(),
    };
    let rows = (0..12_u64).map(|n| {
        vec![
            Cell::Text(format!("10.9.0.{}", n + 1)),
            Cell::Text("10.9.0.2:80".to_owned()),
            Cell::Count(1_900 - n * 140),
            Cell::Count(40_000 - n * 3_000),
            Cell::Count(90_400_111 - n * 7_000_000),
        ]
    });
    vec![
        Table {
            id: "top-talkers".to_owned(),
            title: "Clients and servers with the most bytes".to_owned(),
            columns: [
                ("client", "Client"),
                ("server", "Server"),
                ("connections", "Connections"),
                ("packets", "Packets"),
                ("bytes", "Bytes"),
            ]
            .map(column)
            .into(),
            rows: rows.collect(),
            rows_left_out: 31,
            note: Some("Computed over the 200 most relevant of 18,240 connections.".to_owned()),
        },
        Table {
            id: "slowest-servers".to_owned(),
            title: "Servers by response time".to_owned(),
            columns: [
                ("server", "Server"),
                ("responses", "Responses"),
                ("response_p50_ms", "Median"),
                ("response_p95_ms", "95th percentile"),
                ("response_max_ms", "Slowest"),
            ]
            .map(column)
            .into(),
            rows: vec![
                vec![
                    Cell::Text("10.9.0.2:80".to_owned()),
                    Cell::Count(3_800),
                    Cell::Number(12.4),
                    Cell::Number(910.0),
                    Cell::Number(1_420.5),
                ],
                vec![
                    Cell::Text("[2001:db8::2]:443".to_owned()),
                    Cell::Count(200),
                    Cell::Number(8.0),
                    Cell::Number(31.5),
                    Cell::Missing(()),
                ],
            ],
            rows_left_out: 0,
            note: None,
        },
    ]
}

fn connections() -> Vec<ConnectionRow> {
    let half = |packets, resent| HalfRow {
        packets,
        payload_bytes: packets * 700,
        retransmitted_segments: resent,
        retransmitted_bytes: resent * 1_448,
        spurious_retransmissions: 0,
        out_of_order: 0,
        rtt_min_ms: Some(0.71),
        largest_payload_bytes: 1_448,
        zero_windows: 0,
    };
    let row = |n: u16| ConnectionRow {
        transport: "tcp".into(),
        client: client(40_000 + n).to_string(),
        server: server(if n.is_multiple_of(3) { 443 } else { 80 }).to_string(),
        start: at(f64::from(n) * 0.75).rfc3339(),
        duration_ms: 5_204.75 + f64::from(n) * 11.0,
        packets: 220,
        bytes: 150_000 - u64::from(n) * 1_000,
        client_to_server: half(90, 0),
        server_to_client: half(130, u64::from(n % 4)),
        close: if n < 14 { "reset" } else { "fin" }.into(),
        first_frame: 12 + u64::from(n) * 300,
        last_frame: 290 + u64::from(n) * 300,
        role: "syn".into(),
        capture_point: "at the client".into(),
        protocol: if n.is_multiple_of(3) { "tls" } else { "http1" }.into(),
        server_name: n
            .is_multiple_of(3)
            .then(|| "checkout.example.com".to_owned()),
        requests: 9,
        answered: 8,
        response_p50_ms: Some(12.4),
        response_max_ms: (n % 5 != 4).then_some(910.2),
        rtt_ms: Some(0.93),
        stall_ms: 0.0,
        resets: if n < 14 {
            vec![ResetRow {
                frame: 224,
                direction: "server_to_client".to_owned(),
                kind: "aborted-after-close".to_owned(),
                confidence: 0.95,
                stated: None,
            }]
        } else {
            Vec::new()
        },
        translated_from: None,
        process: None,
        proxied_to: None,
    };
    (0..24).map(row).collect()
}
