//! `pcapdoc collect`: a script that collects on a host what tells causes apart. It is printed, not run.

use std::collections::BTreeSet;
use std::process::ExitCode;

use rules::engine::Engine;
use rules::finding::Ask;
use rules::settings::{self, RuleSettings};

use crate::cli::CollectArguments;
use crate::failure::Failure;
use crate::output;

/// What a script runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tool {
    Sockets,
    Counters,
    Calls,
    CallShares,
    Files,
    Rules,
    Tracker,
    Reasons,
    Logs,
}

/// Which tools answer a question.
const fn tools(ask: Ask) -> &'static [Tool] {
    match ask {
        Ask::Owner => &[Tool::Sockets, Tool::Files],
        Ask::CloseCall | Ask::Deadline | Ask::ReceiveBuffer | Ask::ReadSizes => {
            &[Tool::Calls, Tool::Sockets]
        }
        Ask::Linger => &[Tool::Calls],
        Ask::UnreadData => &[Tool::Sockets, Tool::Counters, Tool::Calls],
        Ask::Retransmissions | Ask::SendLimits => &[Tool::Sockets],
        Ask::Redirects | Ask::Filters => &[Tool::Rules, Tool::Tracker],
        Ask::IdleLimits => &[Tool::Tracker],
        Ask::SharedSocket => &[Tool::Files, Tool::Sockets, Tool::CallShares],
        Ask::ListenQueue | Ask::DatagramDrops => &[Tool::Sockets, Tool::Counters],
        Ask::Fragments => &[Tool::Counters],
        Ask::Logs => &[Tool::Logs],
        Ask::KernelReason => &[Tool::Reasons],
    }
}

/// Runs the subcommand.
pub fn run(arguments: &CollectArguments) -> Result<ExitCode, Failure> {
    let asks: Vec<Ask> = match &arguments.rule {
        Some(rule) => {
            let meta = settings::rule_named(&RuleSettings::default(), rule, "pcapdoc collect");
            let meta = meta.map_err(|error| Failure::Usage(error.to_string()))?;
            meta.host_evidence.to_vec()
        }
        None => {
            let all = Engine::full_catalogue();
            all.iter()
                .flat_map(|meta| meta.host_evidence)
                .copied()
                .collect()
        }
    };
    let tools: BTreeSet<Tool> = asks.into_iter().flat_map(tools).copied().collect();
    let script = script(&tools, arguments.rule.as_deref(), arguments.pid);
    output::write_stdout(|out| out.write_all(script.as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}

fn script(tools: &BTreeSet<Tool>, rule: Option<&str>, pid: Option<u32>) -> String {
    let mut lines = vec!["#!/bin/sh".to_owned()];
    let about = rule.map_or_else(|| "any rule".to_owned(), str::to_owned);
    lines.push(format!("# Collects what distinguishes the causes of {about}. Run it as root on the client and on the server, each with"));
    lines.push(
        "# its own folder, during the incident: sh collect.sh [FOLDER [SECONDS [INTERFACE]]]"
            .to_owned(),
    );
    lines.push("# Then: pcapdoc analyze FOLDER/capture.pcap* --host-evidence FOLDER".to_owned());
    lines.push("out=${1:-evidence-$(hostname)}; seconds=${2:-60}; interface=${3:-any}".to_owned());
    let pid_text = pid.map_or_else(|| "${PID:-}".to_owned(), |pid| pid.to_string());
    if tools.contains(&Tool::Calls) || tools.contains(&Tool::CallShares) {
        lines.push(format!(
            "pid={pid_text} # the process in question; without one, calls are not traced"
        ));
    }
    lines.push("mkdir -p \"$out\"".to_owned());
    lines.push(
        "# Snap length: headers and the beginning of each request. A ring of 10 files of 100 MB."
            .to_owned(),
    );
    lines.push("tcpdump -n -i \"$interface\" -s 256 -C 100 -W 10 -Z root -w \"$out/capture.pcap\" 2> \"$out/tcpdump.txt\" & capture=$!".to_owned());
    let has = |tool: Tool| tools.contains(&tool);
    if has(Tool::Counters) {
        lines.push("nstat -asz > \"$out/nstat-before.txt\"".to_owned());
    }
    if has(Tool::Calls) {
        lines.push("[ -n \"$pid\" ] && timeout \"$seconds\" strace -f -ttt -yy -e trace=network,desc -o \"$out/strace.txt\" -p \"$pid\" 2> /dev/null &".to_owned());
    }
    if has(Tool::CallShares) && !has(Tool::Calls) {
        lines.push("[ -n \"$pid\" ] && timeout -s INT \"$seconds\" strace -c -f -o \"$out/strace-c.txt\" -p \"$pid\" 2> /dev/null &".to_owned());
    }
    if has(Tool::Reasons) {
        lines.push("perf record -q -a -e tcp:tcp_send_reset,tcp:tcp_retransmit_skb,skb:kfree_skb -o \"$out/perf.data\" -- sleep \"$seconds\" & perf=$!".to_owned());
    }
    if has(Tool::Sockets) {
        lines.push("end=$(( $(date +%s) + seconds ))".to_owned());
        lines.push("while [ \"$(date +%s)\" -lt \"$end\" ]; do".to_owned());
        lines.push("  for options in tanpiemO uanpem ltn; do date -u +%Y-%m-%dT%H:%M:%S.%NZ; ss -$options; done >> \"$out/ss.txt\"".to_owned());
        lines.push("  sleep 5".to_owned());
        lines.push("done".to_owned());
    } else {
        lines.push("sleep \"$seconds\"".to_owned());
    }
    if has(Tool::Counters) {
        lines.push("nstat -asz > \"$out/nstat-after.txt\"".to_owned());
    }
    if has(Tool::Reasons) {
        lines.push("wait \"$perf\"; perf script -i \"$out/perf.data\" > \"$out/tracepoints.txt\" 2> /dev/null; rm -f \"$out/perf.data\"".to_owned());
    }
    if has(Tool::Files) {
        lines.push("lsof -nPi > \"$out/lsof.txt\" 2> /dev/null".to_owned());
    }
    if has(Tool::Rules) {
        lines.push("iptables-save -c > \"$out/iptables.txt\" 2> /dev/null; nft -a list ruleset > \"$out/nft.txt\" 2> /dev/null; ipvsadm -Ln > \"$out/ipvs.txt\" 2> /dev/null".to_owned());
    }
    if has(Tool::Tracker) {
        lines.push("conntrack -L > \"$out/conntrack.txt\" 2> /dev/null; conntrack -S > \"$out/conntrack-counters.txt\" 2> /dev/null".to_owned());
    }
    if has(Tool::Logs) {
        lines.push(
            "journalctl --since \"-30min\" -o short-iso > \"$out/journal.txt\" 2> /dev/null"
                .to_owned(),
        );
        lines.push("# Beside them: the access and error logs of proxies and servers (nginx, Apache, HAProxy, Envoy, ALB).".to_owned());
    }
    lines.push("kill -INT \"$capture\"; wait".to_owned());
    lines.push("find \"$out\" -type f -empty -delete; echo \"collected in $out\"".to_owned());
    lines.join("\n") + "\n"
}
