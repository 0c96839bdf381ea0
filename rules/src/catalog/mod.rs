//! All rules, in order of their ids. One file each.

use crate::rule::Rule;

mod client_timeout_close;
mod connection_refused;
mod http_error;
mod injected_reset;
mod keepalive_race;
mod linger_zero_reset;
mod listen_overflow;
mod packet_loss;
mod retransmit_hol;
mod stream_framing;
mod syn_unanswered;
mod transparent_redirect;
mod udp_single_socket;
mod udp_truncation;
mod unread_data_reset;

/// Every rule there is, by id.
pub(crate) const ALL: &[&dyn Rule] = &[
    &client_timeout_close::ClientTimeoutClose,
    &connection_refused::ConnectionRefused,
    &http_error::HttpError,
    &injected_reset::InjectedReset,
    &keepalive_race::KeepaliveRace,
    &linger_zero_reset::LingerZeroReset,
    &listen_overflow::ListenOverflow,
    &packet_loss::PacketLoss,
    &retransmit_hol::RetransmitHol,
    &stream_framing::StreamFraming,
    &syn_unanswered::SynUnanswered,
    &transparent_redirect::TransparentRedirect,
    &udp_single_socket::UdpSingleSocket,
    &udp_truncation::UdpTruncation,
    &unread_data_reset::UnreadDataReset,
];
