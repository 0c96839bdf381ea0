//! What a capture says of a packet beside the packet: whose it is, and what devices wrote behind it.
//!
//! Such words are rare, so they travel beside the frames ([`super::Slab::remarks`]) and cost nothing
//! where there are none. They are text of unknown origin: cut to a length, never trusted, and escaped
//! like payload wherever they are shown.

use std::net::IpAddr;
use std::sync::Arc;

use crate::addr::Endpoint;

/// Octets of a name that are kept.
const NAME: usize = 128;

/// A word of the capture about one packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remark {
    /// The packet's frame.
    pub frame: u64,
    /// What is said.
    pub says: Said,
}

/// What is said of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// Which process sends or receives it.
    Owner(Arc<Owner>),
    /// Why it resets its connection: a clause such as `its MP_TCPRST option states …`.
    ResetCause(Box<str>),
    /// Where a proxy sends the same traffic on.
    OtherSide(Box<OtherSide>),
}

/// A process that a capture names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Owner {
    /// Its name.
    pub name: Option<Box<str>>,
    /// Its number.
    pub pid: Option<u32>,
    /// Its pod, as `namespace/name`.
    pub pod: Option<Box<str>>,
    /// The name of its container.
    pub container: Option<Box<str>>,
    /// At which end it is.
    pub end: OwnerEnd,
    /// Who says so.
    pub told_by: ToldBy,
}

/// At which end of a connection a process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OwnerEnd {
    /// That of the packet's source: the capturing host sent it.
    Source,
    /// That of the packet's destination.
    Destination,
    /// The client's.
    Client,
    /// The server's.
    Server,
    /// It is not said.
    #[default]
    Unknown,
}

/// Who names a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum ToldBy {
    /// A pcapng option for the number of a process, with or without a block that names it.
    #[default]
    ProcessOption,
    /// Apple's process blocks.
    DarwinBlock,
    /// Apple's PKTAP header.
    Pktap,
    /// A comment in the form of ptcpdump.
    Ptcpdump,
    /// A comment in the form of rustnet.
    Rustnet,
}

impl ToldBy {
    /// All there are.
    pub(crate) const ALL: [Self; 5] = [
        Self::ProcessOption,
        Self::DarwinBlock,
        Self::Pktap,
        Self::Ptcpdump,
        Self::Rustnet,
    ];

    /// The name of the source in results.
    #[must_use]
    pub const fn source(self) -> &'static str {
        match self {
            Self::ProcessOption => "the capture (pcapng process option)",
            Self::DarwinBlock => "the capture (Darwin process block)",
            Self::Pktap => "the capture (PKTAP header)",
            Self::Ptcpdump => "the capture (comment of ptcpdump)",
            Self::Rustnet => "the capture (comment of rustnet)",
        }
    }
}

impl OwnerEnd {
    const ALL: [Self; 5] = [
        Self::Source,
        Self::Destination,
        Self::Client,
        Self::Server,
        Self::Unknown,
    ];
}

/// The flow with which a proxy carries on what it takes from this one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OtherSide {
    /// Whom the proxy talks to there.
    pub remote: Endpoint,
    /// Its own end there.
    pub local: Endpoint,
    /// Its name for the service, when it is told.
    pub service: Option<Box<str>>,
}

/// The beginning of a text of unknown origin, without what steers terminals; `None` when nothing is left.
#[must_use]
pub fn name(octets: &[u8]) -> Option<Box<str>> {
    let text = String::from_utf8_lossy(octets.get(..NAME).unwrap_or(octets));
    let text = text.split('\0').next().unwrap_or_default().trim();
    let printed = |character: char| {
        if character.is_control() {
            '\u{fffd}'
        } else {
            character
        }
    };
    (!text.is_empty()).then(|| text.chars().map(printed).collect())
}

impl Remark {
    /// Appends what is said as octets; [`Remark::read`] reads it.
    pub fn write(&self, out: &mut Vec<u8>) {
        match &self.says {
            Said::Owner(owner) => {
                out.push(0);
                text(owner.name.as_deref(), out);
                text(owner.pod.as_deref(), out);
                text(owner.container.as_deref(), out);
                out.push(u8::from(owner.pid.is_some()));
                out.extend(owner.pid.unwrap_or(0).to_le_bytes());
                let end = OwnerEnd::ALL.iter().position(|one| *one == owner.end);
                let told = ToldBy::ALL.iter().position(|one| *one == owner.told_by);
                out.extend([end, told].map(|at| u8::try_from(at.unwrap_or(0)).unwrap_or(0)));
            }
            Said::ResetCause(cause) => {
                out.push(1);
                text(Some(cause), out);
            }
            Said::OtherSide(side) => {
                out.push(2);
                for end in [side.remote, side.local] {
                    let octets = match end.ip {
                        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                        IpAddr::V6(ip) => ip.octets(),
                    };
                    out.extend(octets);
                    out.extend(end.port.to_le_bytes());
                }
                text(side.service.as_deref(), out);
            }
        }
    }

    /// Reads what [`Remark::write`] wrote of a packet in `frame`; `None` when it is none.
    #[must_use]
    pub fn read(frame: u64, octets: &[u8]) -> Option<Self> {
        let mut from = Octets(octets);
        let [kind] = from.take()?;
        let says = match kind {
            0 => {
                let (name, pod, container) = (from.text()?, from.text()?, from.text()?);
                let [has_pid] = from.take()?;
                let pid = u32::from_le_bytes(from.take()?);
                let [end, told] = from.take()?;
                Said::Owner(Arc::new(Owner {
                    name,
                    pid: (has_pid != 0).then_some(pid),
                    pod,
                    container,
                    end: *OwnerEnd::ALL.get(usize::from(end))?,
                    told_by: *ToldBy::ALL.get(usize::from(told))?,
                }))
            }
            1 => Said::ResetCause(from.text()??),
            2 => Said::OtherSide(Box::new(OtherSide {
                remote: from.endpoint()?,
                local: from.endpoint()?,
                service: from.text()?,
            })),
            _ => return None,
        };
        Some(Self { frame, says })
    }
}

/// A text with its length before it; none has the length of all ones.
fn text(text: Option<&str>, out: &mut Vec<u8>) {
    let Some(text) = text else {
        return out.extend(u16::MAX.to_le_bytes());
    };
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX - 1);
    out.extend(len.to_le_bytes());
    out.extend(&text.as_bytes()[..usize::from(len)]);
}

/// What is left to be read.
struct Octets<'a>(&'a [u8]);

impl Octets<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// `None` when it cannot be read.
    #[expect(
        clippy::option_option,
        reason = "no text is another thing than a broken one"
    )]
    fn text(&mut self) -> Option<Option<Box<str>>> {
        let len = u16::from_le_bytes(self.take()?);
        if len == u16::MAX {
            return Some(None);
        }
        let (text, rest) = self.0.split_at_checked(len.into())?;
        self.0 = rest;
        Some(Some(String::from_utf8_lossy(text).into()))
    }

    fn endpoint(&mut self) -> Option<Endpoint> {
        let octets: [u8; 16] = self.take()?;
        let ip = std::net::Ipv6Addr::from(octets).to_canonical();
        Some(Endpoint::new(ip, u16::from_le_bytes(self.take()?)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn says() -> impl Strategy<Value = Said> {
        let word = || proptest::option::of(".{1,40}".prop_map(Box::<str>::from));
        let names = (word(), word(), word());
        let owner = (names, any::<Option<u32>>(), 0..5_usize, 0..5_usize);
        let owner = owner.prop_map(|((name, pod, container), pid, end, told)| {
            Said::Owner(Arc::new(Owner {
                name,
                pid,
                pod,
                container,
                end: OwnerEnd::ALL[end],
                told_by: ToldBy::ALL[told],
            }))
        });
        let cause = ".{1,40}".prop_map(|cause| Said::ResetCause(cause.into()));
        let end =
            || any::<([u8; 4], u16)>().prop_map(|(ip, port)| Endpoint::new(IpAddr::from(ip), port));
        let side = (end(), end(), word()).prop_map(|(remote, local, service)| {
            Said::OtherSide(Box::new(OtherSide {
                remote,
                local,
                service,
            }))
        });
        prop_oneof![owner, cause, side]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(says in says(), frame in any::<u64>()) {
            let remark = Remark { frame, says };
            let mut octets = Vec::new();
            remark.write(&mut octets);
            prop_assert_eq!(Remark::read(frame, &octets), Some(remark));
        }

        #[test]
        fn any_octets_are_read_or_refused(octets in any::<Vec<u8>>()) {
            let _ = Remark::read(1, &octets);
        }
    }

    #[test]
    fn names_are_cut_and_steer_nothing() {
        assert_eq!(name(b"java\0rest").as_deref(), Some("java"));
        assert_eq!(name(b"a\x1b[2Jb").as_deref(), Some("a\u{fffd}[2Jb"));
        assert_eq!(name(b" \0"), None);
        assert!(name(&[b'x'; 9_000]).is_some_and(|name| name.len() == 128));
    }
}
