//! Finds the IP and TCP headers of a decoded packet again, for the fields that the decoder leaves out.
//!
//! A header is taken for the packet's only where its addresses, ports and numbers stand.

use analyzer::decode::{Packet, PacketKind};

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Headers<'a> {
    /// DSCP and ECN.
    pub traffic_class: Option<u8>,
    /// TCP options as captured.
    pub options: Option<&'a [u8]>,
    /// Length of the TCP header, as it says; 0 where there is none.
    pub tcp_len: u8,
}

/// Looks back from the payload of a packet whose octets lie in `bytes`.
pub(super) fn headers<'a>(bytes: &'a [u8], packet: &Packet) -> Headers<'a> {
    let payload = packet.payload_start as usize;
    let Some((transport, options)) = transport(bytes, packet, payload) else {
        return Headers::default();
    };
    let is_tcp = matches!(packet.kind, PacketKind::Tcp(_));
    let offset = bytes.get(transport + 12).filter(|_| is_tcp);
    Headers {
        traffic_class: traffic_class(bytes, packet, transport),
        options,
        tcp_len: offset.map_or(0, |octet| (octet >> 4) * 4),
    }
}

/// Where the transport header begins, and the TCP options.
fn transport<'a>(
    bytes: &'a [u8],
    packet: &Packet,
    payload: usize,
) -> Option<(usize, Option<&'a [u8]>)> {
    let has_ports = |at: usize| {
        bytes.get(at..at + 2) == Some(&packet.src_port.to_be_bytes())
            && bytes.get(at + 2..at + 4) == Some(&packet.dst_port.to_be_bytes())
    };
    let PacketKind::Tcp(tcp) = packet.kind else {
        let at = payload.checked_sub(8)?;
        return has_ports(at).then_some((at, None));
    };
    // Shorter ones were cut by the snap length.
    for back in (14..=60).rev() {
        let Some(at) = payload.checked_sub(back) else {
            continue;
        };
        let len = usize::from(*bytes.get(at + 12)? >> 4) * 4;
        let is_whole = len == back;
        if has_ports(at)
            && bytes.get(at + 4..at + 8) == Some(&tcp.seq.0.to_be_bytes())
            && (is_whole || (len > back && packet.payload_captured == 0))
        {
            let options = is_whole.then(|| &bytes[(at + 20).min(payload)..payload]);
            return Some((at, options));
        }
    }
    None
}

fn traffic_class(bytes: &[u8], packet: &Packet, transport: usize) -> Option<u8> {
    let v4 = packet.src[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    if v4 {
        return (20..=60).step_by(4).find_map(|len| {
            let header = bytes.get(transport.checked_sub(len)?..transport)?;
            let fits = usize::from(header[0] & 15) * 4 == len
                && header[0] >> 4 == 4
                && header[12..16] == packet.src[12..]
                && header[16..20] == packet.dst[12..];
            fits.then_some(header[1])
        });
    }
    // Extension headers come in units of eight octets.
    (40..=104).step_by(8).find_map(|len| {
        let header = bytes.get(transport.checked_sub(len)?..transport)?;
        let fits =
            header[0] >> 4 == 6 && header[8..24] == packet.src && header[24..40] == packet.dst;
        fits.then(|| (header[0] << 4) | (header[1] >> 4))
    })
}
