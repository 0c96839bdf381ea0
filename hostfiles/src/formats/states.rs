//! Socket states, by the name that `ss` gives them.

const STATES: [(&str, &str); 24] = [
    ("ESTAB", "ESTAB"),
    ("ESTABLISHED", "ESTAB"),
    ("SYN-SENT", "SYN-SENT"),
    ("SYN_SENT", "SYN-SENT"),
    ("SYN-RECV", "SYN-RECV"),
    ("SYN_RECV", "SYN-RECV"),
    ("FIN-WAIT-1", "FIN-WAIT-1"),
    ("FIN_WAIT1", "FIN-WAIT-1"),
    ("FIN-WAIT-2", "FIN-WAIT-2"),
    ("FIN_WAIT2", "FIN-WAIT-2"),
    ("TIME-WAIT", "TIME-WAIT"),
    ("TIME_WAIT", "TIME-WAIT"),
    ("CLOSE-WAIT", "CLOSE-WAIT"),
    ("CLOSE_WAIT", "CLOSE-WAIT"),
    ("LAST-ACK", "LAST-ACK"),
    ("LAST_ACK", "LAST-ACK"),
    ("CLOSING", "CLOSING"),
    ("CLOSE", "UNCONN"),
    ("CLOSED", "UNCONN"),
    ("UNCONN", "UNCONN"),
    ("LISTEN", "LISTEN"),
    ("NEW_SYN_RECV", "SYN-RECV"),
    ("FIN_WAIT_1", "FIN-WAIT-1"),
    ("FIN_WAIT_2", "FIN-WAIT-2"),
];

/// The name of a state, however a tool spells it.
pub(super) fn state(text: &str) -> Option<&'static str> {
    let found = STATES.iter().find(|(name, _)| *name == text);
    found.map(|(_, state)| *state)
}
