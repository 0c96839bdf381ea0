//! What an archive's results rest on: a set whose result was judged by other settings is stale.
//!
//! Everything that decides what comes out of a set is written down under a name of its own, one line
//! each, and hashed. The names belong to this file: a field that is renamed elsewhere changes nothing,
//! and one that is added does not compile here until it is decided whether results depend on it. What
//! only decides how fast an analysis is, or how much memory it takes, is left out.

use analyzer::PacketFilter;
use analyzer::app::AppSettings;
use analyzer::capture::ReadOptions;
use analyzer::flow::tcp::TcpSettings;
use analyzer::pipeline;
use rules::RuleSettings;
use rules::engine::Engine;
use rules::settings::IgnoreEntry;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::find::hex;
use crate::cli::HostArguments;
use crate::settings::Settings;

/// Version of what is written down and how: another one makes every archive stale.
const VERSION: u32 = 1;

/// Hash of everything that decides what comes out of a set, in hexadecimal.
pub fn fingerprint(settings: &Settings) -> String {
    let lines = lines(settings);
    let text = lines
        .iter()
        .fold(String::new(), |text, line| text + &line.to_string() + "\n");
    hex(&Sha256::digest(text)[..8])
}

/// One list for each setting: its name, then its values.
fn lines(settings: &Settings) -> Vec<Value> {
    // The captures are each set's own; what the file says is in the rules' settings.
    let Settings {
        inputs: _,
        analysis,
        rules,
        hosts,
        configuration_file: _,
        configuration: _,
        threads: _,
    } = settings;
    let mut lines = vec![
        json!(["fingerprint", VERSION]),
        json!(["pcapdoc", env!("CARGO_PKG_VERSION")]),
    ];
    lines.extend(of_analysis(analysis));
    lines.extend(of_rules(rules));
    lines.extend(of_hosts(hosts));
    lines
}

/// Which host files were asked for; nothing when none were, as before there were any.
fn of_hosts(hosts: &HostArguments) -> Vec<Value> {
    let HostArguments {
        host_evidence,
        host_evidence_time,
        beside,
    } = hosts;
    let mut lines = Vec::new();
    lines.extend(beside.then(|| json!(["host evidence beside captures"])));
    let paths = host_evidence.iter();
    lines.extend(paths.map(|path| json!(["host evidence", path.display().to_string()])));
    let times = host_evidence_time.iter();
    lines.extend(times.map(|(file, time)| json!(["host evidence time", file, time.as_nanos()])));
    lines
}

fn of_analysis(settings: &pipeline::Settings) -> Vec<Value> {
    let pipeline::Settings {
        read,
        tcp,
        filter,
        memory: _,
    } = settings;
    let ReadOptions {
        slab_bytes: _,
        max_inflated_ratio,
        inflated_free_bytes,
        stop: _,
    } = read;
    // A segment judged in full gives the same as one judged shortly.
    let TcpSettings { app, judge_all: _ } = tcp;
    let AppSettings { framings } = app;
    let mut lines = vec![
        json!(["inflated ratio at most", max_inflated_ratio]),
        json!(["inflated bytes never judged", inflated_free_bytes]),
    ];
    let framings = framings.iter();
    lines.extend(framings.map(|(port, spec)| json!(["framing", port, spec.to_string()])));
    lines.extend(of_filter(filter));
    lines
}

fn of_filter(filter: &PacketFilter) -> Vec<Value> {
    let PacketFilter {
        from,
        to,
        hosts,
        ports,
        connections,
    } = filter;
    let mut lines = Vec::new();
    lines.extend(from.map(|from| json!(["from", from.as_nanos()])));
    lines.extend(to.map(|to| json!(["to", to.as_nanos()])));
    lines.extend(hosts.iter().map(|hosts| json!(["host", hosts.to_string()])));
    lines.extend(ports.iter().map(|port| json!(["port", port])));
    let connections = connections.iter();
    lines.extend(connections.map(|ends| json!(["connection", ends.to_string()])));
    lines
}

/// The rules that run with the limits that hold, configured or not; framings are the analysis's.
fn of_rules(settings: &RuleSettings) -> Vec<Value> {
    let mut lines = Vec::new();
    for rule in Engine::catalogue()
        .iter()
        .filter(|rule| settings.is_enabled(rule.id))
    {
        lines.push(json!(["rule", rule.id]));
        for limit in rule.thresholds {
            let value = settings.threshold(rule.id, limit.name);
            let value = value.unwrap_or(limit.default);
            lines.push(json!(["limit", rule.id, limit.name, value]));
        }
    }
    for rule in settings
        .own
        .iter()
        .filter(|rule| settings.is_enabled(rule.id))
    {
        lines.push(json!(["own rule", rule.definition()]));
    }
    for entry in &settings.ignores {
        let IgnoreEntry {
            rule,
            server,
            reason,
            expires,
        } = entry;
        lines.push(json!(["accepted", rule, server, reason, expires]));
    }
    for (port, octets) in &settings.udp_recv_buffers {
        lines.push(json!(["udp receive buffer", port, octets]));
    }
    lines
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    /// The fingerprint of an archive's settings by their arguments and configuration file.
    fn of(arguments: &[&str], configuration: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pcapdoc.toml");
        std::fs::write(&file, configuration).unwrap();
        let always = [
            "pcapdoc",
            "batch",
            ".",
            "--out",
            ".",
            "--config",
            file.to_str().unwrap(),
        ];
        let all = always.iter().chain(arguments);
        let Command::Batch(batch) = Cli::parse_from(all).command else {
            unreachable!("batch was asked for");
        };
        fingerprint(&Settings::resolve(&[], &batch.analysis).unwrap())
    }

    /// A configuration that gives the first limit of a rule another value.
    fn with_limit(of_default: fn(f64) -> f64) -> String {
        let catalogue = Engine::catalogue();
        let mut limits = catalogue
            .iter()
            .filter_map(|rule| Some((rule.id, rule.thresholds.first()?)));
        let (rule, limit) = limits.next().unwrap();
        let value = of_default(limit.default);
        format!("[rules.{rule}]\n{} = {value:?}\n", limit.name)
    }

    #[test]
    fn memory_and_threads_leave_an_archive_fresh() {
        let plain = of(&[], "");
        assert_eq!(of(&["--max-memory", "512M"], ""), plain);
        assert_eq!(of(&["--threads", "1"], ""), plain);
        assert_eq!(of(&["--threads", "7", "--jobs", "3"], ""), plain);
    }

    #[test]
    fn what_decides_the_result_does_not() {
        let all = [
            of(&[], ""),
            of(&[], &with_limit(|default| default + 1.5)),
            of(&["--ignore", "slow-response"], ""),
            of(&["--select", "slow-response"], ""),
            of(
                &[],
                "[[ignore]]\nrule = \"slow-response\"\nreason = \"known\"\n",
            ),
            of(&["--framing", "7000=u32be"], ""),
            of(&["--framing", "7000=u32le"], ""),
            of(&["--udp-recv-buffer", "53=512"], ""),
            of(&["--port", "80"], ""),
            of(&["--host", "10.9.0.0/16"], ""),
            of(&["--from", "2026-11-24T10:00:00Z"], ""),
            of(&["--to", "2026-11-24T10:00:00Z"], ""),
            of(&["--connection", "10.9.0.1:40000-10.9.0.2:80"], ""),
        ];
        for (at, one) in all.iter().enumerate() {
            assert_eq!(all.iter().position(|other| other == one), Some(at));
        }
    }

    #[test]
    fn a_limit_set_to_what_holds_anyway_changes_nothing() {
        assert_eq!(of(&[], &with_limit(|default| default)), of(&[], ""));
    }
}
