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
