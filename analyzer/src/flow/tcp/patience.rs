//! How long a silent connection is kept, and what it gives back meanwhile.

use std::time::Duration;

use crate::time::Timestamp;

use super::{PATIENCE, PATIENCE_SYN, TcpTracker, sender};

/// A connection that was silent for as long may stay so: it gives back memory.
const IDLE: Duration = Duration::from_secs(5);

impl TcpTracker {
    /// How long the connection may stay silent before it is given up, in capture time.
    #[must_use]
    pub fn patience(&self) -> Duration {
        if self.reset_at.is_some() {
            // An end that the RST did not reach sends again for seconds.
            Duration::from_secs(10)
        } else if self.closed_at.is_some() {
            // A FIN is sent again when its ACK was lost behind the capture point: after one
            // timeout, then after twice that.
            let timeouts = self.senders.iter().map(|sender| sender.rtt.rto());
            let timeout = timeouts.max().unwrap_or_default();
            (timeout * 4).clamp(Duration::from_secs(1), Duration::from_secs(10))
        } else if self.is_only_syn() {
            PATIENCE_SYN
        } else {
            PATIENCE
        }
    }

    /// Gives back memory that a silent connection does not need. Changes no verdict.
    pub fn trim(&mut self, now: Timestamp) {
        let idle = now.since(self.end);
        if idle < IDLE {
            return;
        }
        self.recent.forget_after(idle);
        for sender in &mut self.senders {
            sender::give_back(&mut sender.outstanding);
            sender::give_back(&mut sender.repeats);
        }
        self.events.shrink_to_fit();
        self.states.trim();
    }
}
