//! Host files and processes as a document holds them.

use analyzer::connection::Process;
use rules::host::HostFileUse;
use serde::{Deserialize, Serialize};

/// One file of `--host-evidence`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HostFileRow {
    /// Name as given, or within the folder that was.
    pub file: String,
    /// What it is, detected from its content: `ss`, `netstat`, `proc-net`, `nstat`, `strace`,
    /// `strace-summary`, `lsof`, `iptables`, `nft`, `ipvs`, `conntrack`, `tracepoint`,
    /// `access-log`, `journal` or `unknown`.
    pub kind: String,
    /// Address of the host it is from; absent where it is unknown.
    pub host: Option<String>,
    /// Lines.
    pub lines: u64,
    /// Lines that concern connections, listeners or findings of the capture.
    pub used: u64,
    /// Why it was not used, by what it was joined, how its clock differs; empty when there is nothing
    /// to say.
    pub note: String,
}

/// The program at one end of a connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProcessRow {
    /// Its name, when it is known.
    pub name: Option<String>,
    /// Its number.
    pub pid: Option<u32>,
    /// Its pod, as `namespace/name`, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The name of its container, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Address of the host on which it runs.
    pub host: Option<String>,
    /// The file that says so, or the capture.
    pub source: String,
}

impl From<HostFileUse> for HostFileRow {
    fn from(one: HostFileUse) -> Self {
        Self {
            file: one.file,
            kind: one.kind.to_owned(),
            host: one.host,
            lines: one.lines,
            used: one.used,
            note: one.note,
        }
    }
}

impl From<&Process> for ProcessRow {
    fn from(process: &Process) -> Self {
        Self {
            name: process.name.clone(),
            pid: process.pid,
            pod: process.pod.clone(),
            container: process.container.clone(),
            host: process.host.clone(),
            source: process.source.clone(),
        }
    }
}

impl ProcessRow {
    /// Whether it is at this end, written as `address:port`.
    pub(crate) fn is_at(&self, end: &str) -> bool {
        let ip = end.rsplit_once(':').map_or(end, |(ip, _)| ip);
        let ip = ip.trim_start_matches('[').trim_end_matches(']');
        self.host.as_deref() == Some(ip)
    }

    /// `java[4212]`, `java[4212] in shop/web-0`, or `java[4212] in container web`, for people.
    #[must_use]
    pub(crate) fn label(&self) -> String {
        let name = self.name.as_deref().unwrap_or("process");
        let label = self
            .pid
            .map_or_else(|| name.to_owned(), |pid| format!("{name}[{pid}]"));
        match (&self.pod, &self.container) {
            (Some(pod), _) => format!("{label} in {pod}"),
            (None, Some(container)) => format!("{label} in container {container}"),
            (None, None) => label,
        }
    }
}
