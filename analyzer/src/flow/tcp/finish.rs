//! The end of tracking: the read model of the connection.

use crate::addr::Transport;
use crate::connection::{Close, Connection};

use super::TcpTracker;

impl TcpTracker {
    /// Ends tracking and hands over what is known.
    #[must_use]
    pub fn finish(self: Box<Self>, expired: bool) -> Connection {
        let mut connection = Connection::unseen();
        self.fill(expired, &mut connection);
        connection
    }

    /// [`Self::finish`] into a [`Connection::unseen`].
    pub(crate) fn fill(mut self: Box<Self>, expired: bool, connection: &mut Connection) {
        self.close_open_holes();
        let close = self.close(expired);
        let end = self.end;
        connection.transport = Transport::Tcp;
        connection.client = self.client;
        connection.server = self.answered_from.unwrap_or(self.server);
        connection.role = self.role;
        connection.first_frame = self.first_frame;
        connection.last_frame = self.last_frame;
        connection.start = self.start;
        connection.end = end;
        connection.close = close;
        (
            connection.capture_point,
            connection.capture_point_confidence,
        ) = self.capture_point();
        connection.app = self.stream.finish();
        connection.resets = (self.resets).finish(connection.app.protocol, self.turns.last());
        for (sender, half) in self.senders.iter_mut().zip(&mut connection.halves) {
            sender.finish(end, half);
        }
        let [of_client, of_server] = &mut connection.halves;
        of_client.count_needless(of_server);
        of_server.count_needless(of_client);
        connection.handshake = self.handshake.finish();
        connection.turns = self.turns.finish();
        if let Some(holes) = self.holes {
            connection.holes = *holes;
        }
        connection.idle_gaps = self.silences.finish();
        connection.states = self.states.finish();
        connection.events = self.events;
        connection.events_dropped = self.events_dropped;
        connection.port_reuse = self.port_reuse;
        connection.translated_from = self.answered_from.map(|_| self.server);
        connection.time_split = self.split.finish(end);
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
