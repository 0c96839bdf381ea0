//! Operations and results as they pass on the wire.

use super::super::testing::{C, S, Step, check_any_cut, data, read};
use super::tests::mongo;
use crate::app::ServiceCalls;

const STARTUP: &[u8] = b"\0\0\0\x1f\0\x03\0\0user\0app\0database\0app\0\0";

/// Operations and results of a conversation, which are the same however it is cut.
#[track_caller]
fn calls(steps: &[Step]) -> Vec<(String, Option<String>)> {
    check_any_cut(steps);
    let calls = read(steps)
        .calls
        .map_or_else(ServiceCalls::default, |calls| *calls);
    let kept = calls.kept.into_iter();
    kept.map(|call| (call.operation, call.result)).collect()
}

#[track_caller]
fn check(steps: &[Step], expected: &[(&str, Option<&str>)]) {
    let found = calls(steps);
    let found: Vec<_> = found
        .iter()
        .map(|(operation, result)| (operation.as_str(), result.as_deref()))
        .collect();
    assert_eq!(found, expected);
}

/// A message of PostgreSQL.
fn pg(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], &length[..], body].concat()
}

#[test]
fn postgresql_statements() {
    let ready = || pg(b'Z', b"I");
    let error = pg(b'E', b"SERROR\0C23505\0Mduplicate key\0\0");
    let parse = [
        pg(b'P', b"S_1\0SELECT a FROM t WHERE b=$1\0\0\0"),
        pg(b'S', b""),
    ]
    .concat();
    let bind = [
        pg(b'B', b"\0S_1\0\0\0\0\0\0\0"),
        pg(b'E', b"\0\0\0\0\0"),
        pg(b'S', b""),
    ]
    .concat();
    let steps = [
        data(C, STARTUP),
        data(S, [pg(b'R', &[0; 4]), ready()].concat()),
        data(C, pg(b'Q', b"INSERT INTO t VALUES (1, 'x')\0")),
        data(S, [error, ready()].concat()),
        data(C, parse),
        data(S, [pg(b'1', b""), ready()].concat()),
        data(C, bind),
        data(
            S,
            [pg(b'2', b""), pg(b'C', b"SELECT 1\0"), ready()].concat(),
        ),
        data(C, pg(b'X', b"")),
    ];
    check(
        &steps,
        &[
            ("INSERT INTO t VALUES (?)", Some("23505")),
            ("SELECT a FROM t WHERE b=?", Some("ok")),
            ("SELECT a FROM t WHERE b=?", Some("ok")),
        ],
    );
}

#[test]
fn redis_commands() {
    let steps = [
        data(C, "*2\r\n$3\r\nget\r\n$2\r\nk1\r\n"),
        data(S, "$-1\r\n"),
        data(
            C,
            "*3\r\n$3\r\nSET\r\n$2\r\nk1\r\n$1\r\nv\r\n*1\r\n$4\r\nPING\r\n",
        ),
        data(S, "+OK\r\n+PONG\r\n"),
        data(C, "*2\r\n$4\r\nINCR\r\n$1\r\nx\r\n"),
        data(S, "-WRONGTYPE Operation against a key\r\n"),
        data(C, "*2\r\n$3\r\nGET\r\n$2\r\nk2\r\n"),
        data(S, "-MOVED 3999 10.0.0.3:6381\r\n"),
        data(C, "*2\r\n$5\r\nBLPOP\r\n$1\r\nq\r\n"),
    ];
    check(
        &steps,
        &[
            ("GET", Some("nil")),
            ("SET", Some("ok")),
            ("INCR", Some("WRONGTYPE")),
            ("GET", Some("MOVED")),
            ("BLPOP", None),
        ],
    );
}

#[test]
fn mail_and_its_secrets() {
    let steps = [
        data(S, "220 mail.example ESMTP\r\n"),
        data(C, "EHLO client.example\r\n"),
        data(S, "250-mail.example\r\n250 AUTH LOGIN\r\n"),
        data(C, "AUTH LOGIN\r\n"),
        data(S, "334 VXNlcm5hbWU6\r\n"),
        data(C, "c2VjcmV0\r\n"),
        data(S, "535 5.7.8 no\r\n"),
        data(C, "DATA\r\n"),
        data(S, "354 go on\r\n"),
        data(C, "Subject: one\r\n\r\ntext\r\n.\r\n"),
        data(S, "250 2.0.0 queued\r\n"),
    ];
    check(
        &steps,
        &[
            ("EHLO", Some("250")),
            ("AUTH", Some("334")),
            ("DATA", Some("354")),
            ("message", Some("250")),
        ],
    );
}

#[test]
fn what_follows_a_switch_to_tls_is_not_read() {
    let steps = [
        data(S, "220 mail.example ESMTP\r\n"),
        data(C, "STARTTLS\r\n"),
        data(S, "220 ready\r\n"),
        data(C, b"\x16\x03\x01\0\x05hello"),
        data(S, b"\x16\x03\x03\0\x05hello\x01\x02"),
        data(C, "QUIT \r\n"),
    ];
    check(&steps, &[("STARTTLS", Some("220"))]);
}

#[test]
fn commands_of_memcached() {
    let steps = [
        data(C, "set k 0 0 5\r\nhello\r\n"),
        data(S, "STORED\r\n"),
        data(C, "get k\r\n"),
        data(S, "VALUE k 0 5\r\nhello\r\nEND\r\n"),
        data(C, "get other\r\n"),
        data(S, "END\r\n"),
    ];
    check(
        &steps,
        &[
            ("set", Some("STORED")),
            ("get", Some("VALUE")),
            ("get", Some("END")),
        ],
    );
}

#[test]
fn commands_of_mongodb_name_their_collection() {
    let command = |name: &str, collection: &str| {
        let length = u32::try_from(collection.len() + 1).unwrap().to_le_bytes();
        let value = [&length[..], collection.as_bytes(), b"\0"].concat();
        data(
            C,
            mongo(&[b"\x02", name.as_bytes(), b"\0", &value[..]].concat()),
        )
    };
    let steps = [
        command("find", "users"),
        data(S, mongo(b"\x10ok\0\x01\0\0\0")),
        data(C, mongo(b"\x10ping\0\x01\0\0\0")),
        data(S, mongo(b"\x10ok\0\x01\0\0\0")),
    ];
    check(&steps, &[("find users", Some("ok")), ("ping", Some("ok"))]);
}
