//! Lines of host files without names, arguments and paths.
//!
//! What is not known to be harmless is hidden: numbers and signs stay, and the words of the tools.

use super::Redactor;
use crate::document::{Document, FindingView, HostFileRow};

/// Words that stay wherever they stand.
const WORDS: &str = " \
tcp udp tcp6 udp6 ipv4 ipv6 ip ip6 inet users pid fd timer on off keepalive timewait ino sk cgroup skmem \
cubic bbr reno wscale rto rtt ato mss pmtu rcvmss advmss cwnd ssthresh bytes_sent bytes_acked bytes_received \
bytes_retrans segs_out segs_in data_segs_out data_segs_in send lastsnd lastrcv lastack pacing_rate \
delivery_rate delivered app_limited busy unacked retrans lost sacked dsack_dups reord_seen reordering \
rcv_rtt rcv_space rcv_ssthresh minrtt snd_wnd rwnd_limited sndbuf_limited ts sack ecn nodelay ms min sec \
socket bind listen accept accept4 connect getsockname getpeername setsockopt getsockopt shutdown close read readv \
recv recvfrom recvmsg recvmmsg write writev send sendto sendmsg sendmmsg sendfile epoll_ctl epoll_wait futex \
sa_family sin_port sin_addr sin6_port sin6_addr sin6_flowinfo sin6_scope_id htons htonl inet_addr inet_pton \
l_onoff l_linger onoff linger msg_name msg_namelen msg_iov msg_iovlen msg_control msg_controllen msg_flags iov_base iov_len \
unfinished resumed exited with killed by src dst sport dport use mark zone pkts bytes packets counter \
all anywhere redirect dnat snat masquerade reject drop to ports redir dpt dpts multiport dports handle \
family state reason saddr daddr saddrv6 daddrv6 skbaddr skaddr dest error crit warn notice info \
upstream prematurely closed connection while reading response header from client server request host \
timed out reset peer started stopped stopping reloaded failed rst udp4 tcp4 root p m j s d o i A \
";

/// Beginnings of constants and counters.
const BEGINNINGS: [&str; 22] = [
    "SO_",
    "SOL_",
    "TCP_",
    "UDP_",
    "AF_",
    "SOCK_",
    "IPPROTO_",
    "MSG_",
    "EPOLL",
    "SHUT_",
    "CLONE_",
    "TcpExt",
    "Tcp",
    "Udp",
    "Icmp",
    "IpExt",
    "IpIn",
    "IpOut",
    "IpReasm",
    "SK_RST",
    "SKB_DROP",
    "NETFILTER",
];

/// Words in capitals that are states and names of tables.
const CAPITALS: &str = " ESTAB ESTABLISHED LISTEN SYN-SENT SYN-RECV SYN_SENT SYN_RECV FIN-WAIT-1 FIN-WAIT-2 FIN_WAIT1 FIN_WAIT2 \
FIN_WAIT TIME-WAIT TIME_WAIT CLOSE-WAIT CLOSE_WAIT LAST-ACK LAST_ACK CLOSING CLOSE UNCONN TCP UDP TCPv6 UDPv6 NULL \
ASSURED UNREPLIED NEW DESTROY UPDATE REDIRECT DNAT SNAT MASQUERADE REJECT DROP ACCEPT INPUT OUTPUT FORWARD PREROUTING \
POSTROUTING IPv4 IPv6 ETIMEDOUT ECONNRESET EAGAIN EINPROGRESS EPIPE ENOTCONN ";

impl Redactor {
    /// Masks what host files said.
    pub(super) fn host_lines(&self, document: &mut Document) {
        let files = document.host_evidence.iter_mut().flatten();
        let names = mask_lines(files, document.findings.iter_mut());
        let stand_in = |file: &mut String| names.put(file);
        for snapshot in &mut document.host_snapshots {
            stand_in(&mut snapshot.file);
        }
        for connection in &mut document.connections {
            if let Some(process) = &mut connection.process {
                process.name = process.name.as_ref().map(|_| "hidden".to_owned());
                stand_in(&mut process.source);
            }
        }
        for table in &mut document.tables {
            let at = table
                .columns
                .iter()
                .position(|column| column.name == "process");
            for row in &mut table.rows {
                if let Some(crate::document::Cell::Text(text)) = at.and_then(|at| row.get_mut(at)) {
                    *text = without_owners(text);
                }
            }
        }
    }
}

/// Host files by name, with what stands for each.
pub(crate) struct StandIns(Vec<(String, String)>);

impl StandIns {
    /// Replaces the name of a file; what is none of them is the capture itself.
    fn put(&self, file: &mut String) {
        let known = self.0.iter().find(|(name, _)| name == file);
        *file = known.map_or_else(|| "capture".to_owned(), |(_, stand_in)| stand_in.clone());
    }
}

/// Masks the names of host files and the lines that findings quote from them.
pub(crate) fn mask_lines<'a>(
    files: impl Iterator<Item = &'a mut HostFileRow>,
    findings: impl Iterator<Item = &'a mut FindingView>,
) -> StandIns {
    let mut names: Vec<(String, String)> = Vec::new();
    for file in files {
        let known = names.iter().find(|(name, _)| *name == file.file);
        let stand_in = match known {
            Some((_, stand_in)) => stand_in.clone(),
            None => format!("host-file-{}", names.len() + 1),
        };
        let name = std::mem::replace(&mut file.file, stand_in.clone());
        names.push((name, stand_in));
    }
    let names = StandIns(names);
    for line in findings.flat_map(|finding| finding.host_evidence.iter_mut().flatten()) {
        names.put(&mut line.file);
        let text = masked(&line.text);
        // What the capture says of a process stands in the note as it is.
        if !line.text.is_empty() {
            line.note = line.note.replace(&line.text, &text);
        }
        line.text = text;
        line.note = without_owners(&line.note);
    }
    names
}

/// A line in which only numbers, signs and the tools' own words stand. Addresses are masked later,
/// with all others.
fn masked(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            out.push_str("\"…\"");
            rest = behind_quote(&rest[1..]);
        } else if first == '/'
            && rest[1..].starts_with(|letter: char| letter.is_alphabetic() || letter == '.')
        {
            out.push_str("/…");
            rest = behind(rest, |letter| {
                letter.is_whitespace() || matches!(letter, ',' | ')' | '>' | ']' | '"')
            });
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|letter: char| {
                !(letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.' | '@'))
            });
            let word = &rest[..end.unwrap_or(rest.len())];
            out.push_str(if stays(word) { word } else { "…" });
            rest = &rest[word.len()..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

fn behind(text: &str, is_end: impl Fn(char) -> bool) -> &str {
    text.find(is_end).map_or("", |end| &text[end..])
}

/// What stands behind the closing quote.
fn behind_quote(text: &str) -> &str {
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => {
                letters.next();
            }
            '"' => return &text[at + 1..],
            _ => {}
        }
    }
    ""
}

fn stays(word: &str) -> bool {
    let is_number = word.starts_with(|letter: char| letter.is_ascii_digit())
        && !word.contains(|letter: char| {
            letter.is_alphabetic()
                && !letter.is_ascii_hexdigit()
                && !matches!(
                    letter,
                    'x' | 'm' | 's' | 'T' | 'Z' | 'u' | 'w' | 'r' | 'K' | 'M' | 'G' | 'i' | 'n'
                )
        });
    let is_hexadecimal = word.len() <= 32
        && word.chars().all(|letter| letter.is_ascii_hexdigit())
        && word.contains(|letter: char| letter.is_ascii_digit());
    let listed = |list: &str| {
        let mut words = list.split_ascii_whitespace();
        words.any(|known| known == word)
    };
    is_number
        || is_hexadecimal
        || listed(WORDS)
        || listed(CAPITALS)
        || BEGINNINGS
            .iter()
            .any(|begin| word.starts_with(begin) && word.len() < 40)
}

/// Our own words without the names of processes and chains: `java[4212]`, `(chain X)`.
fn without_owners(note: &str) -> String {
    let words = note.split(' ').map(|word| {
        let owner = word.find('[').filter(|at| {
            let number = word[at + 1..].trim_end_matches([']', ',', ';', ')']);
            *at > 0 && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        owner.map_or_else(|| word.to_owned(), |at| format!("process{}", &word[at..]))
    });
    let text = words.collect::<Vec<_>>().join(" ");
    match (
        text.find("(chain "),
        text.find("(chain ")
            .and_then(|from| text[from..].find(')').map(|end| from + end)),
    ) {
        (Some(from), Some(end)) => format!("{}(chain …{}", &text[..from], &text[end..]),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_arguments_and_paths_are_hidden() {
        let line = masked(
            "FIN-WAIT-2 0 0 10.9.0.1:4 10.9.0.2:80 users:((\"payroll\",pid=77,fd=5)) ino:1 cgroup:/system.slice/acme.service",
        );
        assert_eq!(
            line,
            "FIN-WAIT-2 0 0 10.9.0.1:4 10.9.0.2:80 users:((\"…\",pid=77,fd=5)) ino:1 cgroup:/…"
        );
        let line = masked(
            "12<acme> 1796050973.1 sendto(5<TCP:[10.9.0.2:80->10.9.0.1:4]>, \"GET /se\\\"cret\", 18, 0, NULL, 0) = 18",
        );
        assert_eq!(
            line,
            "12<…> 1796050973.1 sendto(5<TCP:[10.9.0.2:80->10.9.0.1:4]>, \"…\", 18, 0, NULL, 0) = 18"
        );
        let line =
            masked("payroll 9 ann 3u IPv4 29455 0t0 TCP 10.9.0.1:4->10.9.0.2:80 (CLOSE_WAIT)");
        assert!(!line.contains("payroll") && !line.contains("ann") && line.contains("CLOSE_WAIT"));
        let line = masked("Nov 24 10:00:00 payroll-db app[1]: Started acme.service");
        assert!(
            !line.contains("payroll") && !line.contains("acme"),
            "{line}"
        );
        assert_eq!(
            without_owners("the client's payroll[77] has 1 of these"),
            "the client's process[77] has 1 of these"
        );
        assert_eq!(
            without_owners("the rule (chain ACME) that leads"),
            "the rule (chain …) that leads"
        );
    }
}
