//! `ipvsadm -Ln`: virtual services and the servers behind them.

use analyzer::{Endpoint, Transport};

use super::{Format, Known};
use crate::model::Kind;
use crate::out::Out;
use crate::packet_rule::{Net, PacketRule, Target};
use crate::place::LineRef;
use crate::text::endpoint;

pub(super) const KNOWN: Known = Known {
    kind: Kind::Ipvs,
    recognise: |head| {
        let is_title = |line: &&str| {
            line.starts_with("IP Virtual Server") || line.starts_with("Prot LocalAddress:Port")
        };
        head.iter().take(5).any(is_title)
    },
    make: || Box::<Ipvs>::default(),
};

#[derive(Default)]
struct Ipvs {
    service: Option<(Transport, Endpoint)>,
}

impl Format for Ipvs {
    fn line(&mut self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        let mut words = line.split_ascii_whitespace();
        let (first, second) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let transport = match first {
            "TCP" => Transport::Tcp,
            "UDP" => Transport::Udp,
            "->" => {
                let (Some((transport, service)), Some(real)) = (self.service, endpoint(second))
                else {
                    return true;
                };
                let bits = if service.ip.is_ipv4() { 32 } else { 128 };
                out.facts.rule(PacketRule {
                    at,
                    chain: "ipvs".to_owned(),
                    transport: Some(transport),
                    is_other: false,
                    source: None,
                    destination: Some(Net {
                        ip: service.ip,
                        bits,
                        negated: false,
                    }),
                    ports: vec![(service.port, service.port)],
                    target: Target::Dnat(Some(real.ip), Some(real.port)),
                    packets: None,
                });
                return true;
            }
            _ => return first.starts_with("IP") || first.starts_with("Prot"),
        };
        self.service = endpoint(second).map(|service| (transport, service));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::Interest;
    use crate::read::{HostFiles, Source};

    #[test]
    fn each_server_is_a_translation() {
        let text = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\nTCP  10.96.0.1:80 rr\n  -> 10.9.0.2:8080                Masq    1      0          0\n";
        let source = Source::Bytes("i".to_owned(), text.as_bytes().to_vec());
        let files = HostFiles::of(vec![source], &std::collections::BTreeMap::new(), &|_, _| {
            Interest::Sure
        });
        assert_eq!(files.files[0].kind, Kind::Ipvs);
        let rule = &files.facts.rules[0];
        assert_eq!(rule.at.line, 5);
        assert_eq!(
            rule.target,
            Target::Dnat(Some("10.9.0.2".parse().unwrap()), Some(8080))
        );
    }
}
