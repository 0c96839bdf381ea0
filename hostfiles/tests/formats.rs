//! What real tools wrote: each file is recognised, and no line of it stays unread.

use std::collections::BTreeMap;
use std::path::Path;

use hostfiles::{HostFiles, Interest, Kind};

fn read(name: &str) -> HostFiles {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(name);
    assert!(path.is_file(), "{name}");
    HostFiles::read(&[path], &BTreeMap::new(), &|_, _| Interest::Sure)
}

#[test]
fn every_file_is_recognised() {
    for (name, kind) in [
        ("ss-cli-full.txt", Kind::Ss),
        ("ss-cli-udp.txt", Kind::Ss),
        ("ss-srv-2line.txt", Kind::Ss),
        ("ss-srv-H.txt", Kind::Ss),
        ("ss-srv-all.txt", Kind::Ss),
        ("ss-srv-ltn.txt", Kind::Ss),
        ("ss-srv-state.txt", Kind::Ss),
        ("netstat-srv.txt", Kind::Netstat),
        ("netstat-srv-eo.txt", Kind::Netstat),
        ("netstat-srv-udp.txt", Kind::Netstat),
        ("netstat-s.txt", Kind::Nstat),
        ("proc-tcp.txt", Kind::ProcNet),
        ("proc-udp.txt", Kind::ProcNet),
        ("proc-snmp.txt", Kind::Nstat),
        ("nstat-az.txt", Kind::Nstat),
        ("nstat.json", Kind::Nstat),
        ("lsof-srv.txt", Kind::Lsof),
        ("ipts.txt", Kind::Iptables),
        ("ipts-c.txt", Kind::Iptables),
        ("ipt-S.txt", Kind::Iptables),
        ("ipt-L.txt", Kind::Iptables),
        ("ipt-Lnum.txt", Kind::Iptables),
        ("nft.txt", Kind::Nft),
        ("ct-S.txt", Kind::Conntrack),
        ("conntrack-L.txt", Kind::Conntrack),
        ("nf_conntrack.txt", Kind::Conntrack),
        ("strace-c.txt", Kind::StraceSummary),
        ("strace-r.txt", Kind::Strace),
        ("strace-t.txt", Kind::Strace),
        ("strace-yy.txt", Kind::Strace),
        ("strace-tt-plain.txt", Kind::Strace),
        ("nginx-error.log", Kind::AccessLog),
        ("nginx-access.log", Kind::AccessLog),
        ("haproxy.log", Kind::AccessLog),
        ("ss-tan.txt", Kind::Ss),
        ("ss-tanp.txt", Kind::Ss),
        ("ss-tinO.txt", Kind::Ss),
        ("ss-tane.txt", Kind::Ss),
        ("ss-tulpn.txt", Kind::Ss),
        ("ss-all-4.txt", Kind::Ss),
        ("ss-Htanpm.txt", Kind::Ss),
        ("ss-close-wait.txt", Kind::Ss),
        ("netstat-tan.txt", Kind::Netstat),
        ("netstat-tunap-W.txt", Kind::Netstat),
        ("busybox-netstat-tan.txt", Kind::Netstat),
        ("busybox-netstat-uan.txt", Kind::Netstat),
        ("busybox-proc-tcp.txt", Kind::ProcNet),
        ("lsof-i4.txt", Kind::Lsof),
        ("lsof-established.txt", Kind::Lsof),
        ("lsof-pid-R.txt", Kind::Lsof),
        ("lsof-tasks.txt", Kind::Lsof),
        ("nstat-n.txt", Kind::Nstat),
        ("nstat-some.txt", Kind::Nstat),
        ("nstat-s.txt", Kind::Nstat),
        ("netstat-st.txt", Kind::Nstat),
        ("netstat-su.txt", Kind::Nstat),
        ("strace-ttt-yy.txt", Kind::Strace),
        ("strace-tt-T.txt", Kind::Strace),
        ("strace-r-y.txt", Kind::Strace),
        ("strace-unix-us.txt", Kind::Strace),
        ("strace-iso-ns.txt", Kind::Strace),
        ("strace-abbrev.txt", Kind::Strace),
        ("strace-C.txt", Kind::Strace),
        ("strace-n.txt", Kind::Strace),
        ("strace-ff-i.txt", Kind::Strace),
        ("strace-c-wall.txt", Kind::StraceSummary),
        ("perf-script.txt", Kind::Tracepoint),
        ("trace-pipe.txt", Kind::Tracepoint),
        ("trace-cmd-report.txt", Kind::Tracepoint),
        ("trace-cmd-report-N.txt", Kind::Tracepoint),
        ("bpftrace-retransmits.txt", Kind::Tracepoint),
        ("bpftrace-resets.txt", Kind::Tracepoint),
        ("journal-short.txt", Kind::Journal),
        ("journal-iso.txt", Kind::Journal),
        ("journal-precise.txt", Kind::Journal),
        ("journal-full.txt", Kind::Journal),
        ("journal-unix.txt", Kind::Journal),
        ("journal.json", Kind::Journal),
        ("envoy-default.log", Kind::AccessLog),
        ("envoy-json.log", Kind::AccessLog),
    ] {
        let files = read(name);
        assert_eq!(files.files[0].kind, kind, "{name}");
        assert_eq!(files.files[0].unread, 0, "{name}");
    }
}

#[test]
fn sockets_have_their_owners() {
    for name in [
        "ss-cli-full.txt",
        "ss-srv-2line.txt",
        "ss-srv-H.txt",
        "ss-srv-all.txt",
        "netstat-srv.txt",
        "netstat-srv-eo.txt",
        "lsof-srv.txt",
    ] {
        let facts = read(name).facts;
        let mut connected = facts.sockets.iter().filter(|row| row.peer.is_some());
        let row = connected.next().expect(name);
        assert_eq!(row.users[0].name, "python3", "{name}");
        assert!(row.users[0].pid.is_some(), "{name}");
        assert_eq!(row.state, "ESTAB", "{name}");
    }
}

#[test]
fn all_listings_of_rules_say_the_same() {
    for name in [
        "ipts.txt",
        "ipts-c.txt",
        "ipt-S.txt",
        "ipt-L.txt",
        "nft.txt",
    ] {
        let facts = read(name).facts;
        let mut rules = facts.rules.iter();
        let found = rules.find(|rule| rule.chain == "SIDECAR_OUTBOUND");
        let rule = found.expect(name);
        assert_eq!(rule.ports, [(80, 80)], "{name}");
        assert_eq!(rule.target, hostfiles::Target::Redirect(Some(80)), "{name}");
    }
}

#[test]
fn traces_with_any_time_tell_the_life_of_a_socket() {
    for name in ["strace-r.txt", "strace-t.txt", "strace-tt-plain.txt"] {
        let facts = read(name).facts;
        let mut traced = facts.traced.iter();
        let one = traced.find(|one| one.peer.is_some_and(|peer| peer.port == 8080));
        let one = one.expect(name);
        assert!(one.closed.is_some() && one.opened.is_some(), "{name}");
        assert!(one.closed.and_then(|call| call.time).is_some(), "{name}");
    }
}

/// Each set of options lists the same sockets: one end closed, one with unread data.
#[test]
fn listings_of_any_options_hold_the_same_states() {
    for name in [
        "ss-tan.txt",
        "ss-tanp.txt",
        "ss-tane.txt",
        "ss-all-4.txt",
        "ss-Htanpm.txt",
        "netstat-tan.txt",
        "netstat-tunap-W.txt",
        "busybox-netstat-tan.txt",
        "busybox-proc-tcp.txt",
    ] {
        let facts = read(name).facts;
        let count = |state: &str| {
            facts
                .sockets
                .iter()
                .filter(|row| row.state == state)
                .count()
        };
        assert_eq!((count("ESTAB"), count("CLOSE-WAIT")), (2, 1), "{name}");
        let mut unread = facts.sockets.iter().filter(|row| row.peer.is_some());
        assert!(unread.any(|row| row.recv_q == Some(10)), "{name}");
    }
}

/// Whatever options a trace has, it shows the same connection, with what was set on it and its end.
#[test]
fn traces_of_any_options_tell_the_same() {
    for name in [
        "strace-ttt-yy.txt",
        "strace-tt-T.txt",
        "strace-r-y.txt",
        "strace-unix-us.txt",
        "strace-iso-ns.txt",
        "strace-abbrev.txt",
    ] {
        let facts = read(name).facts;
        let mut traced = facts.traced.iter();
        let one = traced.find(|one| one.peer.is_some_and(|peer| peer.port == 8080));
        let one = one.expect(name);
        assert!(one.opened.and_then(|call| call.time).is_some(), "{name}");
        assert!(one.keepalive.is_some() && one.shutdown.is_some(), "{name}");
        assert!(one.closed.is_some(), "{name}");
        assert_eq!(one.bytes_written, 1, "{name}");
    }
    for name in ["strace-C.txt", "strace-n.txt", "strace-ff-i.txt"] {
        let facts = read(name).facts;
        let mut traced = facts.traced.iter();
        assert!(
            traced.any(|one| one.peer.is_some_and(|peer| peer.port == 22_222)),
            "{name}"
        );
    }
    assert!(!read("strace-C.txt").facts.calls.is_empty());
}

#[test]
fn the_kernel_states_its_reasons() {
    for name in [
        "perf-script.txt",
        "trace-pipe.txt",
        "trace-cmd-report.txt",
        "trace-cmd-report-N.txt",
    ] {
        let facts = read(name).facts;
        let reason = |wanted: &str| {
            let mut words = facts.words.iter();
            words.find(|one| one.event == "tcp_send_reset" && one.reason == wanted)
        };
        let refused = reason("NO_SOCKET").expect(name);
        let (from, to) = refused.ends.expect(name);
        assert_eq!(
            (from.to_string().as_str(), to.ip.to_string().as_str()),
            ("10.9.0.2:9999", "10.9.0.1")
        );
        assert!(reason("TCP_ABORT_ON_CLOSE").is_some(), "{name}");
    }
    // Numbers differ between kernels: they stay what they are.
    let facts = read("bpftrace-resets.txt").facts;
    let reasons: Vec<&str> = facts.words.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons, ["11", "1"]);
    let facts = read("bpftrace-retransmits.txt").facts;
    let ends: Vec<String> = facts
        .words
        .iter()
        .filter_map(|one| Some(one.ends?.1.to_string()))
        .collect();
    assert_eq!(ends, ["10.9.0.2:9000"; 3]);
}

#[test]
fn journals_of_any_form_have_times_and_what_changed() {
    for name in [
        "journal-short.txt",
        "journal-iso.txt",
        "journal-precise.txt",
        "journal-full.txt",
        "journal-unix.txt",
        "journal.json",
    ] {
        let facts = read(name).facts;
        let known = facts.events.iter().filter(|event| event.rank == 3);
        let with_times = known.filter(|event| event.place.time.is_some());
        assert!(with_times.count() > 0, "{name}: {:?}", facts.events);
    }
}

#[test]
fn envoy_logs_of_both_forms_tell_the_same_requests() {
    let flags = |name: &str| -> Vec<(Option<u16>, String)> {
        let facts = read(name).facts;
        facts
            .logs
            .iter()
            .map(|one| (one.status, one.flags.clone()))
            .collect()
    };
    let [text, json] = ["envoy-default.log", "envoy-json.log"].map(flags);
    assert_eq!(text, json);
    let known: Vec<&str> = text.iter().map(|(_, flags)| flags.as_str()).collect();
    assert!(
        ["UF", "UT", "DC", "NR"]
            .iter()
            .all(|flag| known.contains(flag)),
        "{known:?}"
    );
}
