//! Ctrl-C and its kin: the first ends reading, the second everything; nothing half-written stays.

use std::process::ExitCode;
use std::sync::OnceLock;
use std::thread;

use analyzer::capture::StopFlag;
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::log;
use crate::output::remove_partial;

/// What the first interrupt sets, once somebody asked for it.
static FIRST: OnceLock<StopFlag> = OnceLock::new();

/// Waits for signals on a thread of its own. Without it signals do what they do to any program.
pub fn listen() {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else {
        return;
    };
    let wait = move || {
        for signal in signals.forever() {
            match FIRST.get() {
                Some(stop) if signal == SIGINT && !stop.is_set() => {
                    stop.stop();
                    log::say(
                        "interrupted",
                        "pcapdoc: interrupted: reports what was read; again to end at once",
                        json!({}),
                    );
                }
                _ => {
                    remove_partial();
                    // Dies of the signal, as whoever sent it expects.
                    let _ = emulate_default_handler(signal);
                }
            }
        }
    };
    // Without the thread the program would be deaf to signals; then it is better off as it was.
    if thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .is_err()
    {
        log::say(
            "signals_not_handled",
            "pcapdoc: signals are not handled",
            json!({}),
        );
    }
}

/// From now on the first interrupt only sets the flag.
pub fn stop_first() -> StopFlag {
    FIRST.get_or_init(StopFlag::default).clone()
}

/// The status after an interrupt: 128 and the number of the signal.
pub fn exit_code() -> ExitCode {
    ExitCode::from(130)
}
