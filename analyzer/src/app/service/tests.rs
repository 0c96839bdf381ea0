//! Errors as services send them, and what looks alike.

use super::super::testing::{C, S, Step, check_any_cut, data, read};
use crate::app::{ServiceError, ServiceErrorKind as Kind, ServiceProtocol};

const MYSQL_GREETING: &[u8] = b"J\0\0\0\n5.7.18\0\x06\0\0\0O[&BOTQ\x01\0\xff\xff\x08\x02\0\xff\xc1\x15\0\0\0\0\0\0\0\0\0\0owJ9_S\x1fDR!?p\0mysql_native_password\0";
const MYSQL_TOO_MANY: &[u8] = b"\x1d\0\0\x02\xff\x10\x04#08004Too many connections";
const AMQP_CLOSE: &[u8] =
    b"\x01\0\0\0\0\0-\0\n\x002\x02\x12\"NOT_ALLOWED - vhost /bad not found\0\n\0(\xce";
const STARTUP: &[u8] = b"\0\0\0\x1f\0\x03\0\0user\0app\0database\0app\0\0";

/// The errors of a conversation, which are the same however it is cut.
#[track_caller]
fn errors(protocol: ServiceProtocol, steps: &[Step]) -> Vec<ServiceError> {
    check_any_cut(steps);
    read(steps).service.map_or_else(Vec::new, |facts| {
        assert_eq!(facts.protocol, protocol);
        facts.errors
    })
}

#[track_caller]
fn check(protocol: ServiceProtocol, steps: &[Step], code: &str, message: &str, kind: Kind) {
    let errors = errors(protocol, steps);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let error = &errors[0];
    assert_eq!(
        (error.code.as_str(), error.message.as_str(), error.kind),
        (code, message, kind)
    );
    assert_eq!((error.at.frame, error.count), (steps.len() as u64, 1));
}

#[track_caller]
fn silent(steps: &[Step], name: &str) {
    check_any_cut(steps);
    let facts = read(steps);
    assert_eq!((facts.name, facts.service), (Some(name), None));
}

/// A message of PostgreSQL.
fn pg(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], &length[..], body].concat()
}

#[test]
fn mysql_refuses_after_the_greeting() {
    let login = data(C, [b"\x08\0\0\x01".as_slice(), &[0x85; 8]].concat());
    let steps = [data(S, MYSQL_GREETING), login, data(S, MYSQL_TOO_MANY)];
    let text = "Too many connections";
    check(ServiceProtocol::MySql, &steps, "1040", text, Kind::Capacity);
}

#[test]
fn mysql_refuses_in_place_of_the_greeting() {
    let text = "Host '10.0.0.9' is blocked";
    let refusal = [b"\x1d\0\0\0\xff\x69\x04".as_slice(), text.as_bytes()].concat();
    let steps = [data(S, refusal)];
    check(
        ServiceProtocol::MySql,
        &steps,
        "1129",
        text,
        Kind::Availability,
    );
}

#[test]
fn mysql_rows_and_tls_are_no_errors() {
    let row = [b"\x0a\0\0\x02\xff\x10\x04".as_slice(), b"1234567"].concat();
    silent(&[data(S, MYSQL_GREETING), data(S, row)], "mysql");
    let tls = [b"\x16\x03\x03\0\x20".as_slice(), MYSQL_TOO_MANY].concat();
    silent(&[data(S, MYSQL_GREETING), data(S, tls)], "mysql");
}

#[test]
fn postgresql_states_sqlstate_and_message() {
    let body = b"SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0";
    let steps = [data(C, STARTUP), data(S, pg(b'E', body))];
    let text = "sorry, too many clients already";
    check(
        ServiceProtocol::PostgreSql,
        &steps,
        "53300",
        text,
        Kind::Capacity,
    );
}

#[test]
fn postgresql_is_read_past_refused_tls_and_rows() {
    let request = data(C, b"\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\x21\0\x03\0\0");
    let row = pg(b'D', &[b'E'; 3000]);
    let error = pg(b'E', b"SERROR\0C42P01\0Mrelation \"a\" does not exist\0\0");
    let ok = pg(b'R', &[0; 4]);
    let steps = [
        request,
        data(S, "N"),
        data(S, ok),
        data(S, row),
        data(S, error),
    ];
    let text = "relation \"a\" does not exist";
    check(
        ServiceProtocol::PostgreSql,
        &steps,
        "42P01",
        text,
        Kind::NotFound,
    );
}

#[test]
fn postgresql_notices_and_tls_are_no_errors() {
    let notice = pg(b'N', b"SNOTICE\0C53300\0Mx\0\0");
    silent(&[data(C, STARTUP), data(S, notice)], "postgresql");
    let error = pg(b'E', b"SFATAL\0C53300\0Mx\0\0");
    let request = data(C, b"\0\0\0\x08\x04\xd2\x16\x2f\x16\x03\x01\0\x10\0\0\0");
    silent(
        &[request, data(S, [b"S".as_slice(), &error].concat())],
        "postgresql",
    );
}

#[test]
fn redis_errors_are_lines_outside_strings() {
    let ping = data(C, "*1\r\n$4\r\nPING\r\n");
    let replies = "+OK\r\n$7\r\n-ERR a\n\r\n$-1\r\n:1\r\n";
    silent(&[ping.clone(), data(S, replies)], "redis");
    silent(
        &[ping.clone(), data(S, "-MOVED 1 10.0.0.1:6379\r\n")],
        "redis",
    );
    let steps = [
        ping,
        data(S, replies),
        data(S, "-OOM command not allowed\r\n"),
    ];
    let text = "command not allowed";
    check(ServiceProtocol::Redis, &steps, "OOM", text, Kind::Capacity);
}

#[test]
fn amqp_closes_with_a_reason() {
    let open = data(C, b"AMQP\0\0\x09\x01");
    let tune = data(S, b"\x01\0\0\0\0\0\x0c\0\n\0\x1e\x07\xff\0\x02\0\0\0<\xce");
    let steps = [open.clone(), tune.clone(), data(S, AMQP_CLOSE)];
    let text = "NOT_ALLOWED - vhost /bad not found";
    check(ServiceProtocol::Amqp, &steps, "530", text, Kind::Refused);
    let goodbye = b"\x01\0\0\0\0\0\x0e\0\n\x002\0\xc8\x03Bye\0\0\0\0\xce";
    silent(&[open, tune, data(C, goodbye)], "amqp");
}

#[test]
fn bgp_notifications_are_named() {
    let marker = [0xff; 16];
    let reset = [&marker[..], b"\0\x15\x03\x06\x04"].concat();
    let text = "Cease: Administrative Reset";
    check(
        ServiceProtocol::Bgp,
        &[data(S, reset)],
        "6/4",
        text,
        Kind::Other,
    );
    let keepalive = [&marker[..], b"\0\x13\x04"].concat();
    silent(&[data(S, &keepalive)], "bgp");
    let expired = [&marker[..], b"\0\x15\x03\x04\0"].concat();
    let steps = [data(S, keepalive), data(C, expired)];
    let kind = Kind::Availability;
    check(
        ServiceProtocol::Bgp,
        &steps,
        "4/0",
        "Hold Timer Expired",
        kind,
    );
}

#[test]
fn replies_of_mail_and_file_servers() {
    let hello = data(S, "220 mail.example ESMTP\r\n");
    let steps = [
        hello.clone(),
        data(S, "550-5.1.1 no such\r\n550 5.1.1 user\r\n"),
    ];
    check(
        ServiceProtocol::Smtp,
        &steps,
        "550",
        "5.1.1 user",
        Kind::Other,
    );
    silent(
        &[hello, data(S, "250 OK 550 seen\r\n"), data(C, "550 x\r\n")],
        "smtp",
    );
    let hello = data(S, "220 (vsFTPd 3.0.5)\r\n");
    let steps = [hello.clone(), data(S, "530 Login incorrect.\r\n")];
    let text = "Login incorrect.";
    check(
        ServiceProtocol::Ftp,
        &steps,
        "530",
        text,
        Kind::Authentication,
    );
    silent(&[hello, data(S, "230 Login successful.\r\n")], "ftp");
}

#[test]
fn codes_are_counted_and_bounded() {
    let mut steps = vec![data(S, "220 (vsFTPd 3.0.5)\r\n")];
    let replies = (500..510).chain([500]);
    steps.extend(replies.map(|code| data(S, format!("{code} No\r\n"))));
    let facts = read(&steps).service.unwrap();
    assert_eq!((facts.errors.len(), facts.not_kept), (8, 2));
    assert_eq!(facts.errors[0].count, 2);
}

#[test]
fn cut_messages_are_read_as_far_as_they_go() {
    let cut = |octets: usize| {
        let missing = MYSQL_TOO_MANY.len() - octets;
        let shown = data(S, &MYSQL_TOO_MANY[..octets]);
        let steps = [data(S, MYSQL_GREETING), shown, Step::Cut(S, missing as u64)];
        read(&[&steps[..], &[data(S, MYSQL_TOO_MANY)]].concat())
    };
    let facts = cut(21).service.unwrap();
    assert_eq!(
        (facts.errors[0].message.as_str(), facts.errors[0].count),
        ("Too many", 2)
    );
    assert_eq!(cut(2).service, None);
}

/// An OP_MSG of a body section.
pub(super) fn mongo(document: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + 5 + document.len() + 5).unwrap();
    let body = u32::try_from(document.len() + 5).unwrap();
    let header = [length, 7, 3, 2013, 0].map(u32::to_le_bytes).concat();
    [&header[..], &[0], &body.to_le_bytes(), document, &[0]].concat()
}

#[test]
fn mongodb_commands_that_fail() {
    let hello = data(C, mongo(b"\x10hello\0\x01\0\0\0"));
    let ok = |value: f64| [&b"\x01ok\0"[..], &value.to_le_bytes()].concat();
    let stated = b"\x02errmsg\0\x0c\0\0\0not primary\0\x10code\0\x7b\x27\0\0\
                   \x02codeName\0\x13\0\0\0NotWritablePrimary\0";
    let failed = mongo(&[ok(0.0), stated.to_vec()].concat());
    let steps = [hello.clone(), data(S, failed)];
    let kind = Kind::Availability;
    check(
        ServiceProtocol::MongoDb,
        &steps,
        "NotWritablePrimary",
        "not primary",
        kind,
    );
    silent(&[hello, data(S, mongo(&ok(1.0)))], "mongodb");
}

#[test]
fn nats_errors() {
    let info = data(S, "INFO {\"server_id\":\"A\",\"version\":\"2.9\"}\r\n");
    let steps = [
        info.clone(),
        data(
            S,
            "MSG a 1 9\r\n-ERR 'x'\r\r\nPING\r\n-ERR 'maximum connections exceeded'\r\n",
        ),
    ];
    let text = "maximum connections exceeded";
    check(
        ServiceProtocol::Nats,
        &steps,
        &text[..24],
        text,
        Kind::Capacity,
    );
    silent(&[info, data(S, "+OK\r\nPONG\r\n")], "nats");
}

#[test]
fn memcached_errors() {
    let set = data(C, "set a 0 0 5\r\nvalue\r\n");
    let steps = [
        set.clone(),
        data(S, "STORED\r\nVALUE a 0 14\r\nSERVER_ERROR x\r\nEND\r\n"),
        data(S, "SERVER_ERROR out of memory storing object\r\n"),
    ];
    let text = "out of memory storing object";
    check(
        ServiceProtocol::Memcached,
        &steps,
        "SERVER_ERROR",
        text,
        Kind::Capacity,
    );
    silent(&[set, data(S, "STORED\r\n")], "memcached");
}

#[test]
fn ldap_results() {
    let bind = data(
        C,
        b"\x30\x14\x02\x01\x01\x60\x0f\x02\x01\x03\x04\x04cn=a\x80\x04pass",
    );
    let result = |code: u8, text: &str| {
        let said = [
            &[0x0a, 1, code, 4, 0, 4, text.len() as u8][..],
            text.as_bytes(),
        ]
        .concat();
        let body = [&[2, 1, 1, 0x61, said.len() as u8][..], &said].concat();
        data(S, [&[0x30, body.len() as u8][..], &body].concat())
    };
    let steps = [bind.clone(), result(49, "")];
    let kind = Kind::Authentication;
    check(
        ServiceProtocol::Ldap,
        &steps,
        "49",
        "invalidCredentials",
        kind,
    );
    let steps = [bind.clone(), result(51, "try later")];
    let kind = Kind::Availability;
    check(ServiceProtocol::Ldap, &steps, "51", "busy: try later", kind);
    for code in [0, 14, 32] {
        silent(&[bind.clone(), result(code, "")], "ldap");
    }
}
