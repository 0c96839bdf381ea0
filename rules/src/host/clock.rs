//! The times of files in the time of the capture.

use std::collections::BTreeMap;

use analyzer::Transport;
use hostfiles::{Clock, Opening, Place};

use super::join::{DAY, Joined, NEAR, Offset};

impl Joined {
    /// The time of a line in the time of the capture; `None` when it is not known.
    pub(super) fn time_of(&self, place: Place) -> Option<i64> {
        let file = &self.files.files[place.at.file];
        let time = place.time.or(file.taken)?;
        let offset = self.known[place.at.file].offset.map(|offset| offset.nanos);
        match file.clock {
            _ if place.time.is_none() => Some(time),
            Clock::Epoch => Some(time.saturating_add(offset.unwrap_or(0))),
            Clock::Local | Clock::Day | Clock::Elapsed => Some(time.saturating_add(offset?)),
            Clock::None => None,
        }
    }

    /// Whether a snapshot may be of the time of the capture.
    pub(super) fn is_near(&self, place: Place) -> bool {
        let file = &self.files.files[place.at.file];
        let (first, last) = self.span;
        match (place.time.or(file.taken), file.clock) {
            (Some(time), Clock::Epoch | Clock::None) => {
                (first.saturating_sub(NEAR)..=last.saturating_add(NEAR)).contains(&time)
            }
            (Some(time), Clock::Local) if file.taken.is_none() => {
                (first.saturating_sub(DAY)..=last.saturating_add(DAY)).contains(&time)
            }
            (Some(_), _) if file.taken.is_some() => {
                let taken = file.taken.unwrap_or(first);
                (first.saturating_sub(NEAR)..=last.saturating_add(NEAR)).contains(&taken)
            }
            _ => true,
        }
    }

    /// Compares the times of calls with those of the packets they made.
    pub(super) fn set_clocks(&mut self) {
        let mut all = BTreeMap::<usize, Vec<i64>>::new();
        for (at, sockets) in self.traced.iter().enumerate() {
            let one = &self.watched[at];
            for (number, end) in sockets {
                let socket = &self.files.facts.traced[*number];
                let differences = all.entry(socket.place.at.file).or_default();
                let mut add = |call: Option<i64>, packet: Option<i64>| {
                    if let (Some(call), Some(packet)) = (call, packet) {
                        differences.push(packet.saturating_sub(call));
                    }
                };
                let sent = one.sent(*end);
                if socket.opening == Opening::Connect && one.connection.transport == Transport::Tcp
                {
                    let syn = one.syn.filter(|syn| syn.flags.syn());
                    add(
                        socket.opened.and_then(|call| call.time),
                        syn.map(|syn| syn.time.as_nanos()),
                    );
                }
                let written = socket.first_write.and_then(|call| call.time);
                if socket.opened.is_some() {
                    add(written, sent.first_data.map(|data| data.as_nanos()));
                }
                let closed = socket.shutdown.or(socket.closed).and_then(|call| call.time);
                add(closed, sent.fin.map(|fin| fin.as_nanos()));
            }
        }
        for (file, mut differences) in all {
            differences.sort_unstable();
            if let Some(median) = differences.get(differences.len() / 2) {
                self.known[file].offset = Some(Offset {
                    nanos: *median,
                    calls: differences.len(),
                });
            }
        }
    }

    /// A trace whose clock is off by more than clocks are is of another time.
    pub(super) fn drop_other_times(&mut self) {
        for number in 0..self.known.len() {
            let file = &self.files.files[number];
            let limit = match file.clock {
                Clock::Epoch => NEAR,
                Clock::Local => DAY,
                _ => continue,
            };
            let Some(offset) = self.known[number].offset else {
                continue;
            };
            if offset.nanos.saturating_abs() <= limit {
                continue;
            }
            self.known[number].offset = None;
            for sockets in &mut self.traced {
                let before = sockets.len();
                sockets
                    .retain(|(socket, _)| self.files.facts.traced[*socket].place.at.file != number);
                self.known[number].other_time += (before - sockets.len()) as u64;
            }
        }
    }
}
