use super::*;

#[test]
fn flows_take_as_little_as_promised() {
    let place = Arena::<Flow>::PLACE;
    assert!(place <= 96, "only a SYN: {place} octets");
}

/// A connection that is established, with a request and an answer: what it takes, with all that
/// hangs on it.
#[test]
fn an_established_connection_takes_as_little_as_promised() {
    let packet = |from_client: bool, flags: u8, payload: usize| {
        let (mut client, mut server) = ([0; 16], [0; 16]);
        (client[15], server[15]) = (1, 2);
        let tcp = TcpFields {
            flags: TcpFlags(flags),
            ..TcpFields::default()
        };
        let (src, dst) = if from_client {
            (client, server)
        } else {
            (server, client)
        };
        let packet = Packet {
            frame: 1,
            time: Timestamp::default(),
            src,
            dst,
            src_port: if from_client { 40_000 } else { 80 },
            dst_port: if from_client { 80 } else { 40_000 },
            wire_len: 66,
            payload_len: u32::try_from(payload).unwrap(),
            payload_start: 0,
            payload_captured: u32::try_from(payload).unwrap(),
            ip_id: Some(1),
            hop_limit: 64,
            ecn: 0,
            dont_fragment: true,
            reassembled: false,
            observation_point: 0,
            kind: PacketKind::Tcp(tcp),
        };
        (packet, tcp, vec![b'x'; payload])
    };
    const SYN: u8 = TcpFlags::SYN;
    const ACK: u8 = TcpFlags::ACK;
    let (syn, tcp, _) = packet(true, SYN, 0);
    let syn = Record::of_segment(&syn, &tcp, FlowKey::of(&syn).1);
    let mut first = FirstSegments::new(&syn);
    for (from_client, flags, payload) in [
        (false, SYN | ACK, 0),
        (true, ACK, 0),
        (true, ACK, 42),
        (false, ACK, 0),
        (false, ACK, 42),
        (true, ACK, 0),
    ] {
        let (packet, tcp, payload) = packet(from_client, flags, payload);
        let (_, sender) = FlowKey::of(&packet);
        assert!(first.push(sender, &packet, &tcp, &payload));
    }
    let octets = Arena::<Flow>::PLACE + first.octets();
    assert!(octets <= 700, "established: {octets} octets");
}
