//! All rules, in order of their ids. One file each.

use crate::rule::Rule;

mod client_timeout_close;
mod close_wait_leak;
mod connection_refused;
mod dns_failure;
mod http_error;
mod idle_drop;
mod injected_reset;
mod ip_fragment_loss;
mod keepalive_dead_peer;
mod keepalive_race;
mod linger_zero_reset;
mod listen_overflow;
mod packet_loss;
mod retransmit_hol;
mod slow_response;
mod stream_framing;
mod syn_unanswered;
mod transparent_redirect;
mod udp_single_socket;
mod udp_truncation;
mod unread_data_reset;

/// Every rule there is, by id.
pub(crate) const ALL: &[&dyn Rule] = &[
    &client_timeout_close::ClientTimeoutClose,
    &close_wait_leak::CloseWaitLeak,
    &connection_refused::ConnectionRefused,
    &dns_failure::DnsFailure,
    &http_error::HttpError,
    &idle_drop::IdleDrop,
    &injected_reset::InjectedReset,
    &ip_fragment_loss::IpFragmentLoss,
    &keepalive_dead_peer::KeepaliveDeadPeer,
    &keepalive_race::KeepaliveRace,
    &linger_zero_reset::LingerZeroReset,
    &listen_overflow::ListenOverflow,
    &packet_loss::PacketLoss,
    &retransmit_hol::RetransmitHol,
    &slow_response::SlowResponse,
    &stream_framing::StreamFraming,
    &syn_unanswered::SynUnanswered,
    &transparent_redirect::TransparentRedirect,
    &udp_single_socket::UdpSingleSocket,
    &udp_truncation::UdpTruncation,
    &unread_data_reset::UnreadDataReset,
];
