//! Which end of a flow is the client.

use std::net::IpAddr;

use crate::connection::Role;
use crate::decode::{Packet, TcpFields};

/// Who opened the connection, judged from its first packet: the role and whether the packet's
/// source is the client.
pub(super) fn judge_role(packet: &Packet, tcp: &TcpFields) -> (Role, bool) {
    if tcp.flags.syn() {
        let role = if tcp.flags.ack() {
            Role::SynAck
        } else {
            Role::Syn
        };
        return (role, !tcp.flags.ack());
    }
    (
        Role::Judged,
        looks_like_client(packet.src_port, packet.dst_port, packet),
    )
}

/// Whether the source is more likely the client: servers sit on lower, well-known ports; between
/// two ephemeral ports the one who speaks is taken for the client.
pub(crate) fn looks_like_client(source: u16, destination: u16, packet: &Packet) -> bool {
    /// First port of the range that operating systems hand out (Linux 32768, IANA 49152).
    const EPHEMERAL: u16 = 32_768;
    match (source >= EPHEMERAL, destination >= EPHEMERAL) {
        (true, false) => true,
        (false, true) => false,
        (true, true) => source != destination || is_lower(packet),
        (false, false) => source > destination || (source == destination && is_lower(packet)),
    }
}

/// A last, arbitrary but fixed choice between equals.
fn is_lower(packet: &Packet) -> bool {
    let (source, destination): (IpAddr, IpAddr) = (packet.source().ip, packet.destination().ip);
    source < destination
}
