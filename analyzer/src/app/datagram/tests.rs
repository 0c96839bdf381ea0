use proptest::prelude::*;

use super::DatagramReader;
use crate::app::AppProtocol;
use crate::app::testing::{C, S, at, noise};

fn protocol(datagrams: &[Vec<u8>], ports: (u16, u16)) -> Option<&'static str> {
    let mut reader = DatagramReader::default();
    for (bytes, frame) in datagrams.iter().zip(1..) {
        reader.datagram(
            C,
            bytes,
            u32::try_from(bytes.len()).unwrap(),
            at(frame),
            ports,
        );
    }
    reader.protocol()
}

#[test]
fn one_datagram_proves() {
    let quic = [
        &[0xc3, 0, 0, 0, 1, 8][..],
        &noise(1, 8),
        &[0],
        &noise(2, 1180),
    ]
    .concat();
    let stun = [&[0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42][..], &noise(3, 20)].concat();
    let dtls = [
        &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20][..],
        &noise(4, 20),
    ]
    .concat();
    let vxlan = [
        &[8, 0, 0, 0, 0, 0, 7, 0][..],
        &noise(5, 12),
        &[8, 0, 0x45],
        &noise(6, 40),
    ]
    .concat();
    let snmp = [&[0x30, 0x16, 2, 1, 1, 4][..], &noise(7, 18)].concat();
    let sip = b"INVITE sip:a@example.com SIP/2.0\r\n".to_vec();
    for (bytes, name) in [
        (quic, "quic"),
        (stun, "stun"),
        (dtls, "dtls"),
        (vxlan, "vxlan"),
        (snmp, "snmp"),
        (sip, "sip"),
    ] {
        assert_eq!(protocol(&[bytes], (40_000, 9)), Some(name));
    }
}

#[test]
fn ports_add_to_likeness() {
    let mut ntp = vec![0x23, 0, 6, 0xec];
    ntp.resize(40, 0);
    ntp.extend([0xe9, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(protocol(&[ntp.clone()], (40_000, 123)), Some("ntp"));
    assert_eq!(protocol(&[ntp.clone()], (40_000, 9)), None);
    assert_eq!(protocol(&vec![ntp; 3], (40_000, 9)), Some("ntp"));
    assert_eq!(
        protocol(&[b"<34>Oct 11 su: failed".to_vec()], (5, 514)),
        Some("syslog")
    );
    assert_eq!(protocol(&[noise(1, 48)], (40_000, 53)), None);
}

#[test]
fn sequences_prove() {
    let rtp = |number: u16| {
        [
            &[0x80, 96][..],
            &number.to_be_bytes(),
            &noise(u64::from(number), 4),
            &[1, 2, 3, 4],
            &noise(1, 160),
        ]
        .concat()
    };
    let row: Vec<_> = (0..8)
        .map(|step| rtp(65_533_u16.wrapping_add(step)))
        .collect();
    assert_eq!(protocol(&row, (5004, 5004)), Some("rtp"));
    let wireguard = |number: u8| {
        [
            &[4, 0, 0, 0][..],
            &[1, 2, 3, 4],
            &[number, 0, 0, 0, 0, 0, 0, 0],
            &noise(1, 48),
        ]
        .concat()
    };
    assert_eq!(
        protocol(&(0..4).map(wireguard).collect::<Vec<_>>(), (51_820, 9)),
        Some("wireguard")
    );
}

#[test]
fn own_protocols_are_not_named() {
    let ports = (40_000, 9001);
    let text = |index: u32| format!("REQUEST-{index:06} do something").into_bytes();
    assert_eq!(
        protocol(&(0..100).map(text).collect::<Vec<_>>(), ports),
        None
    );
    let big = |index: u32| {
        [
            &b"MAGI"[..],
            &index.to_be_bytes(),
            &noise(u64::from(index), 56),
        ]
        .concat()
    };
    assert_eq!(
        protocol(&(0..100).map(big).collect::<Vec<_>>(), ports),
        None
    );
    for len in [28, 44, 60, 88, 144] {
        let little = |index: u32| [&index.to_le_bytes()[..], &vec![0; len]].concat();
        assert_eq!(
            protocol(&(0..100).map(little).collect::<Vec<_>>(), ports),
            None
        );
    }
    for seed in 0..50 {
        let random = |index: u64| noise(seed * 1000 + index, 20 + (index as usize * 37) % 1200);
        assert_eq!(
            protocol(&(0..64).map(random).collect::<Vec<_>>(), ports),
            None
        );
    }
}

#[test]
fn names_reach_the_facts() {
    let mut reader = DatagramReader::default();
    let asked = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01";
    reader.datagram(C, asked, 27, at(1), (40_000, 1053));
    assert_eq!(reader.protocol(), Some("dns"));
    let facts = reader.finish();
    assert_eq!((facts.protocol, facts.dns.len()), (AppProtocol::Dns, 1));
}

proptest! {
    #[test]
    fn any_datagrams(all in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..100), any::<u32>()), 0..20), port in any::<u16>()) {
        let mut reader = DatagramReader::default();
        for ((from_client, bytes, len), frame) in all.iter().zip(1..) {
            reader.datagram(if *from_client { C } else { S }, bytes, *len, at(frame), (port, 443));
        }
        let _ = reader.finish();
    }
}
