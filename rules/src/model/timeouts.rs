//! Inferred timeouts: clustering of measured waits, and the products whose defaults they match.
//!
//! A number alone never names a product: several share 5, 60, 75 and 350 seconds. What is given
//! here is "typical of", beside the measurement that suggested it.

use std::time::Duration;

/// Version of [`DEFAULTS`]; raised with every change of its values.
pub const DEFAULTS_VERSION: &str = "2026-11";

/// What kind of wait a default limits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Wait {
    /// A server (or proxy towards its clients) closes a connection that served its requests.
    ServerIdle,
    /// A client (or proxy towards its servers) closes a pooled connection.
    ClientIdle,
    /// Somebody waits for an answer.
    Answer,
    /// A middle box forgets a connection.
    Path,
}

impl Wait {
    /// The name in the JSON contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServerIdle => "server-idle",
            Self::ClientIdle => "client-idle",
            Self::Answer => "answer",
            Self::Path => "path",
        }
    }
}

/// A documented default.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ProductDefault {
    /// Seconds.
    pub seconds: f64,
    /// Product and setting.
    pub product: &'static str,
    /// What it limits.
    pub wait: Wait,
    /// Where it is documented.
    pub source: &'static str,
}

const fn default(
    seconds: f64,
    product: &'static str,
    wait: Wait,
    source: &'static str,
) -> ProductDefault {
    ProductDefault {
        seconds,
        product,
        wait,
        source,
    }
}

/// Defaults of widely used products, by value.
pub const DEFAULTS: &[ProductDefault] = &[
    default(
        2.0,
        "gunicorn --keep-alive",
        Wait::ServerIdle,
        "gunicorn settings",
    ),
    default(
        4.0,
        "Node.js undici keepAliveTimeout",
        Wait::ClientIdle,
        "undici Client options",
    ),
    default(
        5.0,
        "uvicorn --timeout-keep-alive",
        Wait::ServerIdle,
        "uvicorn settings",
    ),
    default(
        5.0,
        "Node.js server.keepAliveTimeout (to the 2025 lines)",
        Wait::ServerIdle,
        "Node.js http",
    ),
    default(
        5.0,
        "Apache httpd KeepAliveTimeout",
        Wait::ServerIdle,
        "httpd core",
    ),
    default(
        5.0,
        "glibc resolver timeout",
        Wait::Answer,
        "resolv.conf(5)",
    ),
    default(
        6.0,
        "Node.js server.keepAliveTimeout with its 1 s buffer (2025 lines)",
        Wait::ServerIdle,
        "Node.js http",
    ),
    default(
        15.0,
        "Envoy route timeout",
        Wait::Answer,
        "Envoy FAQ on timeouts",
    ),
    default(
        20.0,
        "Tomcat connectionTimeout in the shipped server.xml",
        Wait::ServerIdle,
        "Tomcat HTTP connector",
    ),
    default(
        30.0,
        "Java HttpClient keep-alive (21 and later)",
        Wait::ClientIdle,
        "java.net.http",
    ),
    default(
        60.0,
        "AWS ALB and CLB idle timeout",
        Wait::ClientIdle,
        "ALB attributes",
    ),
    default(
        60.0,
        "AWS ALB and CLB idle timeout",
        Wait::Answer,
        "ALB attributes",
    ),
    default(
        60.0,
        "nginx upstream keepalive_timeout",
        Wait::ClientIdle,
        "ngx_http_upstream_module",
    ),
    default(
        60.0,
        "nginx proxy_read_timeout",
        Wait::Answer,
        "ngx_http_proxy_module",
    ),
    default(
        60.0,
        "Tomcat connectionTimeout (built in)",
        Wait::ServerIdle,
        "Tomcat HTTP connector",
    ),
    default(
        65.0,
        "Oracle OCI load balancer towards clients",
        Wait::ServerIdle,
        "OCI load balancing",
    ),
    default(
        66.0,
        "Node.js server.keepAliveTimeout (2026 lines, with 1 s buffer)",
        Wait::ServerIdle,
        "Node.js http",
    ),
    default(
        72.0,
        "Fastify keepAliveTimeout",
        Wait::ServerIdle,
        "Fastify server options",
    ),
    default(
        75.0,
        "nginx keepalive_timeout",
        Wait::ServerIdle,
        "ngx_http_core_module",
    ),
    default(
        90.0,
        "Go http.DefaultTransport.IdleConnTimeout",
        Wait::ClientIdle,
        "net/http",
    ),
    default(
        120.0,
        "Caddy upstream idle",
        Wait::ClientIdle,
        "Caddy reverse_proxy",
    ),
    default(
        240.0,
        "Azure Load Balancer idle timeout",
        Wait::Path,
        "Azure load balancer",
    ),
    default(
        300.0,
        "undici headers and body timeout",
        Wait::Answer,
        "undici Client options",
    ),
    default(
        300.0,
        "F5 TCP profile, OCI load balancer towards backends",
        Wait::Path,
        "vendor manuals",
    ),
    default(
        350.0,
        "AWS NLB, NAT gateway, EC2 tracking on Nitro v6",
        Wait::Path,
        "NLB idle timeout",
    ),
    default(
        600.0,
        "Google HTTP(S) load balancer to its backends",
        Wait::ClientIdle,
        "Google Cloud load balancing",
    ),
    default(
        1200.0,
        "Google Cloud NAT, established TCP",
        Wait::Path,
        "Cloud NAT",
    ),
    default(
        3600.0,
        "Envoy HTTP idle_timeout",
        Wait::ServerIdle,
        "Envoy FAQ on timeouts",
    ),
    default(
        3600.0,
        "Envoy HTTP idle_timeout",
        Wait::ClientIdle,
        "Envoy FAQ on timeouts",
    ),
    default(
        3600.0,
        "common firewall idle limit for TCP",
        Wait::Path,
        "vendor manuals",
    ),
    default(7200.0, "Linux TCP keep-alive time", Wait::Path, "ip-sysctl"),
    default(
        432_000.0,
        "Linux conntrack, established",
        Wait::Path,
        "nf_conntrack-sysctl",
    ),
];

/// The defaults a measured wait agrees with, within 2 % or 0.3 s, whichever is more.
///
/// A tenth of the value at most, so that short waits do not match everything. Timers fire late
/// and never early, so what lies below is only accepted within the smaller of both.
#[must_use]
pub fn matching(measured_ms: f64, wait: Wait) -> Vec<&'static ProductDefault> {
    DEFAULTS
        .iter()
        .filter(|known| known.wait == wait)
        .filter(|known| {
            let expected = known.seconds * 1e3;
            let above = (expected * 0.02).max(300.0).min(expected * 0.1);
            let below = (expected * 0.02).min(300.0);
            (-below..=above).contains(&(measured_ms - expected))
        })
        .collect()
}

/// `typical of A and B` for a measured wait, or nothing when no default matches.
#[must_use]
pub fn typical_of(measured_ms: f64, wait: Wait) -> Option<String> {
    let names: Vec<String> = matching(measured_ms, wait)
        .iter()
        .map(|known| known.product.to_owned())
        .collect();
    (!names.is_empty()).then(|| format!("typical of {}", crate::model::text::list(&names)))
}

/// Waits that people choose for answers: a value close to one suggests a timer even alone.
const ROUND_SECONDS: [f64; 14] = [
    0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0,
];

/// Whether a wait lies within 2 % (at least 20 ms) above a value that people choose.
#[must_use]
pub fn is_round(measured_ms: f64) -> bool {
    ROUND_SECONDS.iter().any(|seconds| {
        let expected = seconds * 1e3;
        (-expected * 0.005..=(expected * 0.02).max(20.0)).contains(&(measured_ms - expected))
    })
}

/// Values that agree with one timer, as indices into the input.
#[derive(Clone, PartialEq, Debug)]
pub struct Cluster {
    /// Middle value.
    pub median_ms: f64,
    /// Which of the input values belong to it, by value.
    pub members: Vec<usize>,
}

impl Cluster {
    /// At least three values: a timer rather than chance.
    #[must_use]
    pub fn is_timer(&self) -> bool {
        self.members.len() >= 3
    }
}

/// How far neighbours in one cluster may lie apart: 3 % of the value or 50 ms (timer wheels and
/// busy event loops fire late by some tens of milliseconds).
fn gap_allowed(value_ms: f64) -> f64 {
    (value_ms * 0.03).max(50.0)
}

/// Groups values that lie close together: sorted, split where the gap to the next is larger than
/// one timer explains. Every value belongs to exactly one cluster; clusters by rising value.
#[must_use]
pub fn cluster(values_ms: &[f64]) -> Vec<Cluster> {
    let mut order: Vec<usize> = (0..values_ms.len()).collect();
    order.sort_by(|a, b| values_ms[*a].total_cmp(&values_ms[*b]));
    let mut clusters: Vec<Vec<usize>> = Vec::new();
    for index in order {
        let value = values_ms[index];
        match clusters.last_mut() {
            Some(members)
                if members.last().is_some_and(|last| {
                    value - values_ms[*last] <= gap_allowed(values_ms[*last])
                }) && value - values_ms[members[0]] <= 4.0 * gap_allowed(value) =>
            {
                members.push(index);
            }
            _ => clusters.push(vec![index]),
        }
    }
    clusters
        .into_iter()
        .map(|members| Cluster {
            median_ms: values_ms[members[members.len() / 2]],
            members,
        })
        .collect()
}

/// A value to set above a measured wait: 8 % or 5 s more, whichever is more, in whole seconds
/// (65 s above 60 s).
#[must_use]
pub fn above(measured_ms: f64) -> Duration {
    let margin = (measured_ms * 0.08).max(5_000.0);
    Duration::from_secs_f64(((measured_ms + margin) / 1e3).round())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_products_share_five_seconds() {
        let names = typical_of(5_003.0, Wait::ServerIdle).unwrap();
        assert!(
            names.contains("uvicorn") && names.contains("Apache"),
            "{names}"
        );
        assert!(typical_of(7_700.0, Wait::ServerIdle).is_none());
        assert!(
            typical_of(4_700.0, Wait::ServerIdle).is_none(),
            "timers do not fire early"
        );
    }

    #[test]
    fn clusters_part_where_one_timer_does_not_reach() {
        let clusters = cluster(&[5_001.0, 60_010.0, 5_004.0, 59_990.0, 5_020.0]);
        assert_eq!(clusters.len(), 2);
        assert_eq!(clusters[0].members, [0, 2, 4]);
        assert!(clusters[0].is_timer() && !clusters[1].is_timer());
    }

    #[test]
    fn round_values_and_margins() {
        assert!(is_round(2_004.0) && is_round(30_300.0));
        assert!(!is_round(1_340.0));
        assert_eq!(above(60_000.0).as_secs(), 65);
        assert_eq!(above(350_000.0).as_secs(), 378);
    }
}
