//! All rules, in order of their ids: one file each, or one folder when tests or words lie apart.

use crate::model::rule::Rule;

mod bufferbloat;
mod client_timeout_close;
mod close_wait_leak;
mod connection_refused;
mod delayed_ack_nagle;
mod dns_failure;
mod http_error;
mod icmp_unreachable;
mod idle_drop;
mod injected_reset;
mod ip_fragment_loss;
mod keepalive_dead_peer;
mod keepalive_race;
mod linger_zero_reset;
mod listen_overflow;
mod mtu_black_hole;
mod packet_loss;
mod port_reuse_collision;
mod reordering;
mod retransmit_hol;
mod routing_loop;
mod slow_response;
mod spurious_retransmission;
mod stream_framing;
mod syn_unanswered;
mod tls_handshake_failure;
mod transparent_redirect;
mod udp_single_socket;
mod udp_truncation;
mod unread_data_reset;
mod window_limited;
mod zero_window_stall;

/// Every rule there is, by id.
pub(crate) const ALL: &[&dyn Rule] = &[
    &bufferbloat::Bufferbloat,
    &client_timeout_close::ClientTimeoutClose,
    &close_wait_leak::CloseWaitLeak,
    &connection_refused::ConnectionRefused,
    &delayed_ack_nagle::DelayedAckNagle,
    &dns_failure::DnsFailure,
    &http_error::HttpError,
    &icmp_unreachable::IcmpUnreachable,
    &idle_drop::IdleDrop,
    &injected_reset::InjectedReset,
    &ip_fragment_loss::IpFragmentLoss,
    &keepalive_dead_peer::KeepaliveDeadPeer,
    &keepalive_race::KeepaliveRace,
    &linger_zero_reset::LingerZeroReset,
    &listen_overflow::ListenOverflow,
    &mtu_black_hole::MtuBlackHole,
    &packet_loss::PacketLoss,
    &port_reuse_collision::PortReuseCollision,
    &reordering::Reordering,
    &retransmit_hol::RetransmitHol,
    &routing_loop::LoopedPackets,
    &slow_response::SlowResponse,
    &spurious_retransmission::SpuriousRetransmission,
    &stream_framing::StreamFraming,
    &syn_unanswered::SynUnanswered,
    &tls_handshake_failure::TlsHandshakeFailure,
    &transparent_redirect::TransparentRedirect,
    &udp_single_socket::UdpSingleSocket,
    &udp_truncation::UdpTruncation,
    &unread_data_reset::UnreadDataReset,
    &window_limited::WindowLimited,
    &zero_window_stall::ZeroWindowStall,
];
