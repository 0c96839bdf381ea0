//! What a rule asks of the hosts, and what a host's file said.

use serde::{Deserialize, Serialize};

/// Something that host evidence can show about a finding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Ask {
    /// Which process has the connections open, and in which state they are.
    Owner,
    /// Which call closed a connection, and when.
    CloseCall,
    /// Whether a deadline is a socket option or lives in the program.
    Deadline,
    /// SO_LINGER of who reset.
    Linger,
    /// What lay unread when who reset closed.
    UnreadData,
    /// What the kernels counted as sent again.
    Retransmissions,
    /// Rules that lead connections elsewhere.
    Redirects,
    /// Rules that refuse or drop.
    Filters,
    /// How long a device remembers a silent connection.
    IdleLimits,
    /// The buffer that a datagram's reader gives.
    ReceiveBuffer,
    /// How many sockets and threads serve one port, and what they wait for.
    SharedSocket,
    /// The accept queue and what overflowed.
    ListenQueue,
    /// How reads fall on messages.
    ReadSizes,
    /// Datagrams that found no room.
    DatagramDrops,
    /// Fragments that were not put together.
    Fragments,
    /// Who limited a transfer.
    SendLimits,
    /// What proxies and servers logged of the requests.
    Logs,
    /// Why the kernel reset or dropped.
    KernelReason,
}

impl Ask {
    /// What to collect, and what it shows, for people.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Owner => {
                "`ss -tanpiemO` (or `netstat -antp`, `lsof -nPi`): the process that has the connections open, and their states"
            }
            Self::CloseCall => {
                "`strace -f -ttt -yy -e trace=network,desc -p PID`: the call that closed a connection, and when"
            }
            Self::Deadline => {
                "`strace -f -ttt -yy -e trace=network,desc -p PID`: whether SO_RCVTIMEO or SO_SNDTIMEO is set, or the deadline is a timer of the program"
            }
            Self::Linger => {
                "`strace -f -ttt -yy -e trace=network,desc -p PID`: setsockopt(SO_LINGER) before the close"
            }
            Self::UnreadData => {
                "`ss -tanpiemO` (Recv-Q before the reset), `nstat -az` before and after (TCPAbortOnClose), `strace` (bytes read)"
            }
            Self::Retransmissions => {
                "`ss -tanpiemO` at both ends: retransmissions and timeouts as the kernels count them"
            }
            Self::Redirects => {
                "`iptables-save -c`, `nft -a list ruleset`, `ipvsadm -Ln`, `conntrack -L`: the rule or entry that redirects connections"
            }
            Self::Filters => {
                "`iptables-save -c`, `nft -a list ruleset`: the rule that rejects or drops, with its counter"
            }
            Self::IdleLimits => "`conntrack -L`: the seconds until an idle connection is dropped",
            Self::ReceiveBuffer => {
                "`strace -f -ttt -yy -e trace=network,desc -p PID`: bytes asked for and given by the calls that receive"
            }
            Self::SharedSocket => {
                "`lsof -nPi`, `ss -uanpem`, `strace -c -f -p PID`: one socket shared by all, and the share of futex calls"
            }
            Self::ListenQueue => {
                "`ss -ltn` (Recv-Q against Send-Q), `nstat -az` before and after (ListenOverflows, ListenDrops, TCPReqQFullDrop)"
            }
            Self::ReadSizes => {
                "`strace -f -ttt -yy -e trace=network,desc -p PID`: the sizes of reads compared with message boundaries"
            }
            Self::DatagramDrops => {
                "`nstat -az` before and after (UdpRcvbufErrors), `ss -uanpem` (drops of the socket)"
            }
            Self::Fragments => "`nstat -az` before and after (IpReasmFails)",
            Self::SendLimits => "`ss -tanpiemO`: rwnd_limited, sndbuf_limited and busy time",
            Self::Logs => {
                "access and error logs of proxies and servers: the requests that failed, with their status and flags"
            }
            Self::KernelReason => {
                "`perf trace`/`bpftrace` lines of tcp:tcp_send_reset and skb:kfree_skb with their reason"
            }
        }
    }
}

/// What a line of a host's file says about a finding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Says {
    /// It is so.
    Supports,
    /// It is not so.
    Contradicts,
    /// Who it is, or which setting.
    Names,
}

impl Says {
    /// The word of the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Supports => "supports",
            Self::Contradicts => "contradicts",
            Self::Names => "names",
        }
    }
}

/// A line of a host's file, or of the capture itself, that speaks about a finding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct HostLine {
    /// The file, as it was given; of what the capture itself says, what of it says so.
    pub file: String,
    /// Number of the line, from 1; of what the capture itself says, the first frame of a connection.
    pub line: u64,
    /// The line itself.
    pub text: String,
    /// What it says about the finding.
    pub says: Says,
    /// In plain words.
    pub note: String,
}
