//! All rules, in order of their ids: one file each, or one folder when tests or words lie apart.

use crate::model::meta::RuleMeta;
use crate::model::rule::{Rule, RuleVisitor};

mod asymmetric_path;
mod broadcast_loop;
mod bufferbloat;
mod certificate_expiry;
mod chatty_exchange;
mod client_timeout_close;
mod close_wait_leak;
mod closed_after_accept;
mod connection_churn;
mod connection_died;
mod connection_refused;
mod corruption;
mod data_conflict;
mod delayed_ack_nagle;
mod dns_failure;
mod duplicate_address;
mod ecn_congestion;
mod half_open;
mod http2_goaway;
mod http2_stall;
mod http_client_error;
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
mod mtu_reduced;
mod packet_loss;
mod path_outage;
mod port_reuse_collision;
mod reordering;
mod response_cut_short;
mod retransmit_hol;
mod routing_loop;
mod sender_limited;
mod sequence_rewritten;
mod server_saturation;
mod service_error;
mod slow_ack;
mod slow_connect;
mod slow_response;
mod small_window;
mod spurious_retransmission;
mod stream_framing;
mod syn_proxy;
mod syn_unanswered;
mod timeout_recovery;
mod timestamp_rejected;
mod tls_handshake_failure;
mod tls_no_resumption;
mod tls_slow;
mod transparent_redirect;
mod ttl_expired;
mod udp_single_socket;
mod udp_truncation;
mod udp_unanswered;
mod unread_data_reset;
mod window_limited;
mod window_violation;
mod wrong_protocol;
mod zero_window_stall;

/// Shows every rule there is, by id.
pub(crate) fn visit(visitor: &mut impl RuleVisitor) {
    visitor.visit(&asymmetric_path::AsymmetricPath);
    visitor.visit(&broadcast_loop::BroadcastsThatCircle);
    visitor.visit(&bufferbloat::Bufferbloat);
    visitor.visit(&certificate_expiry::CertificateExpiry);
    visitor.visit(&chatty_exchange::ChattyExchange);
    visitor.visit(&client_timeout_close::ClientTimeoutClose);
    visitor.visit(&close_wait_leak::CloseWaitLeak);
    visitor.visit(&closed_after_accept::ClosedAfterAccept);
    visitor.visit(&connection_churn::ConnectionChurn);
    visitor.visit(&connection_died::ConnectionDied);
    visitor.visit(&connection_refused::ConnectionRefused);
    visitor.visit(&corruption::Corruption);
    visitor.visit(&data_conflict::DataConflict);
    visitor.visit(&delayed_ack_nagle::DelayedAckNagle);
    visitor.visit(&dns_failure::DnsFailure);
    visitor.visit(&duplicate_address::AddressHeldTwice);
    visitor.visit(&ecn_congestion::EcnCongestion);
    visitor.visit(&half_open::HalfOpen);
    visitor.visit(&http_client_error::HttpClientError);
    visitor.visit(&http_error::HttpError);
    visitor.visit(&http2_goaway::StreamsGivenUp);
    visitor.visit(&http2_stall::WindowsThatStayClosed);
    visitor.visit(&icmp_unreachable::IcmpUnreachable);
    visitor.visit(&idle_drop::IdleDrop);
    visitor.visit(&injected_reset::InjectedReset);
    visitor.visit(&ip_fragment_loss::IpFragmentLoss);
    visitor.visit(&keepalive_dead_peer::KeepaliveDeadPeer);
    visitor.visit(&keepalive_race::KeepaliveRace);
    visitor.visit(&linger_zero_reset::LingerZeroReset);
    visitor.visit(&listen_overflow::ListenOverflow);
    visitor.visit(&mtu_black_hole::MtuBlackHole);
    visitor.visit(&mtu_reduced::MtuReduced);
    visitor.visit(&packet_loss::PacketLoss);
    visitor.visit(&path_outage::PathOutage);
    visitor.visit(&port_reuse_collision::PortReuseCollision);
    visitor.visit(&reordering::Reordering);
    visitor.visit(&response_cut_short::ResponseCutShort);
    visitor.visit(&retransmit_hol::RetransmitHol);
    visitor.visit(&routing_loop::LoopedPackets);
    visitor.visit(&sender_limited::SenderLimited);
    visitor.visit(&sequence_rewritten::SequenceRewritten);
    visitor.visit(&server_saturation::ServerSaturation);
    visitor.visit(&service_error::ServiceError);
    visitor.visit(&slow_ack::SlowAck);
    visitor.visit(&slow_connect::SlowConnect);
    visitor.visit(&slow_response::SlowResponse);
    visitor.visit(&small_window::SmallWindow);
    visitor.visit(&spurious_retransmission::SpuriousRetransmission);
    visitor.visit(&stream_framing::StreamFraming);
    visitor.visit(&syn_proxy::SynProxy);
    visitor.visit(&syn_unanswered::SynUnanswered);
    visitor.visit(&timeout_recovery::TimeoutRecovery);
    visitor.visit(&timestamp_rejected::TimestampRejected);
    visitor.visit(&tls_handshake_failure::TlsHandshakeFailure);
    visitor.visit(&tls_no_resumption::TlsNoResumption);
    visitor.visit(&tls_slow::TlsSlow);
    visitor.visit(&transparent_redirect::TransparentRedirect);
    visitor.visit(&ttl_expired::TtlExpired);
    visitor.visit(&udp_single_socket::UdpSingleSocket);
    visitor.visit(&udp_truncation::UdpTruncation);
    visitor.visit(&udp_unanswered::UdpUnanswered);
    visitor.visit(&unread_data_reset::UnreadDataReset);
    visitor.visit(&window_limited::WindowLimited);
    visitor.visit(&window_violation::WindowViolation);
    visitor.visit(&wrong_protocol::WrongProtocol);
    visitor.visit(&zero_window_stall::ZeroWindowStall);
}

/// The declarations of all rules, by id.
pub(crate) fn metas() -> Vec<&'static RuleMeta> {
    struct Metas(Vec<&'static RuleMeta>);
    impl RuleVisitor for Metas {
        fn visit<R: Rule>(&mut self, rule: &'static R) {
            self.0.push(rule.meta());
        }
    }
    let mut metas = Metas(Vec::new());
    visit(&mut metas);
    metas.0
}
