//! Processes that pcapng files name: blocks that describe them, options and comments that bind
//! packets to them.
//!
//! Four forms are read: the process option (`epb_processid_threadid`) with the process information
//! entry of Wireshark's custom blocks (draft-ietf-opsawg-pcapng, pull request 209); Apple's legacy
//! Darwin process blocks; and the comments of ptcpdump and rustnet, recognised by their shape.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::pcapng_option as option;
use super::remark::{Owner, OwnerEnd, ToldBy, name};

/// Process blocks of one section that are kept.
const BLOCKS: usize = 16_384;
/// Octets of a comment that are looked at.
const COMMENT_BYTES: usize = 4_096;
/// Private enterprise number of the Wireshark Foundation.
const WIRESHARK: u32 = 32_622;
/// The entry of its custom blocks that describes a process.
const PROCESS_ENTRY: u32 = 3;
/// Options that describe a process: its name in both kinds of blocks, its start in Wireshark's.
const PROCESS_NAME: u16 = 2;
const PROCESS_PATH: u16 = 3;
const PROCESS_START: u16 = 9;

/// The processes that a section describes.
#[derive(Debug, Default)]
pub(super) struct Processes {
    /// Darwin blocks, by their place in the section.
    darwin: Vec<Owner>,
    /// Process information by number, in file order.
    by_number: BTreeMap<u32, Vec<Numbered>>,
    count: usize,
    /// What the packet before bore: most packets of a file have few owners.
    latest: Option<Arc<Owner>>,
}

/// A process that had a number, which may be used again.
#[derive(Debug)]
struct Numbered {
    /// When it began, in nanoseconds since 1970.
    start: Option<i64>,
    name: Option<Box<str>>,
}

/// What the options of one packet say of its owner.
#[derive(Debug, Default)]
pub(super) struct Marks {
    number: Option<u32>,
    darwin: Option<u32>,
    /// `epb_flags`: bit 0 inbound, bit 1 outbound.
    direction: u32,
    told: Option<Owner>,
}

impl Marks {
    /// Takes an option of an enhanced packet.
    pub fn take(&mut self, found: &pcap_parser::PcapNGOption<'_>, big_endian: bool) {
        let value = option::value(found);
        match found.code.0 {
            option::COMMENT => self.comment(value),
            option::EPB_FLAGS => {
                let flags = option::integer(found, big_endian).unwrap_or(0);
                self.direction = u32::try_from(flags & 3).unwrap_or(0);
            }
            option::EPB_PROCESS => self.number = value.get(..4).and_then(|id| word(id, big_endian)),
            option::EPB_DARWIN_PROCESS => self.darwin = word(value, big_endian),
            _ => {}
        }
    }

    fn is_empty(&self) -> bool {
        self.number.is_none() && self.darwin.is_none() && self.told.is_none()
    }

    fn comment(&mut self, comment: &[u8]) {
        let comment = comment.get(..COMMENT_BYTES).unwrap_or(comment);
        let text = String::from_utf8_lossy(comment);
        let Some(told) = rustnet(&text).or_else(|| ptcpdump(&text)) else {
            return;
        };
        let known = self.told.get_or_insert_with(Owner::default);
        known.told_by = told.told_by;
        known.name = told.name.or(known.name.take());
        known.pid = told.pid.or(known.pid);
        known.pod = told.pod.or(known.pod.take());
        known.container = told.container.or(known.container.take());
        known.end = told.end;
    }

    fn end(&self) -> OwnerEnd {
        match self.direction {
            1 => OwnerEnd::Destination,
            2 => OwnerEnd::Source,
            _ => OwnerEnd::Unknown,
        }
    }
}

impl Processes {
    /// A section begins, and with it its own numbers.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// A Darwin process block: number, then options. It counts in any case: packets name it by its place.
    pub fn darwin_block(&mut self, body: &[u8], big_endian: bool) {
        if self.count >= BLOCKS {
            return;
        }
        self.count += 1;
        let mut owner = Owner {
            pid: body.get(..4).and_then(|id| word(id, big_endian)),
            told_by: ToldBy::DarwinBlock,
            ..Owner::default()
        };
        let options = body.get(4..).unwrap_or(&[]);
        option::for_each(options, big_endian, |found| {
            if found.code.0 == PROCESS_NAME {
                owner.name = name(option::value(found));
            }
        });
        self.darwin.push(owner);
    }

    /// A custom block; says whether it is one of Wireshark's that describe a process. What is in their
    /// entry is little-endian in every section.
    pub fn custom_block(&mut self, body: &[u8], big_endian: bool) -> bool {
        let Some((pid, options)) = process_entry(body, big_endian) else {
            return false;
        };
        if self.count >= BLOCKS {
            return true;
        }
        self.count += 1;
        let (mut called, mut start) = (None, None);
        option::for_each(options, false, |found| {
            let value = option::value(found);
            match found.code.0 {
                PROCESS_NAME => called = name(value),
                PROCESS_PATH if called.is_none() => called = program(value),
                PROCESS_START if value.len() == 8 => {
                    let nanos = option::integer(found, false);
                    start = nanos.and_then(|nanos| i64::try_from(nanos).ok());
                }
                _ => {}
            }
        });
        let one = Numbered {
            start,
            name: called,
        };
        self.by_number.entry(pid).or_default().push(one);
        true
    }

    /// What the process option or a Darwin block says.
    fn numbered(&self, marks: &Marks, nanos: i64) -> Option<Owner> {
        if let Some(at) = marks.darwin {
            let known = self.darwin.get(usize::try_from(at).ok()?);
            return known.cloned();
        }
        // Zero is the kernel's own, or nobody's.
        let pid = marks.number.filter(|pid| *pid > 0)?;
        Some(Owner {
            name: self.called(pid, nanos),
            pid: Some(pid),
            ..Owner::default()
        })
    }

    /// The owner of a packet with these marks, captured at `nanos`.
    pub fn owner(&mut self, marks: Marks, nanos: i64) -> Option<Arc<Owner>> {
        if marks.is_empty() {
            return None;
        }
        let numbered = self.numbered(&marks, nanos);
        let end = marks.end();
        let mut owner = match (marks.told, numbered) {
            (Some(told), Some(numbered)) if told.pid.is_none() => Owner {
                name: told.name.or(numbered.name),
                pid: numbered.pid,
                ..told
            },
            (Some(told), _) => told,
            (None, numbered) => numbered?,
        };
        if owner.end == OwnerEnd::Unknown {
            owner.end = end;
        }
        if let Some(latest) = self.latest.as_ref().filter(|latest| ***latest == owner) {
            return Some(Arc::clone(latest));
        }
        let owner = Arc::new(owner);
        self.latest = Some(Arc::clone(&owner));
        Some(owner)
    }

    /// The name of a process: numbers are used again, so that of the last one that had started by then.
    fn called(&self, pid: u32, nanos: i64) -> Option<Box<str>> {
        let known = self.by_number.get(&pid)?;
        let started = |one: &&Numbered| one.start.is_none_or(|at| at <= nanos);
        let one = known.iter().rev().find(started);
        let one = one.or_else(|| known.first())?;
        one.name.clone()
    }
}

/// Number and options of the process that a custom block describes.
fn process_entry(body: &[u8], big_endian: bool) -> Option<(u32, &[u8])> {
    let number = |at: usize, big_endian| {
        body.get(at..at + 4)
            .and_then(|octets| word(octets, big_endian))
    };
    if number(0, big_endian)? != WIRESHARK || number(4, false)? != PROCESS_ENTRY {
        return None;
    }
    let len = usize::try_from(number(8, false)?).ok()?;
    let entry = body.get(12..)?.get(..len)?;
    Some((word(entry.get(..4)?, false)?, entry.get(4..)?))
}

fn word(octets: &[u8], big_endian: bool) -> Option<u32> {
    let octets = *octets.first_chunk::<4>().filter(|_| octets.len() == 4)?;
    Some(if big_endian {
        u32::from_be_bytes(octets)
    } else {
        u32::from_le_bytes(octets)
    })
}

/// The last part of a path.
fn program(path: &[u8]) -> Option<Box<str>> {
    name(path.rsplit(|octet| *octet == b'/').next().unwrap_or(path))
}

/// `PID: 7\nCmd: /usr/bin/curl\nArgs: …`, `ContainerName: a\n…` and `PodName: a\nPodNamespace: b\n…`, each a
/// comment of its own or in one.
fn ptcpdump(comment: &str) -> Option<Owner> {
    let mut owner = Owner {
        told_by: ToldBy::Ptcpdump,
        ..Owner::default()
    };
    let mut lines = comment
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let first = lines.clone().next()?;
    if !["PID: ", "PodName: ", "ThreadId: ", "ContainerName: "]
        .iter()
        .any(|begins| first.starts_with(begins))
    {
        return None;
    }
    let (mut pod, mut namespace, mut command) = (None, None, None);
    let parts = lines.by_ref().filter_map(|line| line.split_once(": "));
    for (key, value) in parts {
        match key {
            "PID" => owner.pid = value.parse().ok().filter(|pid| *pid > 0),
            "Cmd" | "Command" => command = program(value.as_bytes()),
            "ContainerName" => owner.container = name(value.as_bytes()),
            "PodName" => pod = name(value.as_bytes()),
            "PodNamespace" => namespace = name(value.as_bytes()),
            _ => {}
        }
    }
    owner.name = owner.pid.and(command);
    owner.pod = pod
        .zip(namespace)
        .map(|(pod, space)| format!("{space}/{pod}").into());
    (owner.name.is_some() || owner.pod.is_some() || owner.container.is_some()).then_some(owner)
}

/// `rustnet process=curl pid=7 … pod=a ns=b … direction=outgoing …`
fn rustnet(comment: &str) -> Option<Owner> {
    let words = comment.strip_prefix("rustnet ")?;
    let mut owner = Owner {
        told_by: ToldBy::Rustnet,
        ..Owner::default()
    };
    let (mut pod, mut namespace) = (None, None);
    for (key, value) in words
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
    {
        match key {
            "process" => owner.name = name(value.as_bytes()),
            "pid" => owner.pid = value.parse().ok(),
            "pod" => pod = name(value.as_bytes()),
            "ns" => namespace = name(value.as_bytes()),
            "direction" if value == "outgoing" => owner.end = OwnerEnd::Client,
            "direction" if value == "incoming" => owner.end = OwnerEnd::Server,
            _ => {}
        }
    }
    owner.pod = match (pod, namespace) {
        (Some(pod), Some(space)) => Some(format!("{space}/{pod}").into()),
        (pod, _) => pod,
    };
    (owner.name.is_some() || owner.pid.is_some() || owner.pod.is_some()).then_some(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_told_by_their_shape() {
        let one = ptcpdump("PID: 7\nCmd: /usr/bin/curl\nArgs: curl http://x: y").unwrap();
        assert_eq!((one.pid, one.name.as_deref()), (Some(7), Some("curl")));
        let pod = ptcpdump("PodName: web-0\nPodNamespace: shop\nPodUID: 1\nPodLabels: {}").unwrap();
        assert_eq!(pod.pod.as_deref(), Some("shop/web-0"));
        let container = ptcpdump("ContainerName: web\nContainerId: 0123\nContainerImage: web:1");
        assert_eq!(container.unwrap().container.as_deref(), Some("web"));
        for other in ["PID: 7", "", "see PID: 7\nCmd: x", "PID: x\nCmd: y", "\n\n"] {
            assert_eq!(ptcpdump(other), None, "{other:?}");
        }
        let one = rustnet(
            "rustnet process=curl pid=7 uid=0 pod=web-0 ns=shop direction=outgoing app=HTTP",
        )
        .unwrap();
        assert_eq!((one.pid, one.end), (Some(7), OwnerEnd::Client));
        assert_eq!(one.pod.as_deref(), Some("shop/web-0"));
        for other in [
            "rustnet",
            "rustnet app=HTTP",
            "rustnetpid=7",
            "seen by rustnet pid=7",
        ] {
            assert_eq!(rustnet(other), None, "{other:?}");
        }
    }

    #[test]
    fn numbers_that_are_used_again_have_the_name_of_their_time() {
        let mut all = Processes::default();
        let block = |pid: u32, called: &[u8], start: Option<u64>| {
            let mut entry = pid.to_le_bytes().to_vec();
            let mut option = |code: u16, value: &[u8]| {
                entry.extend(code.to_le_bytes());
                entry.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
                entry.extend(value);
                entry.resize(entry.len().next_multiple_of(4), 0);
            };
            option(PROCESS_NAME, called);
            if let Some(start) = start {
                option(PROCESS_START, &start.to_le_bytes());
            }
            let mut body = WIRESHARK.to_le_bytes().to_vec();
            body.extend(PROCESS_ENTRY.to_le_bytes());
            body.extend(u32::try_from(entry.len()).unwrap().to_le_bytes());
            body.extend(entry);
            body
        };
        all.custom_block(&block(500, b"first", Some(10)), false);
        all.custom_block(&block(500, b"second", Some(30)), false);
        all.custom_block(&block(600, b"old", None), false);
        all.custom_block(&block(600, b"new", None), false);
        let mut called = |pid, nanos| {
            let marks = Marks {
                number: Some(pid),
                ..Marks::default()
            };
            all.owner(marks, nanos).and_then(|owner| owner.name.clone())
        };
        assert_eq!(called(500, 20).as_deref(), Some("first"));
        assert_eq!(called(500, 40).as_deref(), Some("second"));
        assert_eq!(called(500, 1).as_deref(), Some("first"));
        assert_eq!(called(600, 1).as_deref(), Some("new"));
        assert_eq!(called(700, 1), None);
    }

    #[test]
    fn lying_lengths_describe_nobody() {
        let mut all = Processes::default();
        for cut in 0..40 {
            let mut body = WIRESHARK.to_le_bytes().to_vec();
            body.extend(PROCESS_ENTRY.to_le_bytes());
            body.extend(u32::MAX.to_le_bytes());
            body.extend([0xff; 28]);
            assert!(!all.custom_block(&body[..cut], false));
            all.darwin_block(&body[..cut], true);
        }
        assert!(all.by_number.is_empty());
        let marks = Marks {
            darwin: Some(u32::MAX),
            ..Marks::default()
        };
        assert_eq!(all.owner(marks, 0), None);
    }
}
