//! The name a client used for the server it called.

use analyzer::Connection;

/// The name the client used: Host header (no proxy request) or SNI, without port, lower case.
pub(crate) fn name_of(conn: &Connection) -> Option<String> {
    let http = conn.app.http.as_ref().filter(|http| !http.proxy_request);
    let host = http.and_then(|http| http.kept.iter().find_map(|exchange| exchange.host.clone()));
    let sni = conn.app.tls.as_ref().and_then(|tls| tls.sni.clone());
    let name = host.or(sni)?.to_lowercase();
    let name = if name.starts_with('[') {
        name.as_str()
    } else {
        name.split(':').next().unwrap_or("")
    };
    (!name.is_empty()).then(|| name.trim_end_matches('.').to_owned())
}
