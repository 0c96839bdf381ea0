//! Replays what the fuzzers start from and what they found. What odd captures give is rendered in
//! `tests/captures`.

mod common;
#[path = "../fuzz/src/report.rs"]
mod report;
#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use analyzer::app::{AppFacts, ServiceProtocol};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

#[test]
fn no_target_fails_on_its_corpus() {
    let report = ("report", report::report as targets::Target);
    for (name, target) in targets::TARGETS.iter().chain([&report]) {
        let corpus = common::root().join("fuzz/corpus").join(name);
        let found = files(&corpus);
        assert!(!found.is_empty(), "{name} has no corpus");
        for file in found {
            println!("{}", file.display());
            target(&std::fs::read(&file).expect("a readable file"));
        }
    }
}

/// What the readers of a target find in the files of its corpus.
fn seeds(target: &str, read: fn(&[u8]) -> AppFacts) -> Vec<AppFacts> {
    let corpus = common::root().join("fuzz/corpus").join(target);
    let files = files(&corpus).into_iter();
    files
        .map(|file| read(&std::fs::read(&file).expect("a readable file")))
        .collect()
}

fn errors_of(facts: &[AppFacts]) -> BTreeSet<ServiceProtocol> {
    let services = facts.iter().filter_map(|facts| facts.service.as_ref());
    services.map(|service| service.protocol).collect()
}

/// A fuzzer that starts without a message that a reader understands seldom finds one.
#[test]
fn every_reader_of_services_understands_a_seed() {
    use ServiceProtocol as Of;
    let streams = [
        Of::MySql,
        Of::PostgreSql,
        Of::Redis,
        Of::Amqp,
        Of::Bgp,
        Of::Smtp,
        Of::Ftp,
        Of::MongoDb,
        Of::Nats,
        Of::Memcached,
        Of::Ldap,
        Of::Grpc,
        Of::Sip,
        Of::Kafka,
    ];
    let datagrams = [Of::Sip, Of::Dhcp, Of::Radius];
    assert_eq!(
        errors_of(&seeds("service", targets::service_facts)),
        streams.into()
    );
    let facts = seeds("datagram", targets::datagram_facts);
    assert_eq!(errors_of(&facts), datagrams.into());
    let asked = facts.iter().filter(|facts| facts.requests.is_some());
    let asked: BTreeSet<&str> = asked.filter_map(|facts| facts.name).collect();
    let answering = [
        "dhcp", "ike", "ntp", "quic", "radius", "sip", "snmp", "stun", "tftp",
    ];
    assert_eq!(asked, answering.into());
}
