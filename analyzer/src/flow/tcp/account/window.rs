//! The windows that an end advertises: their range, and when they close and open (RFC 9293 §3.8.6).

use crate::event::EventKind;

use super::{Segment, TcpTracker};

impl TcpTracker {
    /// Takes the window of a segment.
    pub(super) fn on_window(&mut self, segment: &Segment<'_>) {
        let tcp = segment.tcp;
        if !tcp.flags.ack() || tcp.flags.syn() || tcp.window_cut {
            return;
        }
        let window = segment.reference.window;
        let direction = segment.direction;
        let sender = &mut self.senders[direction.index()];
        sender.last_ack_window = Some(window);
        if window > 0 && sender.window == Some(window) {
            return;
        }
        let before = sender.window.replace(window);
        let stats = &mut sender.stats;
        stats.window_min = Some(stats.window_min.map_or(window, |least| least.min(window)));
        stats.window_max = Some(stats.window_max.map_or(window, |most| most.max(window)));
        if window == 0 && sender.window_closed_at.is_none() && before != Some(0) {
            sender.window_closed_at = Some(segment.packet.time);
            stats.seldom().zero_windows += 1;
            self.event(segment, EventKind::WindowClosed);
        } else if window > 0
            && let Some(closed_at) = sender.window_closed_at.take()
        {
            let closed_for = segment.packet.time.since(closed_at);
            stats.add_closed_window(closed_for);
            self.event(segment, EventKind::WindowOpened { closed_for });
        }
    }
}
