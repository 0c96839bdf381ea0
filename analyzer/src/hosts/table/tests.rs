use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::decode::TcpFields;
use crate::hosts::Hosts;
use crate::seq::SeqNumber;

fn packet(frame: u64, (time, from, to, flags): (u32, u8, u8, u8)) -> Packet {
    let address = |last: u8| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, last];
    let tcp = TcpFields {
        seq: SeqNumber(frame as u32),
        flags: TcpFlags(flags),
        timestamps: Some((time / 1000, 0)),
        ..TcpFields::default()
    };
    Packet {
        frame,
        time: Timestamp::from_nanos(i64::from(time) * 10_000),
        src: address(from),
        dst: address(to),
        src_port: 1,
        dst_port: 2,
        wire_len: 60,
        payload_len: 0,
        payload_start: 0,
        payload_captured: 0,
        ip_id: Some(time as u16),
        hop_limit: 60 + flags % 4,
        ecn: 0,
        dont_fragment: true,
        reassembled: false,
        observation_point: 0,
        kind: PacketKind::Tcp(tcp),
    }
}

fn hosts(tables: impl Iterator<Item = HostTable>) -> Hosts {
    let joined = tables.reduce(|mut one, other| {
        one.merge(other);
        one
    });
    Hosts::of(joined.unwrap_or_default(), &BTreeMap::new(), HashMap::new())
}

proptest! {
    #[test]
    fn shards_and_their_order_do_not_show(
        packets in proptest::collection::vec((0..2_000_000_u32, 0..5_u8, 0..5_u8, 0..32_u8), 1..300),
    ) {
        let packets: Vec<Packet> = (1..).zip(&packets).map(|(frame, one)| packet(frame, *one)).collect();
        let table = |of: &dyn Fn(&Packet) -> bool| {
            let mut table = HostTable::new(Timestamp::from_nanos(5_000));
            for packet in packets.iter().filter(|packet| of(packet)) {
                table.packet(packet, || packet.ip_id.is_some_and(|id| id % 3 == 0));
            }
            table
        };
        let shard = |number: u8| {
            move |packet: &Packet| (packet.src[15] + packet.dst[15]) % 4 == number
        };
        let whole = hosts(std::iter::once(table(&|_| true)));
        let forth = hosts((0..4).map(|number| table(&shard(number))));
        let back = hosts((0..4).rev().map(|number| table(&shard(number))));
        prop_assert_eq!(&forth, &whole);
        prop_assert_eq!(&back, &whole);
    }
}
