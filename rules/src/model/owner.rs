//! Whose a connection is, as the capture itself says.

use analyzer::connection::Process;
use analyzer::{Connection, Direction};

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
