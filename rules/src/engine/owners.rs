//! Processes that the capture itself names, as lines of findings beside those of host files.

use std::collections::BTreeMap;

use crate::model::ask::{Ask, HostLine, Says};
use crate::model::meta::RuleMeta;
use crate::model::occurrence::Occurrences;
use crate::model::owner::Owner;

/// Processes named with a finding.
const LINES: usize = 3;

/// Who has the connections of a finding, where its rule asks that of hosts.
pub(super) fn lines(meta: &RuleMeta, occurrences: &Occurrences<'_>) -> Option<Vec<HostLine>> {
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
    use crate::testkit::findings_of;
    use crate::testkit::script::Capture;
    use analyzer::Connection;
    use analyzer::connection::Process;
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
