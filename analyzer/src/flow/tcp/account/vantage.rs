//! Where the capture was taken, seen from one connection.

use std::time::Duration;

use crate::connection::CapturePoint;
use crate::flow::tcp::sender::SenderState;

/// An end answers by itself within this time; what takes longer has crossed a network.
const LOCAL_TURNAROUND: Duration = Duration::from_micros(300);

/// Compares the round trips to either side: the one that is next to nothing is the near end.
///
/// The handshake is the best witness (a kernel answers a SYN at once); later samples may contain
/// delayed acknowledgements, which only make the near side look farther.
pub(in crate::flow::tcp) fn capture_point(senders: &[SenderState; 2]) -> (CapturePoint, f64) {
    let [client, server] = senders;
    // The client's segments travel to the server and back: the server's side of the path.
    let (Some(to_server), Some(to_client)) = (client.rtt.min(), server.rtt.min()) else {
        return (CapturePoint::Unknown, 0.0);
    };
    let total = to_server + to_client;
    if total < LOCAL_TURNAROUND {
        return (CapturePoint::Unknown, 0.0);
    }
    let near_limit = (total / 8).max(Duration::from_micros(100));
    let samples = client.rtt.samples().min(server.rtt.samples());
    let confidence = if samples >= 3 { 0.9 } else { 0.7 };
    if to_server <= near_limit && to_server < to_client {
        (CapturePoint::Server, confidence)
    } else if to_client <= near_limit && to_client < to_server {
        (CapturePoint::Client, confidence)
    } else {
        (CapturePoint::Between, confidence - 0.2)
    }
}
