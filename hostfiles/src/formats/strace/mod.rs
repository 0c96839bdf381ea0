//! `strace`, call by call: the life of each TCP and UDP socket.
//!
//! Descriptors belong to a process: threads share them (CLONE_THREAD), a fork copies them. Where
//! tracing began too late to see who is whose thread, a descriptor that its thread never opened is
//! taken to be the one opened last under that number.

mod call;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use analyzer::Transport;

use self::call::{Call, Fd, Part, Stamp, call, fd, sockaddr};
use self::socket::{Joined, apply};
use super::{Format, Known, strace_summary};
use crate::limits;
use crate::model::{Clock, Facts, Kind, Opening, TracedSocket};
use crate::out::Out;
use crate::place::{LineRef, Place};
use crate::text;

pub(super) const KNOWN: Known = Known {
    kind: Kind::Strace,
    recognise,
    make: || Box::<Strace>::default(),
};

fn recognise(head: &[&str]) -> bool {
    let is_call = |line: &&&str| {
        let rest = call::line(line).rest;
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
    fn line(&mut self, whole: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        let line = call::line(whole);
        let time = self.time(line.stamp, out);
        let tid = line.pid.unwrap_or(0);
        let place = Place { at, time };
        if line.rest.starts_with("+++") {
            self.exited(tid, place, out);
            return true;
        }
        let Some(call) = call(line.rest) else {
            return line.rest.starts_with("---")
                || line.rest.starts_with("strace:")
                || strace_summary::take(whole, at, out);
        };
        if let Some(comm) = line.comm {
            name(out, at.file, self.leader(tid), comm);
        }
        if !call::is_wanted(call.name) {
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
    let peer = socket.peer.or(socket.senders.first().copied());
    if socket.local.is_none() && peer.is_none() || !out.wants(socket.local, peer) {
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
                    .is_some_and(|last| nanos.saturating_add(self.day) < last - HALF_DAY)
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
