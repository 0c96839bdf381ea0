//! What host files say, whatever their format.

use std::collections::BTreeMap;
use std::net::IpAddr;

use analyzer::{Endpoint, Transport};

use crate::limits;
use crate::packet_rule::PacketRule;
use crate::place::{LineRef, Place};

/// What a file holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// `ss`.
    Ss,
    /// `netstat` of net-tools or busybox, without statistics.
    Netstat,
    /// `/proc/net/tcp` and its neighbours.
    ProcNet,
    /// Counters: `nstat` in either form, and `netstat -s`.
    Nstat,
    /// `strace`, call by call.
    Strace,
    /// `strace -c`.
    StraceSummary,
    /// `lsof -i`.
    Lsof,
    /// `iptables-save`, `iptables -S` and `-L`.
    Iptables,
    /// `nft list ruleset`.
    Nft,
    /// `ipvsadm -Ln`.
    Ipvs,
    /// `conntrack -L`, `-E` and `-S`.
    Conntrack,
    /// The kernel's tracepoints as text.
    Tracepoint,
    /// Access and error logs of web servers and proxies.
    AccessLog,
    /// journald, syslog and `kubectl get events`.
    Journal,
    /// None of these.
    Unknown,
}

impl Kind {
    /// The name in the JSON contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ss => "ss",
            Self::Netstat => "netstat",
            Self::ProcNet => "proc-net",
            Self::Nstat => "nstat",
            Self::Strace => "strace",
            Self::StraceSummary => "strace-summary",
            Self::Lsof => "lsof",
            Self::Iptables => "iptables",
            Self::Nft => "nft",
            Self::Ipvs => "ipvs",
            Self::Conntrack => "conntrack",
            Self::Tracepoint => "tracepoint",
            Self::AccessLog => "access-log",
            Self::Journal => "journal",
            Self::Unknown => "unknown",
        }
    }
}

/// What the times of a file count from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Clock {
    /// It has none.
    #[default]
    None,
    /// Nanoseconds since 1970.
    Epoch,
    /// Nanoseconds since 1970 as if the wall clock of an unknown zone were UTC.
    Local,
    /// Nanoseconds since midnight of an unknown day and zone.
    Day,
    /// Nanoseconds since a moment that the file does not tell.
    Elapsed,
}

/// Who has a socket open.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct User {
    /// Name of the process.
    pub name: String,
    /// Its number.
    pub pid: Option<u32>,
    /// The descriptor.
    pub fd: Option<u32>,
}

/// What a kernel counted on a TCP connection.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TcpCounters {
    /// Segments sent again, in all.
    pub retransmitted: Option<u64>,
    /// Octets sent again.
    pub bytes_retransmitted: Option<u64>,
    /// Duplicates that the peer reported.
    pub dsack_dups: Option<u64>,
    /// Segments that were seen to be reordered.
    pub reord_seen: Option<u64>,
    /// Retransmission timeout.
    pub rto_ms: Option<f64>,
    /// Smoothed round trip.
    pub rtt_ms: Option<f64>,
    /// Time in which the peer's window was the limit.
    pub rwnd_limited_ms: Option<f64>,
    /// Time in which the own send buffer was.
    pub sndbuf_limited_ms: Option<f64>,
    /// Time in which there was something to send.
    pub busy_ms: Option<f64>,
}

/// One socket in a snapshot.
#[derive(Clone, PartialEq, Debug)]
pub struct SocketRow {
    /// Where, and when it was taken.
    pub place: Place,
    /// TCP or UDP.
    pub transport: Transport,
    /// As `ss` writes it: `ESTAB`, `LISTEN`, `FIN-WAIT-2`, `UNCONN`, …; empty when not told.
    pub state: &'static str,
    /// Its own end; unspecified where it takes any address.
    pub local: Endpoint,
    /// The other end, when it has one.
    pub peer: Option<Endpoint>,
    /// Octets that its program has not read; of a listener: connections that wait.
    pub recv_q: Option<u64>,
    /// Octets not acknowledged; of a listener: how many may wait.
    pub send_q: Option<u64>,
    /// Who has it open.
    pub users: Vec<User>,
    /// Datagrams that found its buffer full.
    pub drops: Option<u64>,
    /// What the kernel counted.
    pub tcp: Option<Box<TcpCounters>>,
}

/// SO_LINGER as a program set it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Linger {
    /// Switched on.
    pub on: bool,
    /// For how many seconds.
    pub seconds: i64,
    /// The call.
    pub place: Place,
}

/// How a traced program came by a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Opening {
    /// Unknown: it had it when tracing began, or only socket() was seen.
    #[default]
    Unknown,
    /// connect().
    Connect,
    /// accept().
    Accept,
    /// bind(): a listener, or a UDP server.
    Bind,
}

/// One call that took data in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Read {
    /// Octets asked for.
    pub asked: u64,
    /// Octets given.
    pub given: u64,
    /// The call.
    pub place: Place,
}

/// One socket in the life of a traced program.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TracedSocket {
    /// First line that speaks of it.
    pub place: Place,
    /// Process (or thread) number that opened it.
    pub pid: Option<u32>,
    /// Descriptor.
    pub fd: u32,
    /// TCP or UDP, where it is known.
    pub transport: Option<Transport>,
    /// Its own end, as far as it is known; a port without address is unspecified.
    pub local: Option<Endpoint>,
    /// The other end.
    pub peer: Option<Endpoint>,
    /// How it came about.
    pub opening: Opening,
    /// The call that did.
    pub opened: Option<Place>,
    /// When that call returned, where the trace tells.
    pub opened_by: Option<i64>,
    /// SO_LINGER, as set last.
    pub linger: Option<Linger>,
    /// SO_RCVTIMEO or SO_SNDTIMEO was set.
    pub timeout: Option<Place>,
    /// SO_REUSEPORT was set.
    pub reuse_port: Option<Place>,
    /// TCP_USER_TIMEOUT was set.
    pub user_timeout: Option<Place>,
    /// SO_KEEPALIVE or an interval of it was set.
    pub keepalive: Option<Place>,
    /// It was put under epoll.
    pub polled: Option<Place>,
    /// shutdown().
    pub shutdown: Option<Place>,
    /// close().
    pub closed: Option<Place>,
    /// Octets read.
    pub bytes_read: u64,
    /// Reads that gave data.
    pub read_calls: u64,
    /// The first of them.
    pub reads: Vec<Read>,
    /// A read that gave all it was asked for, or MSG_TRUNC: the largest buffer seen to be filled.
    pub filled: Option<Read>,
    /// A datagram was reported as cut (MSG_TRUNC).
    pub cut: Option<Place>,
    /// A read that told the end of the peer's data.
    pub end_read: Option<Place>,
    /// Octets written.
    pub bytes_written: u64,
    /// First call that sent data.
    pub first_write: Option<Place>,
    /// Last call that sent data.
    pub last_write: Option<Place>,
    /// Last call that took data in.
    pub last_read: Option<Place>,
    /// Who sent datagrams to it, at most eight: it serves them.
    pub senders: Vec<Endpoint>,
    /// Reads or writes by more than one thread: their numbers, at most eight.
    pub threads: Vec<u32>,
}

/// A kernel counter in one reading.
#[derive(Clone, PartialEq, Debug)]
pub struct Counter {
    /// Where and when.
    pub place: Place,
    /// Which reading of its file.
    pub snapshot: u32,
    /// As `nstat` names it, such as `TcpExtListenOverflows`.
    pub name: String,
    /// Value.
    pub value: u64,
    /// It counts since the reading before, not since the host started.
    pub is_increment: bool,
}

/// An entry of the connection tracker.
#[derive(Clone, PartialEq, Debug)]
pub struct Translation {
    /// Where and when.
    pub place: Place,
    /// TCP or UDP.
    pub transport: Transport,
    /// Who sent the first packet.
    pub source: Endpoint,
    /// Where to.
    pub destination: Endpoint,
    /// Who answers.
    pub reply_source: Endpoint,
    /// To whom.
    pub reply_destination: Endpoint,
    /// Seconds until it is forgotten.
    pub timeout_s: Option<u64>,
    /// Nothing came back.
    pub is_unreplied: bool,
    /// State of the connection, as the tracker names it.
    pub state: String,
}

/// The share of a call in `strace -c`.
#[derive(Clone, PartialEq, Debug)]
pub struct CallShare {
    /// Where.
    pub at: LineRef,
    /// The call.
    pub call: String,
    /// Percent of the time.
    pub percent: f64,
    /// How often.
    pub calls: u64,
}

/// What the kernel says of a packet or RST.
#[derive(Clone, PartialEq, Debug)]
pub struct KernelWord {
    /// Where and when.
    pub place: Place,
    /// `tcp_send_reset`, `kfree_skb`, `tcp_retransmit_skb`, ….
    pub event: String,
    /// Address pair, where it is told.
    pub ends: Option<(Endpoint, Endpoint)>,
    /// Its reason.
    pub reason: String,
}

/// A request in a log of a web server or proxy.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LogLine {
    /// Where and when.
    pub place: Place,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The client's port.
    pub client_port: Option<u16>,
    /// The server behind that was asked.
    pub upstream: Option<Endpoint>,
    /// HTTP status.
    pub status: Option<u16>,
    /// How long it took.
    pub duration_ms: Option<f64>,
    /// Termination state or response flags.
    pub flags: String,
    /// What an error log says, in the product's own words.
    pub message: String,
}

/// Something that happened on a host.
#[derive(Clone, PartialEq, Debug)]
pub struct SystemEvent {
    /// Where and when.
    pub place: Place,
    /// How telling: 3 a start, stop or failure; 2 a configuration; 1 else.
    pub rank: u8,
}

/// All that was read.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Facts {
    /// Sockets in snapshots.
    pub sockets: Vec<SocketRow>,
    /// Sockets of traced programs.
    pub traced: Vec<TracedSocket>,
    /// Counters.
    pub counters: Vec<Counter>,
    /// Filters and translations as configured.
    pub rules: Vec<PacketRule>,
    /// Translations as they are.
    pub translations: Vec<Translation>,
    /// `strace -c`.
    pub calls: Vec<CallShare>,
    /// Tracepoints.
    pub words: Vec<KernelWord>,
    /// Logs.
    pub logs: Vec<LogLine>,
    /// Journals.
    pub events: Vec<SystemEvent>,
    /// Names of processes, by file and number.
    pub names: BTreeMap<(usize, u32), String>,
    /// Facts left out because a bound was reached, by file.
    pub left_out: BTreeMap<usize, u64>,
}

impl Facts {
    /// Adds to one of the lists, unless it is full.
    pub(crate) fn add<T>(
        list: &mut Vec<T>,
        left_out: &mut BTreeMap<usize, u64>,
        file: usize,
        limit: usize,
        fact: T,
    ) {
        if list.len() < limit {
            list.push(fact);
        } else {
            *left_out.entry(file).or_default() += 1;
        }
    }

    /// A socket of a snapshot.
    pub(crate) fn socket(&mut self, row: SocketRow) {
        let file = row.place.at.file;
        Self::add(
            &mut self.sockets,
            &mut self.left_out,
            file,
            limits::FACTS,
            row,
        );
    }

    /// A counter.
    pub(crate) fn counter(&mut self, counter: Counter) {
        let file = counter.place.at.file;
        Self::add(
            &mut self.counters,
            &mut self.left_out,
            file,
            limits::FACTS,
            counter,
        );
    }

    /// A rule.
    pub(crate) fn rule(&mut self, rule: PacketRule) {
        let file = rule.at.file;
        Self::add(
            &mut self.rules,
            &mut self.left_out,
            file,
            limits::FACTS,
            rule,
        );
    }

    /// A tracker's entry.
    pub(crate) fn translation(&mut self, entry: Translation) {
        let file = entry.place.at.file;
        Self::add(
            &mut self.translations,
            &mut self.left_out,
            file,
            limits::FACTS,
            entry,
        );
    }

    /// A request.
    pub(crate) fn log(&mut self, line: LogLine) {
        let file = line.place.at.file;
        Self::add(
            &mut self.logs,
            &mut self.left_out,
            file,
            limits::FACTS,
            line,
        );
    }

    /// A tracepoint.
    pub(crate) fn word(&mut self, word: KernelWord) {
        let file = word.place.at.file;
        Self::add(
            &mut self.words,
            &mut self.left_out,
            file,
            limits::FACTS,
            word,
        );
    }

    /// An event.
    pub(crate) fn event(&mut self, event: SystemEvent) {
        let file = event.place.at.file;
        Self::add(
            &mut self.events,
            &mut self.left_out,
            file,
            limits::FACTS,
            event,
        );
    }
}

/// A file that was given.
#[derive(Clone, PartialEq, Debug)]
pub struct HostFile {
    /// Name as given, or within the folder that was.
    pub name: String,
    /// Its folder: files of one folder come from one host.
    pub folder: String,
    /// What it holds.
    pub kind: Kind,
    /// Lines read.
    pub lines: u64,
    /// Lines that its format does not know.
    pub unread: u64,
    /// What its times count from.
    pub clock: Clock,
    /// When it was written, where somebody said so (`--host-evidence-time`).
    pub taken: Option<i64>,
    /// Addresses of the host itself that it names, and how often.
    pub addresses: BTreeMap<IpAddr, u64>,
    /// What was wrong with it.
    pub problem: Option<String>,
}
