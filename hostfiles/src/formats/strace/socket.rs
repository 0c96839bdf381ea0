//! What traced calls do to a socket.

use analyzer::Transport;

use super::call::{self, Call, sockaddr};
use crate::limits;
use crate::model::{Linger, Opening, Read, TracedSocket};
use crate::place::Place;
use crate::text;

/// A call whose parts are joined.
pub(super) struct Joined<'a> {
    pub(super) name: &'a str,
    pub(super) args: &'a str,
    pub(super) call: Call<'a>,
    /// The line on which it began.
    pub(super) begun: Place,
    /// The line with its result.
    pub(super) done: Place,
    /// The two are one.
    pub(super) is_whole: bool,
    pub(super) tid: u32,
}

/// What a call does to a socket.
pub(super) fn apply(
    socket: &mut TracedSocket,
    joined: &Joined<'_>,
    place: Place,
    may_keep_reads: bool,
) {
    let returned = joined.call.returned();
    match joined.name {
        "bind" => {
            socket.opening = Opening::Bind;
            socket.opened = socket.opened.or(Some(place));
            socket.local = sockaddr(joined.args)
                .filter(|end| end.port != 0)
                .or(socket.local);
        }
        "connect" => {
            let peer = sockaddr(joined.args);
            if peer.is_none() && socket.peer.is_none() {
                return; // Of another family.
            }
            socket.opening = Opening::Connect;
            socket.opened = Some(place);
            socket.peer = peer.or(socket.peer);
        }
        "getsockname" => socket.local = sockaddr(joined.args).or(socket.local),
        "getpeername" => socket.peer = sockaddr(joined.args).or(socket.peer),
        "setsockopt" => option(socket, joined.args, place),
        "shutdown" => socket.shutdown = Some(place),
        "read" | "readv" | "recvfrom" | "recvmsg" | "recv" | "recvmmsg" => {
            read(socket, joined, returned, may_keep_reads);
        }
        "write" | "writev" | "sendto" | "sendmsg" | "send" | "sendfile" | "sendmmsg" => {
            if let Some(sent) = returned.and_then(|sent| u64::try_from(sent).ok()) {
                socket.bytes_written = socket.bytes_written.saturating_add(sent);
                socket.first_write = socket.first_write.or(Some(place));
                socket.last_write = Some(place);
                thread(socket, joined.tid);
            }
        }
        _ => {}
    }
}

fn option(socket: &mut TracedSocket, args: &str, place: Place) {
    if args.contains("SO_LINGER") {
        let on = text::between(args, "l_onoff=", &[',', '}']);
        let on = on.or_else(|| text::between(args, "{onoff=", &[',', '}']));
        let seconds = text::between(args, "linger=", &[',', '}']);
        if let (Some(on), Some(seconds)) = (on, seconds) {
            socket.linger = Some(Linger {
                on: on != "0",
                seconds: seconds.parse().unwrap_or(-1),
                place,
            });
        }
    } else if args.contains("SO_RCVTIMEO") || args.contains("SO_SNDTIMEO") {
        socket.timeout = Some(place);
    } else if args.contains("SO_REUSEPORT") {
        socket.reuse_port = Some(place);
    } else if args.contains("TCP_USER_TIMEOUT") {
        socket.user_timeout = Some(place);
    } else if args.contains("KEEPALIVE") || args.contains("TCP_KEEP") {
        socket.keepalive = Some(place);
    }
}

fn read(socket: &mut TracedSocket, joined: &Joined<'_>, returned: Option<i64>, may_keep: bool) {
    let Some(given) = returned.and_then(|given| u64::try_from(given).ok()) else {
        return;
    };
    let place = joined.done;
    if joined.args.contains("MSG_PEEK") || joined.args.contains("MSG_ERRQUEUE") {
        return;
    }
    let is_udp = socket.transport == Some(Transport::Udp);
    if given == 0 && !is_udp {
        socket.end_read = socket.end_read.or(Some(place));
        return;
    }
    let asked = call::asked(joined.name, joined.args).unwrap_or(0);
    // A datagram that came whole cannot be longer than the buffer.
    let flags = text::between(joined.args, "msg_flags=", &['}']).unwrap_or_default();
    let is_cut = flags.contains("MSG_TRUNC") || asked > 0 && given > asked;
    socket.bytes_read = socket.bytes_read.saturating_add(given);
    socket.read_calls += 1;
    socket.last_read = Some(place);
    if is_cut {
        socket.cut = socket.cut.or(Some(place));
    }
    let one = Read {
        asked,
        given,
        place,
    };
    if asked > 0 && given >= asked && socket.filled.is_none_or(|known| asked > known.asked) {
        socket.filled = Some(one);
    }
    if may_keep && socket.reads.len() < limits::READS {
        socket.reads.push(one);
    }
    // A server of datagrams learns each client with its datagram.
    if socket.peer.is_none()
        && socket.senders.len() < 8
        && let Some(sender) = sockaddr(joined.args)
        && !socket.senders.contains(&sender)
    {
        socket.transport = socket.transport.or(Some(Transport::Udp));
        socket.senders.push(sender);
    }
    thread(socket, joined.tid);
}

fn thread(socket: &mut TracedSocket, tid: u32) {
    if tid != 0 && socket.threads.len() < 8 && !socket.threads.contains(&tid) {
        socket.threads.push(tid);
    }
}
