//! The end of tracking: the read model of the connection.

use crate::addr::Transport;
use crate::connection::{Close, Connection, Holes};

use super::TcpTracker;

impl TcpTracker {
    /// Ends tracking and hands over what is known.
    #[must_use]
    pub fn finish(mut self: Box<Self>, expired: bool) -> Connection {
        self.close_open_holes();
        let close = self.close(expired);
        let end = self.end;
        let (capture_point, capture_point_confidence) = self.capture_point();
        let app = self.stream.finish();
        let resets = self.resets.finish(app.protocol, self.turns.last());
        let mut halves = self.senders.each_mut().map(|sender| sender.finish(end));
        let [client, server] = &mut halves;
        client.count_needless(server);
        server.count_needless(client);
        Connection {
            transport: Transport::Tcp,
            client: self.client,
            server: self.answered_from.unwrap_or(self.server),
            role: self.role,
            first_frame: self.first_frame,
            last_frame: self.last_frame,
            start: self.start,
            end: self.end,
            halves,
            close,
            handshake: self.handshake.finish(),
            turns: self.turns.finish(),
            holes: self.holes.map_or_else(Holes::default, |holes| *holes),
            idle_gaps: self.silences.finish(),
            resets,
            states: self.states.finish(),
            events: self.events,
            events_dropped: self.events_dropped,
            capture_point,
            capture_point_confidence,
            port_reuse: self.port_reuse,
            translated_from: self.answered_from.map(|_| self.server),
            process: None,
            proxied_to: None,
            app,
            udp: None,
            time_split: self.split.finish(end),
        }
    }

    fn close(&self, expired: bool) -> Close {
        let fins = self
            .senders
            .iter()
            .filter(|sender| sender.stats.fin.is_some())
            .count();
        if self.reset_at.is_some() {
            Close::Reset
        } else if fins == 2 {
            Close::Fin
        } else if expired {
            Close::Timeout
        } else {
            Close::Open
        }
    }
}
