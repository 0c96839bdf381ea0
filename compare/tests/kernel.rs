//! Both ends of the lab's bad wires, against the wire's own books.

mod common;

use common::{compared, lab};
use serde_json::Value;

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}

#[test]
fn counts_are_those_of_the_wire() {
    let mut wrong = Vec::new();
    let mut folders: Vec<_> = std::fs::read_dir(lab())
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    folders.sort();
    for case in folders {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let truth: Value =
            serde_json::from_slice(&std::fs::read(case.join("truth.json")).unwrap()).unwrap();
        let result = compared(&[
            ("client", case.join("client.pcap.gz")),
            ("server", case.join("server.pcap.gz")),
        ]);
        for known in truth["connections"].as_array().unwrap() {
            let client = known["client"].as_str().unwrap();
            let Some(found) = result
                .connections
                .iter()
                .find(|c| c.at[0].1.to_string() == client)
            else {
                wrong.push(format!("{name} {client}: not paired"));
                continue;
            };
            let hop = &found.hops[0];
            for (way, tally) in [
                ("client_to_server", &hop.client_to_server),
                ("server_to_client", &hop.server_to_client),
            ] {
                let wire = &known[way]["wire"];
                let lost =
                    number(wire, "originals_dropped") + number(wire, "retransmitted_dropped");
                let data = [number(wire, "originals"), number(wire, "retransmitted")];
                let duplicated = number(wire, "network_duplicates");
                let line = format!(
                    "{name} {client} {way}: segments {} delivered {} lost {} (wire data {lost}) missed {}/{} reordered {} (late {}) duplicated {} (wire {duplicated}) made {} sent data {data:?} delay {:?} changed {:?}",
                    tally.segments,
                    tally.delivered,
                    tally.lost,
                    tally.missed_at_from,
                    tally.missed_at_to,
                    tally.reordered,
                    number(wire, "late_originals"),
                    tally.duplicated,
                    tally.made,
                    tally.delay_ms,
                    tally
                        .changed
                        .fields()
                        .iter()
                        .filter(|f| f.1 > 0)
                        .collect::<Vec<_>>()
                );
                if tally.lost < lost
                    || tally.missed_at_from + tally.missed_at_to + tally.made > 0
                    || tally.duplicated < duplicated
                {
                    wrong.push(line.clone());
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
