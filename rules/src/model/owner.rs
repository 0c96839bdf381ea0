//! Processes that the capture itself names, as lines beside those of host files.

use std::collections::BTreeMap;

use analyzer::connection::Process;
use analyzer::{Connection, Direction};

use crate::model::ask::{Ask, HostLine, Says};
use crate::model::meta::RuleMeta;
use crate::model::occurrence::Occurrences;

/// Processes named with a finding.
const LINES: usize = 3;

/// Whose a connection is, as the capture says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Owner {
    /// Name and number, and where it runs: `java[4212], pod shop/web-1, container web`.
    pub process: String,
    /// At which end it is, where that is known.
    pub end: Option<Direction>,
    /// What of the capture says so.
    pub source: String,
}

impl Owner {
    /// What the capture says of a connection.
    #[must_use]
    pub fn of(conn: &Connection) -> Option<Box<Self>> {
        let process = conn.process.as_deref()?;
        if !process.is_of_capture() {
            return None;
        }
        let host = process.host.as_deref();
        let is_at = |end: Direction| {
            let endpoint = match end {
                Direction::ClientToServer => conn.client,
                Direction::ServerToClient => conn.server,
            };
            host == Some(endpoint.ip.to_string().as_str())
        };
        Some(Box::new(Self {
            process: in_words(process)?,
            end: Direction::BOTH.into_iter().find(|end| is_at(*end)),
            source: process.source.clone(),
        }))
    }
}

fn in_words(process: &Process) -> Option<String> {
    let named = match (&process.name, process.pid) {
        (Some(name), Some(pid)) => Some(format!("{name}[{pid}]")),
        (Some(name), None) => Some(name.clone()),
        (None, Some(pid)) => Some(format!("process[{pid}]")),
        (None, None) => None,
    };
    let pod = process.pod.as_ref().map(|pod| format!("pod {pod}"));
    let container = process.container.as_ref();
    let container = container.map(|container| format!("container {container}"));
    let words: Vec<String> = [named, pod, container].into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// Who has the connections of a finding, where its rule asks that of hosts.
pub(crate) fn lines(meta: &RuleMeta, occurrences: &Occurrences<'_>) -> Option<Vec<HostLine>> {
    if !meta.host_evidence.contains(&Ask::Owner) {
        return None;
    }
    let mut owners = BTreeMap::<&Owner, Vec<u64>>::new();
    for one in &occurrences.0 {
        if let Some(owner) = &one.owner {
            owners
                .entry(owner)
                .or_default()
                .push(one.connection.first_frame);
        }
    }
    let mut owners: Vec<(&Owner, Vec<u64>)> = owners.into_iter().collect();
    for (_, frames) in &mut owners {
        frames.sort_unstable();
        frames.dedup();
    }
    owners.sort_by_key(|(_, frames)| (std::cmp::Reverse(frames.len()), frames[0]));
    let lines = owners.into_iter().take(LINES).map(|(owner, frames)| {
        let end = owner
            .end
            .map_or_else(String::new, |end| format!("the {}'s ", end.sender()));
        HostLine {
            file: owner.source.clone(),
            line: frames[0],
            text: owner.process.clone(),
            says: Says::Names,
            note: format!(
                "{end}{} has {} of these connections",
                owner.process,
                frames.len()
            ),
        }
    });
    let lines: Vec<HostLine> = lines.collect();
    (!lines.is_empty()).then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::findings_of;
    use crate::testkit::script::Capture;
    use analyzer::decode::TcpFlags;

    const ACK: u8 = TcpFlags::ACK;

    /// A connection that its server leaves in CLOSE-WAIT for 70 s, and what names a process of it.
    fn leaked(port: u16, source: &str, pid: u32) -> Connection {
        let mut capture = Capture::of_client(port, u64::from(port) * 100 + 1);
        capture.handshake();
        capture.client(21_000, ACK | TcpFlags::PSH, 101, 901, 10);
        capture.server(41_000, ACK | TcpFlags::PSH, 901, 111, 10);
        capture.client(50_000, ACK | TcpFlags::FIN, 111, 911, 0);
        capture.server(70_000, ACK, 911, 112, 0);
        capture.server(70_000_000, ACK | TcpFlags::FIN, 911, 112, 0);
        capture.client(70_000_100, ACK, 112, 912, 0);
        let mut conn = capture.finish();
        conn.process = Some(Box::new(Process {
            name: Some("java".to_owned()),
            pid: Some(pid),
            pod: None,
            container: None,
            host: Some(conn.server.ip.to_string()),
            source: source.to_owned(),
        }));
        conn
    }

    #[test]
    fn findings_name_the_process_that_the_capture_names() {
        let source = "the capture (comment of ptcpdump)";
        let connections = [
            leaked(1, source, 4212),
            leaked(2, source, 4212),
            leaked(3, source, 9),
        ];
        let findings = findings_of("close-wait-leak", &connections);
        let lines = findings[0].host_evidence.as_deref().expect("named");
        assert_eq!(lines.len(), 2);
        assert_eq!(
            lines[0].note,
            "the server's java[4212] has 2 of these connections"
        );
        assert_eq!((lines[0].file.as_str(), lines[0].line), (source, 101));
        assert_eq!(lines[1].text, "java[9]");
    }

    #[test]
    fn what_a_host_file_names_is_quoted_from_there() {
        let findings = findings_of("close-wait-leak", &[leaked(1, "web/ss.txt", 4212)]);
        assert_eq!(findings[0].host_evidence, None);
    }
}
