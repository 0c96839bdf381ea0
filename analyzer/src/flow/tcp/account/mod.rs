//! What rules want to know of a connection, each part counted by itself.

pub(super) mod congestion;
pub(super) mod handshake;
pub(super) mod held_writes;
pub(super) mod path_load;
pub(super) mod reset_kinds;
pub(super) mod reset_tracker;
pub(super) mod silence;
pub(super) mod state_tracker;
pub(super) mod stream;
pub(super) mod time_split_tracker;
pub(super) mod turns;
pub(super) mod vantage;
pub(super) mod window;
