//! When flows end of themselves: of silence, or for want of memory.

use crate::connection::ConnectionSink;
use crate::flow::arena::FlowId;
use crate::flow::entry::Flow;
use crate::time::Timestamp;

use super::{SWEEP_EVERY, Shard};

impl<S: ConnectionSink> Shard<S> {
    /// Hands over what went silent. Each look costs the whole shard, so one is due only after as
    /// many packets: a capture whose clock jumps cannot make it slow.
    pub(super) fn sweep(&mut self) {
        self.since_sweep += 1;
        if self.now < self.next_sweep || self.since_sweep <= self.flows.len() {
            return;
        }
        self.since_sweep = 0;
        self.next_sweep = self.now + SWEEP_EVERY;
        let now = self.now;
        let mut due = Vec::new();
        for (id, flow) in self.flows.iter_mut() {
            let may_be_closed = flow.may_be_closed(now);
            if may_be_closed || flow.is_silent(now) {
                due.push((flow.first_frame(), id, may_be_closed));
            } else if let Flow::Tcp(tracker) = flow {
                tracker.trim(now);
            }
        }
        due.sort_unstable();
        // One after the other, so that a tracker is still in the cache when it is handed over.
        for (_, id, may_be_closed) in due {
            if may_be_closed && !self.is_closed_and_silent(id, now) {
                continue;
            }
            self.take_out(id, true);
        }
    }

    /// Whether a flow of a few packets that saw a FIN is over; only a tracker can tell, so it gets one.
    fn is_closed_and_silent(&mut self, id: FlowId, now: Timestamp) -> bool {
        self.grow(id);
        let grown = self.flows.get(id);
        grown.is_some_and(|(_, flow)| flow.is_silent(now))
    }

    /// The flow, unless it was silent for too long when a packet comes: then it ends here whether or
    /// not a sweep came by. Sweeps depend on what else passes, and never change a result.
    #[cold]
    pub(super) fn unless_silent(&mut self, id: FlowId, time: Timestamp) -> Option<FlowId> {
        let (_, flow) = self.flows.get(id)?;
        let is_over = if flow.may_be_closed(time) {
            self.is_closed_and_silent(id, time)
        } else {
            flow.is_silent(time)
        };
        if is_over {
            self.take_out(id, true);
        }
        (!is_over).then_some(id)
    }

    /// Ends closed connections early when half of the budget is used, and others when all of it
    /// is: those that were silent for longest, until a quarter of that part is free again. Before
    /// that, what is held of single segments is given back.
    pub(super) fn relieve(&mut self) {
        self.since_relief = 0;
        if self.cost > self.budget {
            for (_, flow) in self.flows.iter_mut() {
                if let Flow::Tcp(tracker) = flow {
                    let held = tracker.octets_held();
                    tracker.shed();
                    self.cost = self.cost + tracker.octets_held() - held;
                }
            }
        }
        let over = self.cost > self.budget;
        let now = self.now;
        let mut idle: Vec<_> = self
            .flows
            .iter_mut()
            .filter(|(_, flow)| flow.may_end_early(now) || over)
            .map(|(id, flow)| {
                let open = !flow.may_end_early(now);
                (open, flow.last_activity(), flow.first_frame(), id)
            })
            .collect();
        idle.sort_unstable();
        for (open, _, _, id) in idle {
            let limit = if open { self.budget } else { self.budget / 2 };
            if self.cost <= limit / 4 * 3 {
                break;
            }
            self.tally.limits.given_up += 1;
            self.take_out(id, true);
        }
    }
}
