use crate::app::testing::{C, S, Step, at, check_any_cut, data, noise, read};
use crate::app::{AppFacts, AppProtocol, TlsFacts};

fn tls(facts: AppFacts) -> TlsFacts {
    assert_eq!(facts.protocol, AppProtocol::Tls);
    *facts.tls.expect("TLS facts")
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind, 3, 3], &len[..], body].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &len[1..], body].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).unwrap().to_be_bytes();
    [&kind.to_be_bytes()[..], &len, data].concat()
}

fn with_len(data: &[u8]) -> Vec<u8> {
    [&u16::try_from(data.len()).unwrap().to_be_bytes()[..], data].concat()
}

fn client_hello(tls13: bool) -> Vec<u8> {
    let name = [&[0][..], &with_len(b"www.example.com")].concat();
    let mut extensions = [
        extension(0x0a0a, &[]),
        extension(0, &with_len(&name)),
        extension(16, &with_len(b"\x02h2\x08http/1.1")),
    ]
    .concat();
    if tls13 {
        extensions.extend(extension(43, &[6, 0x5a, 0x5a, 3, 4, 3, 3]));
    }
    extensions.extend(extension(21, &[0; 400]));
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        &with_len(&[0x13, 1]),
        &[1, 0],
        &with_len(&extensions),
    ];
    record(22, &message(1, &body.concat()))
}

fn server_hello(tls13: bool) -> Vec<u8> {
    let extensions = if tls13 {
        extension(43, &[3, 4])
    } else {
        Vec::new()
    };
    let body = [
        &[3, 3][..],
        &[9; 32],
        &[0],
        &[0x13, 1, 0],
        &with_len(&extensions),
    ];
    record(22, &message(2, &body.concat()))
}

#[test]
fn tls13_handshake_and_data() {
    let flight = [
        record(20, &[1]),
        record(23, &noise(1, 53)),
        record(23, &noise(2, 120)),
    ]
    .concat();
    let steps = [
        data(C, client_hello(true)),
        data(
            S,
            [
                server_hello(true),
                record(20, &[1]),
                record(23, &noise(3, 2000)),
            ]
            .concat(),
        ),
        data(C, flight),
        data(S, record(23, &noise(4, 900))),
    ];
    let facts = tls(read(&steps));
    assert_eq!(facts.sni.as_deref(), Some("www.example.com"));
    assert_eq!(facts.alpn, ["h2", "http/1.1"]);
    assert_eq!(facts.version, Some(0x0304));
    assert_eq!(
        (facts.client_hello, facts.server_hello),
        (Some(at(1)), Some(at(2)))
    );
    assert_eq!(facts.handshake_complete, Some(at(3)));
    assert_eq!(
        (facts.client_data, facts.server_data),
        (Some(at(3)), Some(at(4)))
    );
    assert!(facts.alerts.is_empty());
    check_any_cut(&steps);
}

#[test]
fn tls12_handshake_and_close() {
    let finished = [record(20, &[1]), record(22, &noise(1, 40))].concat();
    let steps = [
        data(C, client_hello(false)),
        data(
            S,
            [server_hello(false), record(22, &message(14, &[]))].concat(),
        ),
        data(
            C,
            [record(22, &message(16, &[5; 66])), finished.clone()].concat(),
        ),
        data(S, finished),
        data(C, record(23, &noise(2, 100))),
        data(S, record(23, &noise(3, 100))),
        data(S, record(21, &noise(4, 26))),
    ];
    let facts = tls(read(&steps));
    assert_eq!(
        (facts.version, facts.handshake_complete),
        (Some(0x0303), Some(at(4)))
    );
    assert_eq!(
        (facts.client_data, facts.server_data),
        (Some(at(5)), Some(at(6)))
    );
    assert_eq!(facts.encrypted_alert, [None, Some(at(7))]);
    check_any_cut(&steps);
}

#[test]
fn alerts_in_clear() {
    let steps = [data(C, client_hello(true)), data(S, record(21, &[2, 40]))];
    let facts = tls(read(&steps));
    let alert = facts.alerts[0];
    assert_eq!(
        (alert.direction, alert.level, alert.description, alert.at),
        (S, 2, 40, at(2))
    );
    assert_eq!((facts.server_hello, facts.handshake_complete), (None, None));
    check_any_cut(&steps);
}

#[test]
fn client_refuses_in_cipher() {
    let steps = [
        data(C, client_hello(true)),
        data(
            S,
            [server_hello(true), record(23, &noise(3, 2000))].concat(),
        ),
        data(C, record(23, &noise(4, 19))),
    ];
    let facts = tls(read(&steps));
    assert_eq!(facts.encrypted_alert, [Some(at(3)), None]);
    assert_eq!((facts.handshake_complete, facts.client_data), (None, None));
}

#[test]
fn hello_over_segments_and_records() {
    let hello = client_hello(true);
    let facts = tls(read(&[data(C, &hello[..100]), data(C, &hello[100..])]));
    assert_eq!(facts.sni.as_deref(), Some("www.example.com"));
    assert_eq!(facts.client_hello, Some(at(1)));
    let body = &hello[5..];
    let facts = tls(read(&[data(
        C,
        [record(22, &body[..70]), record(22, &body[70..])].concat(),
    )]));
    assert_eq!(facts.sni.as_deref(), Some("www.example.com"));
}

#[test]
fn hello_cut_by_the_snap_length() {
    let hello = client_hello(true);
    let steps = [
        data(C, &hello[..80]),
        Step::Cut(C, (hello.len() - 80) as u64),
        data(S, &server_hello(true)[..50]),
        Step::Cut(S, 3000),
        data(S, record(23, &noise(5, 40))),
        data(C, &record(23, &noise(1, 53))[..20]),
        Step::Cut(C, 38),
        data(C, record(23, &noise(2, 90))),
    ];
    let facts = tls(read(&steps));
    assert_eq!(
        (facts.client_hello, facts.server_hello),
        (Some(at(1)), Some(at(2)))
    );
    assert_eq!(facts.sni.as_deref(), Some("www.example.com"));
    assert_eq!(
        (facts.handshake_complete, facts.client_data),
        (Some(at(4)), Some(at(5)))
    );
    assert_eq!(facts.version, Some(0x0304));
}

#[test]
fn joined_in_mid_stream() {
    let steps = [
        data(C, noise(1, 700)),
        data(S, noise(2, 1400)),
        data(C, record(23, &noise(3, 700))),
        data(S, record(23, &noise(4, 700))),
    ];
    let facts = tls(read(&steps));
    assert_eq!(
        (facts.client_data, facts.server_data),
        (Some(at(3)), Some(at(4)))
    );
    assert_eq!(facts.client_hello, None);
}

#[test]
fn plain_answer_to_a_hello() {
    let answer = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    let facts = tls(read(&[data(C, client_hello(true)), data(S, answer)]));
    assert_eq!((facts.server_hello, facts.server_data), (None, None));
}

/// A ClientHello that ends with this extension.
fn hello_with(tls13: bool, last: &[u8]) -> Vec<u8> {
    let hello = client_hello(tls13);
    let extensions = hello.len() - 9 - 41;
    let mut body = hello[9..].to_vec();
    body.extend(last);
    let len = u16::try_from(extensions - 2 + last.len()).unwrap();
    body[41..43].copy_from_slice(&len.to_be_bytes());
    record(22, &message(1, &body))
}

#[test]
fn who_asks_to_resume_a_session() {
    let asks = |hello: Vec<u8>| tls(read(&[data(C, hello)])).asks_to_resume;
    assert_eq!(asks(client_hello(true)), Some(false));
    assert_eq!(asks(hello_with(false, &extension(35, &[]))), Some(false));
    assert_eq!(
        asks(hello_with(false, &extension(35, &[1; 32]))),
        Some(true)
    );
    assert_eq!(asks(hello_with(true, &extension(41, &[1; 32]))), Some(true));
    // What is cut may have asked.
    let hello = client_hello(true);
    let cut = [
        data(C, &hello[..80]),
        Step::Cut(C, (hello.len() - 80) as u64),
    ];
    assert_eq!(tls(read(&cut)).asks_to_resume, None);
}

#[test]
fn who_grants_it() {
    let finished = [record(20, &[1]), record(22, &noise(1, 40))].concat();
    let ticket = record(22, &message(4, &[7; 180]));
    let steps = [
        data(C, client_hello(false)),
        data(
            S,
            [server_hello(false), record(22, &message(14, &[]))].concat(),
        ),
        data(
            C,
            [record(22, &message(16, &[5; 66])), finished.clone()].concat(),
        ),
        data(S, [ticket, finished].concat()),
    ];
    let facts = tls(read(&steps));
    assert_eq!((facts.ticket, facts.resumes), (Some(at(4)), false));
    assert_eq!(facts.handshake_complete, Some(at(4)));
    check_any_cut(&steps);
    // A ticket of no octets is none.
    let empty = record(22, &message(4, &[0; 6]));
    let steps = [
        data(C, client_hello(false)),
        data(S, server_hello(false)),
        data(S, empty),
    ];
    assert_eq!(tls(read(&steps)).ticket, None);
}
