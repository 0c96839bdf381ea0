//! One line of `strace`, taken apart.

use std::net::IpAddr;

use analyzer::{Endpoint, Transport};

use crate::text;

/// The time at the beginning of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stamp {
    /// None.
    None,
    /// Nanoseconds since midnight (`-t`, `-tt`).
    Day(i64),
    /// Nanoseconds since 1970 (`-ttt`).
    Epoch(i64),
    /// Nanoseconds since the line before (`-r`).
    Since(i64),
}

/// Whether a line holds all of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Whole,
    Unfinished,
    Resumed,
}

/// A call.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Call<'a> {
    pub(super) name: &'a str,
    pub(super) part: Part,
    /// From behind the bracket, without the last one.
    pub(super) args: &'a str,
    /// Behind the equals sign.
    pub(super) result: &'a str,
}

impl Call<'_> {
    /// The number that it returned.
    pub(super) fn returned(&self) -> Option<i64> {
        let len = self
            .result
            .bytes()
            .take_while(|byte| byte.is_ascii_digit() || *byte == b'-')
            .count();
        self.result.get(..len)?.parse().ok()
    }

    /// How long it took (`-T`), in nanoseconds.
    pub(super) fn took(&self) -> Option<i64> {
        let (_, time) = self.result.rsplit_once(" <")?;
        text::seconds(time.strip_suffix('>')?)
    }
}

/// A line: who, when, what.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct TraceLine<'a> {
    pub(super) pid: Option<u32>,
    /// The name of the thread (`--decode-pids=comm`).
    pub(super) comm: Option<&'a str>,
    pub(super) stamp: Stamp,
    /// The rest: a call, a signal or an exit.
    pub(super) rest: &'a str,
}

/// Takes the prefix off a line.
pub(super) fn line(text: &str) -> TraceLine<'_> {
    let mut rest = text.trim_start();
    let (mut pid, mut comm) = (None, None);
    if let Some(inner) = rest.strip_prefix("[pid")
        && let Some(end) = inner.find("] ")
    {
        (pid, comm) = numbered(inner[..end].trim_start());
        rest = inner[end + 2..].trim_start();
    } else if let Some((word, behind)) = rest.split_once(' ')
        && let (Some(number), name) = numbered(word)
        && number < 900_000_000
    {
        (pid, comm) = (Some(number), name);
        rest = behind.trim_start();
    }
    let (stamp, mut rest) = stamp(rest);
    // The number of the call (`-n`) and where it was made (`-i`), in brackets.
    while let Some((_, behind)) = rest
        .strip_prefix('[')
        .and_then(|inner| inner.split_once("] "))
    {
        rest = behind.trim_start();
    }
    TraceLine {
        pid,
        comm,
        stamp,
        rest,
    }
}

/// `123` or `123<nginx>`.
fn numbered(text: &str) -> (Option<u32>, Option<&str>) {
    let (number, name) = text.split_once('<').unwrap_or((text, ""));
    let name = name.strip_suffix('>');
    (number.parse().ok(), name)
}

fn stamp(text: &str) -> (Stamp, &str) {
    let Some((word, rest)) = text.split_once(' ') else {
        return (Stamp::None, text);
    };
    if !word.starts_with(|letter: char| letter.is_ascii_digit()) {
        return (Stamp::None, text);
    }
    let rest = rest.trim_start();
    if let Some(nanos) = text::time_of_day(word) {
        // `-r` beside it: `10:00:00 (+     0.000123) close(3)`.
        let rest = match (rest.strip_prefix("(+"), rest.find(") ")) {
            (Some(_), Some(end)) => rest[end + 2..].trim_start(),
            _ => rest,
        };
        return (Stamp::Day(nanos), rest);
    }
    match text::seconds(word) {
        Some(nanos) if nanos > 900_000_000_000_000_000 => (Stamp::Epoch(nanos), rest),
        Some(nanos) => (Stamp::Since(nanos), rest),
        None => (Stamp::None, text),
    }
}

/// Calls that say something of sockets.
pub(super) fn is_wanted(name: &str) -> bool {
    matches!(
        name,
        "socket"
            | "bind"
            | "connect"
            | "accept"
            | "accept4"
            | "listen"
            | "setsockopt"
            | "shutdown"
            | "close"
            | "read"
            | "readv"
            | "recvfrom"
            | "recvmsg"
            | "recv"
            | "write"
            | "writev"
            | "sendto"
            | "sendmsg"
            | "send"
            | "sendfile"
            | "sendmmsg"
            | "recvmmsg"
            | "getsockname"
            | "getpeername"
            | "epoll_ctl"
            | "clone"
            | "clone3"
            | "fork"
            | "vfork"
            | "execve"
    )
}

/// The call of a line's rest.
pub(super) fn call(rest: &str) -> Option<Call<'_>> {
    if let Some(inner) = rest.strip_prefix("<... ") {
        let end = inner.find(" resumed>")?;
        let behind = inner[end + " resumed>".len()..].trim_start();
        let (args, result) = outcome(behind);
        return Some(Call {
            name: &inner[..end],
            part: Part::Resumed,
            args,
            result,
        });
    }
    let open = rest.find('(')?;
    let name = &rest[..open];
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || !name.bytes().all(is_name) {
        return None;
    }
    let behind = &rest[open + 1..];
    if let Some(args) = behind.trim_end().strip_suffix("<unfinished ...>") {
        return Some(Call {
            name,
            part: Part::Unfinished,
            args,
            result: "",
        });
    }
    let (args, result) = outcome(behind);
    Some(Call {
        name,
        part: Part::Whole,
        args,
        result,
    })
}

/// Arguments and result.
fn outcome(text: &str) -> (&str, &str) {
    match text.rfind(" = ") {
        Some(at) => {
            let args = text[..at].trim_end();
            (
                args.strip_suffix(')').unwrap_or(args),
                text[at + 3..].trim(),
            )
        }
        None => (text, ""),
    }
}

/// A descriptor as an argument or result, with what `-yy` says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fd {
    pub(super) number: u32,
    pub(super) transport: Option<Transport>,
    pub(super) local: Option<Endpoint>,
    pub(super) peer: Option<Endpoint>,
    /// It is known to be something else: a file, a pipe, a local socket.
    pub(super) is_other: bool,
}

/// A descriptor at the beginning of a text.
pub(super) fn fd(text: &str) -> Option<Fd> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text.get(..len)?.parse().ok()?;
    let mut found = Fd {
        number,
        transport: None,
        local: None,
        peer: None,
        is_other: false,
    };
    let Some(told) = text.get(len..).and_then(|rest| rest.strip_prefix('<')) else {
        return Some(found);
    };
    let transport = if told.starts_with("TCP") {
        Transport::Tcp
    } else if told.starts_with("UDP") {
        Transport::Udp
    } else {
        found.is_other = !told.starts_with("socket:");
        return Some(found);
    };
    found.transport = Some(transport);
    let Some(open) = told.find(":[") else {
        return Some(found);
    };
    let ends = &told[open + 2..];
    let ends = ends.find("]>").map_or(ends, |end| &ends[..end]);
    match ends.split_once("->") {
        Some((local, peer)) => {
            found.local = text::endpoint(local);
            found.peer = text::endpoint(peer);
        }
        // A number alone is an inode.
        None => found.local = text::endpoint(ends).filter(|end| end.port != 0),
    }
    Some(found)
}

/// The address in `{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("10.0.0.2")}`.
pub(super) fn sockaddr(text: &str) -> Option<Endpoint> {
    let port = text::between(text, "port=htons(", &[')'])?.parse().ok()?;
    let ip = text::between(text, "inet_addr(\"", &['"'])
        .or_else(|| text::between(text, "inet_pton(AF_INET6, \"", &['"']))?;
    let ip: IpAddr = ip.parse().ok()?;
    Some(Endpoint::new(ip.to_canonical(), port))
}

/// The text behind a quoted buffer: `"abc"..., 1024, 0` gives `1024, 0`.
pub(super) fn behind_buffer(text: &str) -> Option<&str> {
    let open = text.find('"')?;
    let bytes = text.as_bytes();
    let mut at = open + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    let rest = text.get(at + 1..)?;
    Some(
        rest.trim_start_matches("...")
            .trim_start_matches([',', ' ']),
    )
}

/// Octets that a call asks for.
pub(super) fn asked(name: &str, args: &str) -> Option<u64> {
    if matches!(name, "recvmsg" | "readv" | "recvmmsg" | "preadv") {
        let lens = args.match_indices("iov_len=");
        let lens = lens.filter_map(|(at, found)| text::leading_number(&args[at + found.len()..]));
        return lens.reduce(u64::saturating_add);
    }
    let behind = match behind_buffer(args) {
        Some(behind) => behind,
        // `0x7f…, 1024`: nothing came.
        None => {
            args.split_once(", 0x")
                .and_then(|(_, rest)| rest.split_once(", "))?
                .1
        }
    };
    text::leading_number(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_all_options() {
        let of = |text| {
            let line = line(text);
            (line.pid, line.stamp, line.rest)
        };
        let close = "close(3) = 0";
        assert_eq!(of("close(3) = 0"), (None, Stamp::None, close));
        assert_eq!(of("[pid  12] close(3) = 0"), (Some(12), Stamp::None, close));
        assert_eq!(
            of("12 00:00:01 close(3) = 0"),
            (Some(12), Stamp::Day(1_000_000_000), close)
        );
        assert_eq!(of("00:00:01.5 close(3) = 0").1, Stamp::Day(1_500_000_000));
        let epoch = Stamp::Epoch(1_796_050_973_250_000_000);
        assert_eq!(
            of("12<app> 1796050973.25 close(3) = 0"),
            (Some(12), epoch, close)
        );
        assert_eq!(of("1796050973.25 close(3) = 0"), (None, epoch, close));
        assert_eq!(
            of("     0.000123 close(3) = 0"),
            (None, Stamp::Since(123_000), close)
        );
        assert_eq!(of("12 00:00:01 (+     0.000123) close(3) = 0").2, close);
        assert_eq!(line("[pid 5<my app>] close(3) = 0").comm, Some("my app"));
    }

    #[test]
    fn calls_and_their_parts() {
        let one = call("recvfrom(5<TCP:[10.9.0.2:80->10.9.0.1:4]>, \"a\\\"b = c\"..., 4096, 0, NULL, NULL) = 18 <0.000100>").unwrap();
        assert_eq!(asked(one.name, one.args), Some(4096));
        assert_eq!((one.returned(), one.took()), (Some(18), Some(100_000)));
        let end = fd(one.args).unwrap();
        assert_eq!(end.peer.unwrap().to_string(), "10.9.0.1:4");
        let one = call("close(4)          = 0").unwrap();
        assert_eq!((one.args, one.returned()), ("4", Some(0)));
        let one = call("recvfrom(4<UDP:[0.0.0.0:5300]>,  <unfinished ...>").unwrap();
        assert_eq!(one.part, Part::Unfinished);
        let one = call("<... recvfrom resumed>\"x\"..., 1024, 0, {sa_family=AF_INET6, sin6_port=htons(9), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"fd00::1\", &sin6_addr), sin6_scope_id=0}, [28]) = 1024").unwrap();
        assert_eq!(
            (one.part, asked(one.name, one.args)),
            (Part::Resumed, Some(1024))
        );
        assert_eq!(sockaddr(one.args).unwrap().to_string(), "[fd00::1]:9");
        let text = "3, {msg_name={sa_family=AF_INET, sin_port=htons(5), sin_addr=inet_addr(\"1.2.3.4\")}, msg_iov=[{iov_base=\"x\", iov_len=10}, {iov_base=\"y\", iov_len=20}], msg_iovlen=2, msg_flags=MSG_TRUNC}, 0";
        assert_eq!(asked("recvmsg", text), Some(30));
        assert_eq!(
            asked("recvfrom", "3, 0x7ffe, 512, 0, NULL, NULL"),
            Some(512)
        );
        assert!(call("--- SIGCHLD {si_signo=SIGCHLD} ---").is_none());
        assert!(fd("7<UNIX-STREAM:[1->2]>").unwrap().is_other);
    }
}
