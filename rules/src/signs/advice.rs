//! Settings of products that several rules recommend, with measured values put in.

use std::time::Duration;

use crate::model::narrative::Narrative;

/// How to raise a server's idle timeout to `target`; the product that the server's own header
/// names, when it does, comes first.
pub(crate) fn server_idle_timeout(
    mut draft: Narrative,
    target: Duration,
    product: Option<&str>,
) -> Narrative {
    let seconds = target.as_secs();
    let millis = seconds * 1000;
    let why = format!("keep idle connections open for {seconds} s");
    let mut entries: Vec<(&str, &str, String)> = vec![
        ("nginx", "nginx", format!("keepalive_timeout {seconds}s;")),
        (
            "Node.js",
            "node",
            format!(
                "server.keepAliveTimeout = {millis}; server.headersTimeout = {};",
                millis + 1000
            ),
        ),
        (
            "Go",
            "go",
            format!("http.Server{{IdleTimeout: {seconds} * time.Second}}"),
        ),
        (
            "Java (Tomcat)",
            "tomcat",
            format!("<Connector keepAliveTimeout=\"{millis}\" …/>"),
        ),
        (
            "gunicorn",
            "gunicorn",
            format!("--keep-alive {seconds} (needs a threaded or asynchronous worker class)"),
        ),
        (
            "uvicorn",
            "uvicorn",
            format!("--timeout-keep-alive {seconds}"),
        ),
        (
            "Apache httpd",
            "apache",
            format!("KeepAliveTimeout {seconds}"),
        ),
        (
            "Envoy",
            "envoy",
            format!("common_http_protocol_options.idle_timeout: {seconds}s"),
        ),
        (
            "HAProxy",
            "haproxy",
            format!("timeout http-keep-alive {seconds}s"),
        ),
    ];
    if let Some(product) = product.map(str::to_lowercase) {
        // Stable: the one that is there first, the others in their usual order.
        entries.sort_by_key(|(_, word, _)| !product.contains(word));
    }
    for (name, _, setting) in entries {
        draft = draft.set(name, why.clone(), setting);
    }
    draft.set(
        "AWS ALB / Google Cloud / Azure",
        "or lower the load balancer's idle timeout below the server's; the backend must exceed ALB's 60 s and Google's fixed 600 s",
        "AWS: idle_timeout.timeout_seconds; Google backends: 620 s",
    )
}

/// How to make the reusing side give up before a server that closes after `idle_ms`, and retry.
pub(crate) fn client_pool(draft: Narrative, idle_ms: f64) -> Narrative {
    // A fifth below, so that a late timer still loses.
    let below = crate::model::text::seconds((idle_ms * 0.8).max(idle_ms - 5_000.0));
    draft
        .set(
            "Go (client)",
            format!("drop pooled connections before the server's {}", crate::model::text::time(idle_ms)),
            format!("http.Transport{{IdleConnTimeout: {below} * time.Second}}"),
        )
        .set(
            "nginx (proxy)",
            "set both: since 1.29.7 upstream keep-alive is on by default, so setups without this race before now have it",
            format!("upstream {{ keepalive_timeout {below}s; }} proxy_next_upstream error timeout;"),
        )
        .set(
            "Envoy (proxy)",
            "set the idle timeout below the backend's, and retry requests the backend never read",
            format!("cluster idle_timeout: {below}s, retry_on: reset-before-request"),
        )
        .set(
            "HAProxy (proxy)",
            "drop idle backend connections early and retry unanswered requests",
            format!("pool-purge-delay {below}s; retry-on conn-failure empty-response"),
        )
        .advise(
            "any client",
            "retry idempotent requests once on a fresh connection when a reused one is reset before any response byte",
        )
}
