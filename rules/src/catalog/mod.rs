//! All rules, in order of their ids. One file each.

use crate::rule::Rule;

mod client_timeout_close;
mod keepalive_race;
mod linger_zero_reset;
mod listen_overflow;
mod retransmit_hol;
mod stream_framing;
mod transparent_redirect;
mod udp_single_socket;
mod udp_truncation;

/// Every rule there is, by id.
pub(crate) const ALL: &[&dyn Rule] = &[
    &client_timeout_close::ClientTimeoutClose,
    &keepalive_race::KeepaliveRace,
    &linger_zero_reset::LingerZeroReset,
    &listen_overflow::ListenOverflow,
    &retransmit_hol::RetransmitHol,
    &stream_framing::StreamFraming,
    &transparent_redirect::TransparentRedirect,
    &udp_single_socket::UdpSingleSocket,
    &udp_truncation::UdpTruncation,
];
