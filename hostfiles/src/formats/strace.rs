//! `strace`, call by call: the life of each TCP and UDP socket.
//!
//! Descriptors belong to a process: threads share them (CLONE_THREAD), a fork copies them. Where
//! tracing began too late to see who is whose thread, a descriptor that its thread never opened is
//! taken to be the one opened last under that number.

use std::collections::HashMap;

use analyzer::Transport;

use super::strace_call::{self, Call, Fd, Part, Stamp, call, fd, sockaddr};
use super::{Format, Known};
use crate::limits;
use crate::model::{Clock, Facts, Kind, LineRef, Linger, Opening, Place, Read, TracedSocket};
use crate::out::Out;
use crate::text;

pub(super) const KNOWN: Known = Known {
    kind: Kind::Strace,
    recognise,
    make: || Box::<Strace>::default(),
};

fn recognise(head: &[&str]) -> bool {
    let is_call = |line: &&&str| {
        let rest = strace_call::line(line).rest;
        let done = |call: Call<'_>| {
            call.part != Part::Whole || call.returned().is_some() || call.result.starts_with('?')
        };
        call(rest).is_some_and(done)
    };
    let calls = head.iter().filter(is_call).count();
    calls * 2 > head.len() || calls >= 10
}

/// A call that another interrupted.
struct Pending {
    name: String,
    args: String,
    place: Place,
}

/// A call whose parts are joined.
struct Joined<'a> {
    name: &'a str,
    args: &'a str,
    call: Call<'a>,
    /// The line on which it began.
    begun: Place,
    /// The line with its result.
    done: Place,
    /// The two are one.
    is_whole: bool,
    tid: u32,
}

#[derive(Default)]
struct Strace {
    day: i64,
    last: Option<i64>,
    pending: HashMap<u32, Pending>,
    /// The process of a thread.
    leaders: HashMap<u32, u32>,
    /// Sockets by process and descriptor.
    open: HashMap<(u32, u32), usize>,
    /// Who opened a descriptor of this number last.
    latest: HashMap<u32, u32>,
    live: Vec<Option<(TracedSocket, u32)>>,
    free: Vec<usize>,
    reads_kept: usize,
}

/// Octets of the arguments of an interrupted call that are kept.
const PENDING_BYTES: usize = 1_024;
/// Sockets that a fork copies.
const COPIED: usize = 4_096;
/// Reads kept of one file.
const READS: usize = 300_000;

impl Format for Strace {
    fn line(&mut self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        let line = strace_call::line(line);
        let time = self.time(line.stamp, out);
        let tid = line.pid.unwrap_or(0);
        let place = Place { at, time };
        if line.rest.starts_with("+++") {
            self.exited(tid, place, out);
            return true;
        }
        let Some(call) = call(line.rest) else {
            return line.rest.starts_with("---") || line.rest.starts_with("strace:");
        };
        if let Some(comm) = line.comm {
            name(out, at.file, self.leader(tid), comm);
        }
        if !is_wanted(call.name) {
            return true;
        }
        match call.part {
            Part::Unfinished => {
                let args = cut(call.args, PENDING_BYTES).to_owned();
                let name = call.name.to_owned();
                if self.pending.len() < limits::TRACED {
                    self.pending.insert(tid, Pending { name, args, place });
                }
            }
            Part::Resumed => {
                let Some(begun) = self.pending.remove(&tid) else {
                    return true;
                };
                if begun.name == call.name {
                    let args = format!("{}{}", begun.args, call.args);
                    let joined = Joined {
                        name: &begun.name,
                        args: &args,
                        call,
                        begun: begun.place,
                        done: place,
                        is_whole: false,
                        tid,
                    };
                    self.take(&joined, out);
                }
            }
            Part::Whole => {
                let joined = Joined {
                    name: call.name,
                    args: call.args,
                    call,
                    begun: place,
                    done: place,
                    is_whole: true,
                    tid,
                };
                self.take(&joined, out);
            }
        }
        true
    }

    fn finish(&mut self, out: &mut Out<'_>) {
        for (socket, _) in std::mem::take(&mut self.live).into_iter().flatten() {
            keep(socket, out);
        }
    }
}

/// Calls that say something of sockets.
fn is_wanted(name: &str) -> bool {
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

fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

fn name(out: &mut Out<'_>, file: usize, pid: u32, name: &str) {
    let names = &mut out.facts.names;
    if pid != 0 && names.len() < limits::TRACED {
        names.entry((file, pid)).or_insert_with(|| name.to_owned());
    }
}

fn keep(mut socket: TracedSocket, out: &mut Out<'_>) {
    if let Some(local) = socket.local {
        out.own(local.ip);
    }
    let is_inet = socket.peer.is_some() || socket.local.is_some();
    if !is_inet || !out.wants(socket.local, socket.peer) {
        return;
    }
    socket.reads.shrink_to_fit();
    let facts = &mut out.facts;
    let file = socket.place.at.file;
    Facts::add(
        &mut facts.traced,
        &mut facts.left_out,
        file,
        limits::TRACED,
        socket,
    );
}

impl Strace {
    /// The time of a line, by the file's clock.
    fn time(&mut self, stamp: Stamp, out: &mut Out<'_>) -> Option<i64> {
        const HALF_DAY: i64 = 12 * 3600 * 1_000_000_000;
        let (clock, time) = match stamp {
            Stamp::None => return None,
            Stamp::Epoch(nanos) => (Clock::Epoch, nanos),
            Stamp::Since(nanos) => (Clock::Elapsed, self.last.unwrap_or(0).saturating_add(nanos)),
            Stamp::Day(nanos) => {
                if self
                    .last
                    .is_some_and(|last| nanos + self.day < last - HALF_DAY)
                {
                    self.day = self.day.saturating_add(2 * HALF_DAY);
                }
                (Clock::Day, nanos.saturating_add(self.day))
            }
        };
        out.file.clock = clock;
        self.last = Some(time);
        Some(time)
    }

    fn leader(&self, tid: u32) -> u32 {
        self.leaders.get(&tid).copied().unwrap_or(tid)
    }

    /// Where the socket of a descriptor lies.
    fn find(&self, tid: u32, fd: u32) -> Option<(u32, usize)> {
        let leader = self.leader(tid);
        if let Some(at) = self.open.get(&(leader, fd)) {
            return Some((leader, *at));
        }
        let other = *self.latest.get(&fd)?;
        // A process that is known by its own beginning has descriptors of its own.
        let at = self.open.get(&(other, fd))?;
        (!self.leaders.contains_key(&tid)).then_some((other, *at))
    }

    /// A new socket under a descriptor.
    fn add(&mut self, tid: u32, fd: u32, socket: TracedSocket, out: &mut Out<'_>) {
        let leader = self.leader(tid);
        self.drop_fd(leader, fd, None, out);
        if self.open.len() >= limits::TRACED {
            *out.facts.left_out.entry(socket.place.at.file).or_default() += 1;
            return;
        }
        let at = self.free.pop().unwrap_or(self.live.len());
        let entry = Some((socket, 1));
        match self.live.get_mut(at) {
            Some(free) => *free = entry,
            None => self.live.push(entry),
        }
        self.open.insert((leader, fd), at);
        self.latest.insert(fd, leader);
    }

    /// A descriptor is gone: closed, opened anew, or its process is.
    fn drop_fd(&mut self, leader: u32, fd: u32, closed: Option<Place>, out: &mut Out<'_>) {
        let Some(at) = self.open.remove(&(leader, fd)) else {
            return;
        };
        let Some(Some((socket, shares))) = self.live.get_mut(at) else {
            return;
        };
        *shares -= 1;
        socket.closed = closed.or(socket.closed);
        if *shares == 0
            && let Some((socket, _)) = self.live[at].take()
        {
            self.free.push(at);
            keep(socket, out);
        }
    }

    fn exited(&mut self, tid: u32, place: Place, out: &mut Out<'_>) {
        self.pending.remove(&tid);
        if self.leader(tid) != tid {
            self.leaders.remove(&tid);
            return;
        }
        let mut fds: Vec<u32> = self
            .open
            .keys()
            .filter(|(pid, _)| *pid == tid)
            .map(|(_, fd)| *fd)
            .collect();
        fds.sort_unstable();
        for fd in fds {
            self.drop_fd(tid, fd, Some(place), out);
        }
    }

    /// The socket of a call's first argument: the known one, or a new one if what is said of it
    /// shows that it is a socket.
    fn socket(
        &mut self,
        joined: &Joined<'_>,
        arg: Fd,
        out: &mut Out<'_>,
    ) -> Option<&mut TracedSocket> {
        if arg.is_other {
            return None;
        }
        let only_sockets = !matches!(
            joined.name,
            "read" | "readv" | "write" | "writev" | "sendfile" | "close" | "epoll_ctl"
        );
        let mut found = self.find(joined.tid, arg.number);
        // The descriptor names another connection than the one known: a close was missed.
        let is_other = |socket: &TracedSocket| {
            let (Some(known), Some(told)) = (socket.peer, arg.peer) else {
                return false;
            };
            known != told && socket.transport != Some(Transport::Udp)
        };
        if let Some((leader, at)) = found
            && self.live[at]
                .as_ref()
                .is_some_and(|(socket, _)| is_other(socket))
        {
            self.drop_fd(leader, arg.number, None, out);
            found = None;
        }
        if found.is_none() {
            if arg.transport.is_none() && !only_sockets {
                return None;
            }
            let socket = TracedSocket {
                place: joined.begun,
                pid: Some(self.leader(joined.tid)).filter(|pid| *pid != 0),
                fd: arg.number,
                ..TracedSocket::default()
            };
            self.add(joined.tid, arg.number, socket, out);
            found = self.find(joined.tid, arg.number);
        }
        let (_, at) = found?;
        let (socket, _) = self.live.get_mut(at)?.as_mut()?;
        socket.transport = socket.transport.or(arg.transport);
        // The kernel's own word, complete once the socket is connected.
        if arg.local.is_some_and(|local| !local.ip.is_unspecified()) || socket.local.is_none() {
            socket.local = arg.local.or(socket.local);
        }
        socket.peer = socket.peer.or(arg.peer);
        Some(socket)
    }

    fn take(&mut self, joined: &Joined<'_>, out: &mut Out<'_>) {
        match joined.name {
            "clone" | "clone3" | "fork" | "vfork" => return self.cloned(joined),
            "execve" => {
                if joined.call.returned() == Some(0)
                    && let Some(path) = text::between(joined.args, "\"", &['"'])
                {
                    let base = path.rsplit('/').next().unwrap_or(path);
                    let pid = self.leader(joined.tid);
                    out.facts.names.remove(&(joined.done.at.file, pid));
                    name(out, joined.done.at.file, pid, base);
                }
                return;
            }
            "socket" => return self.created(joined, out),
            _ => {}
        }
        let Some(arg) = fd(joined.args) else { return };
        match joined.name {
            "accept" | "accept4" => self.accepted(joined, arg, out),
            "close" => {
                // What `-yy` says of it may be all that is known.
                let _ = self.socket(joined, arg, out);
                if joined.call.returned().is_none_or(|result| result == 0)
                    && let Some((leader, _)) = self.find(joined.tid, arg.number)
                {
                    self.drop_fd(leader, arg.number, Some(joined.begun), out);
                }
            }
            "epoll_ctl" => self.polled(joined),
            _ => {
                let may_keep = self.reads_kept < READS;
                let place = joined.begun;
                if let Some(socket) = self.socket(joined, arg, out) {
                    let before = socket.reads.len();
                    apply(socket, joined, place, may_keep);
                    let added = socket.reads.len() - before;
                    self.reads_kept += added;
                }
            }
        }
    }

    fn created(&mut self, joined: &Joined<'_>, out: &mut Out<'_>) {
        let Some(made) = fd(joined.call.result) else {
            return;
        };
        let leader = self.leader(joined.tid);
        self.drop_fd(leader, made.number, None, out);
        if !joined.args.starts_with("AF_INET") {
            return;
        }
        let transport = if joined.args.contains("SOCK_STREAM") {
            Some(Transport::Tcp)
        } else if joined.args.contains("SOCK_DGRAM") {
            Some(Transport::Udp)
        } else {
            return;
        };
        let socket = TracedSocket {
            place: joined.begun,
            pid: Some(leader).filter(|pid| *pid != 0),
            fd: made.number,
            transport,
            ..TracedSocket::default()
        };
        self.add(joined.tid, made.number, socket, out);
    }

    fn accepted(&mut self, joined: &Joined<'_>, arg: Fd, out: &mut Out<'_>) {
        let Some(made) = fd(joined.call.result) else {
            return;
        };
        let listener = self.socket(joined, arg, out);
        let listener = listener.map(|socket| (socket.local, socket.timeout));
        let told = sockaddr(joined.args);
        let (peer, local) = (made.peer.or(told), made.local);
        if peer.is_none() || made.is_other {
            return;
        }
        let returned = match joined.is_whole {
            true => joined
                .call
                .took()
                .and_then(|took| joined.begun.time?.checked_add(took)),
            false => joined.done.time,
        };
        let socket = TracedSocket {
            place: joined.done,
            pid: Some(self.leader(joined.tid)).filter(|pid| *pid != 0),
            fd: made.number,
            transport: Some(Transport::Tcp),
            local: local.or(listener.and_then(|(local, _)| local)),
            peer,
            opening: Opening::Accept,
            opened: Some(joined.done),
            opened_by: returned,
            ..TracedSocket::default()
        };
        self.add(joined.tid, made.number, socket, out);
    }

    /// `epoll_ctl(4, EPOLL_CTL_ADD, 5, …)`.
    fn polled(&mut self, joined: &Joined<'_>) {
        let mut args = joined.args.splitn(3, ", ");
        let is_add = args.nth(1) == Some("EPOLL_CTL_ADD");
        let Some(arg) = args.next().and_then(fd).filter(|_| is_add) else {
            return;
        };
        if let Some((_, at)) = self.find(joined.tid, arg.number)
            && let Some(Some((socket, _))) = self.live.get_mut(at)
        {
            socket.polled = socket.polled.or(Some(joined.begun));
        }
    }

    fn cloned(&mut self, joined: &Joined<'_>) {
        let child = joined
            .call
            .returned()
            .and_then(|pid| u32::try_from(pid).ok());
        let Some(child) = child.filter(|pid| *pid > 0) else {
            return;
        };
        let leader = self.leader(joined.tid);
        let is_thread = joined.args.contains("CLONE_THREAD");
        if self.leaders.len() < limits::TRACED {
            self.leaders
                .insert(child, if is_thread { leader } else { child });
        }
        if is_thread || joined.args.contains("CLONE_FILES") || self.open.len() > COPIED {
            return;
        }
        let copied: Vec<(u32, usize)> = self
            .open
            .iter()
            .filter(|((pid, _), _)| *pid == leader)
            .map(|((_, fd), at)| (*fd, *at))
            .collect();
        for (fd, at) in copied {
            if let Some(Some((_, shares))) = self.live.get_mut(at)
                && !self.open.contains_key(&(child, fd))
            {
                *shares += 1;
                self.open.insert((child, fd), at);
            }
        }
    }
}

/// What a call does to a socket.
fn apply(socket: &mut TracedSocket, joined: &Joined<'_>, place: Place, may_keep_reads: bool) {
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
    let asked = strace_call::asked(joined.name, joined.args).unwrap_or(0);
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
    thread(socket, joined.tid);
}

fn thread(socket: &mut TracedSocket, tid: u32) {
    if tid != 0 && socket.threads.len() < 8 && !socket.threads.contains(&tid) {
        socket.threads.push(tid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::{HostFiles, Source};
    use analyzer::Endpoint;

    fn shown(end: Option<Endpoint>) -> String {
        end.map(|end| end.to_string()).unwrap_or_default()
    }

    fn traced(text: &str) -> Vec<TracedSocket> {
        let source = Source::Bytes("s".to_owned(), text.as_bytes().to_vec());
        let files = HostFiles::of(vec![source], &std::collections::BTreeMap::new(), &|_| true);
        assert_eq!(files.files[0].kind, Kind::Strace);
        files.facts.traced
    }

    #[test]
    fn a_client_that_lingers_zero_seconds() {
        let all = traced(
            "12 15:02:54.324546 socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP) = 3\n\
             12 15:02:54.324756 connect(3, {sa_family=AF_INET, sin_port=htons(8080), sin_addr=inet_addr(\"10.9.0.2\")}, 16) = 0\n\
             12 15:02:54.325427 sendto(3, \"GET\", 18, 0, NULL, 0) = 18\n\
             12 15:02:54.325584 recvfrom(3, \"HTTP\", 100, 0, NULL, NULL) = 19\n\
             12 15:02:55.370556 setsockopt(3, SOL_SOCKET, SO_LINGER, {l_onoff=1, l_linger=0}, 8) = 0\n\
             12 15:02:56.870814 close(3)          = 0\n",
        );
        let one = &all[0];
        assert_eq!(shown(one.peer), "10.9.0.2:8080");
        let linger = one.linger.unwrap();
        assert!(linger.on && linger.seconds == 0 && linger.place.at.line == 5);
        assert_eq!(one.closed.unwrap().at.line, 6);
        assert_eq!((one.bytes_read, one.bytes_written), (19, 18));
    }

    #[test]
    fn threads_share_and_interrupted_calls_are_joined() {
        let all = traced(
            "1 1796050973.1 bind(3<TCP:[29455]>, {sa_family=AF_INET, sin_port=htons(8080), sin_addr=inet_addr(\"0.0.0.0\")}, 16) = 0\n\
             1 1796050973.2 accept4(3<TCP:[0.0.0.0:8080]>, {sa_family=AF_INET, sin_port=htons(52472), sin_addr=inet_addr(\"10.9.0.1\")}, [16], SOCK_CLOEXEC) = 5<TCP:[10.9.0.2:8080->10.9.0.1:52472]>\n\
             1 1796050973.3 clone3({flags=CLONE_VM|CLONE_FILES|CLONE_THREAD} <unfinished ...>\n\
             1 1796050973.4 <... clone3 resumed> => {parent_tid=[2]}, 88) = 2\n\
             2 1796050973.5 recvfrom(5<TCP:[10.9.0.2:8080->10.9.0.1:52472]>,  <unfinished ...>\n\
             2 1796050973.6 <... recvfrom resumed>\"GET\", 4096, 0, NULL, NULL) = 18\n\
             2 1796050973.7 close(5<TCP:[10.9.0.2:8080->10.9.0.1:52472]>) = 0\n",
        );
        assert_eq!(all.len(), 2);
        let one = &all[0];
        assert_eq!(
            (shown(one.local).as_str(), one.pid),
            ("10.9.0.2:8080", Some(1))
        );
        assert_eq!(one.reads[0].place.at.line, 6);
        assert_eq!(one.closed.unwrap().at.line, 7);
        assert_eq!(one.opening, Opening::Accept);
    }

    #[test]
    fn a_fork_keeps_the_socket_open() {
        let all = traced(
            "[pid 1] bind(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"10.9.0.2\")}, 16) = 0\n\
             [pid 1] accept(3, {sa_family=AF_INET, sin_port=htons(7), sin_addr=inet_addr(\"10.9.0.1\")}, [16]) = 4\n\
             [pid 1] clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD) = 9\n\
             [pid 1] close(4) = 0\n\
             [pid 9] read(4, \"abc\", 10) = 3\n\
             [pid 9] +++ exited with 0 +++\n",
        );
        let one = all.iter().find(|one| one.peer.is_some()).unwrap();
        assert_eq!(one.bytes_read, 3);
        assert_eq!(one.closed.unwrap().at.line, 6);
        assert_eq!(shown(one.local), "10.9.0.2:80");
    }

    #[test]
    fn a_datagram_that_fills_its_buffer() {
        let all = traced(
            "recvfrom(4<UDP:[0.0.0.0:5300]>, \"x\"..., 1024, 0, {sa_family=AF_INET, sin_port=htons(5), sin_addr=inet_addr(\"10.9.0.1\")}, [16]) = 1024\n\
             recvmsg(4<UDP:[0.0.0.0:5300]>, {msg_name=NULL, msg_iov=[{iov_base=\"x\"..., iov_len=1024}], msg_iovlen=1, msg_controllen=0, msg_flags=MSG_TRUNC}, 0) = 1024\n",
        );
        let one = &all[0];
        assert_eq!(one.filled.unwrap().asked, 1024);
        assert_eq!(one.cut.unwrap().at.line, 2);
        assert_eq!(shown(one.local), "0.0.0.0:5300");
    }
}
