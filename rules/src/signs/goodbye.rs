//! Messages that end a conversation rather than ask for something.

use analyzer::Connection;
use analyzer::app::AppProtocol;
pub(crate) use analyzer::app::{GOODBYE_TO_FIN, TLS_GOODBYE_OCTETS};
use analyzer::event::SegmentRef;

/// A goodbye in another protocol (`QUIT`, MySQL and PostgreSQL terminate); `GET / HTTP/1.1` and
/// its line ends are longer.
const GOODBYE_OCTETS: u64 = 17;

/// Whether `octets` at the end of an encrypted connection are housekeeping at most.
pub(crate) fn is_tls_housekeeping(conn: &Connection, octets: u64) -> bool {
    matches!(conn.app.protocol, AppProtocol::Tls | AppProtocol::Http2)
        && octets <= TLS_GOODBYE_OCTETS
}

/// The client's data is its goodbye: short, and its FIN leaves with it.
pub(crate) fn is_of_client(conn: &Connection, request: SegmentRef, octets: u64) -> bool {
    let limit = match conn.app.protocol {
        AppProtocol::Tls | AppProtocol::Http2 => TLS_GOODBYE_OCTETS,
        AppProtocol::Http1 => return false,
        _ => GOODBYE_OCTETS,
    };
    let usual = conn.turns.before_last.map(|turn| turn.request.octets);
    let fin_at_once = conn
        .from_client()
        .fin
        .is_some_and(|fin| fin.time.since(request.time) <= GOODBYE_TO_FIN);
    octets <= limit && fin_at_once && usual != Some(octets)
}
