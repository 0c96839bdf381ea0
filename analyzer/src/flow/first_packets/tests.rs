use proptest::prelude::*;

use super::*;

prop_compose! {
    /// A segment that may be kept, between the two ends of one flow, and its payload.
    fn segment()(
        from_low: bool,
        numbers: (u64, i64, u32, u32, u32, u32),
        halves: (u16, Option<u16>, Option<u16>),
        octets in (any::<u8>(), any::<u8>(), 0..4_u8, any::<Option<u8>>()),
        timestamps: Option<(u32, u32)>,
        marks: (bool, bool, bool),
        payload in proptest::collection::vec(any::<u8>(), 0..100),
        missing in 0..2000_u32,
    ) -> (Packet, TcpFields, Vec<u8>) {
        let (frame, time, seq, ack, wire_len, observation_point) = numbers;
        let (window_field, ip_id, mss) = halves;
        let (flags, hop_limit, ecn, window_shift) = octets;
        let (dont_fragment, reassembled, sack_permitted) = marks;
        let tcp = TcpFields {
            seq: SeqNumber(seq),
            ack: SeqNumber(ack),
            flags: TcpFlags(flags & !(TcpFlags::RST | TcpFlags::SYN)),
            window_field,
            timestamps,
            mss,
            window_shift,
            sack_permitted,
            ..TcpFields::default()
        };
        let captured = u32::try_from(payload.len()).unwrap();
        let (low, high) = (([1; 16], 80), ([2; 16], 40_000));
        let (source, destination) = if from_low { (low, high) } else { (high, low) };
        let packet = Packet {
            frame,
            time: Timestamp::from_nanos(time),
            src: source.0,
            dst: destination.0,
            src_port: source.1,
            dst_port: destination.1,
            wire_len,
            payload_len: captured + missing,
            payload_start: 0,
            payload_captured: captured,
            ip_id,
            hop_limit,
            ecn,
            dont_fragment,
            reassembled,
            observation_point,
            kind: PacketKind::Tcp(tcp),
        };
        (packet, tcp, payload)
    }
}

proptest! {
    #[test]
    fn packets_come_back_as_they_were(
        segments in proptest::collection::vec(segment(), 1..40),
    ) {
        let (key, first) = FlowKey::of(&segments[0].0);
        let opening = (&segments[0].0, &segments[0].1);
        let mut kept_flow = FirstSegments::new(&Record::of_segment(opening.0, opening.1, first));
        let mut kept = vec![(Packet { payload_len: 0, payload_captured: 0, ..*opening.0 }, &[][..])];
        for (packet, tcp, payload) in &segments {
            let (_, sender) = FlowKey::of(packet);
            if kept_flow.push(sender, packet, tcp, payload) {
                kept.push((*packet, payload));
            }
        }
        prop_assert!(kept.len() > 1 && kept.len() <= usize::from(SEGMENTS.packets));
        let segments = kept_flow.segments();
        let segments: Vec<_> = segments.map(|one| (one.segment(&key), one.payload)).collect();
        prop_assert_eq!(segments, kept);
    }
}
