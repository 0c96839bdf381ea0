//! The windows that an end advertises: their range, and when they close and open (RFC 9293 §3.8.6).

use crate::event::EventKind;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::SenderState;

/// Takes the window of a segment; gives the event when it closes the sender's window or opens it.
pub(in crate::flow::tcp) fn take(
    sender: &mut SenderState,
    segment: &Segment<'_>,
) -> Option<EventKind> {
    let tcp = segment.tcp;
    if !tcp.flags.ack() || tcp.flags.syn() || tcp.window_cut {
        return None;
    }
    let window = segment.reference.window;
    sender.last_ack_window = Some(window);
    if window > 0 && sender.window == Some(window) {
        return None;
    }
    let before = sender.window.replace(window);
    let stats = &mut sender.stats;
    stats.window_min = Some(stats.window_min.map_or(window, |least| least.min(window)));
    stats.window_max = Some(stats.window_max.map_or(window, |most| most.max(window)));
    if window == 0 && sender.window_closed_at.is_none() && before != Some(0) {
        sender.window_closed_at = Some(segment.packet.time);
        stats.seldom().zero_windows += 1;
        return Some(EventKind::WindowClosed);
    }
    let closed_at = sender.window_closed_at.take_if(|_| window > 0)?;
    let closed_for = segment.packet.time.since(closed_at);
    stats.add_closed_window(closed_for);
    Some(EventKind::WindowOpened { closed_for })
}
