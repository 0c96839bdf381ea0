//! The program as it is built by default has no client of any network in it.

use std::process::Command;

/// Crates that open connections, or are there for those that do.
const CLIENTS: [&str; 16] = [
    "attohttpc",
    "aws-config",
    "aws-lc-rs",
    "curl",
    "h2",
    "hyper",
    "isahc",
    "minreq",
    "native-tls",
    "object_store",
    "openssl",
    "quinn",
    "reqwest",
    "rustls",
    "surf",
    "ureq",
];

#[test]
fn no_network_client_is_linked_by_default() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8_lossy(&output.stdout);
    let linked: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(linked.contains(&"pcapdoc-analyzer"), "this is our tree");
    let clients: Vec<&str> = linked
        .into_iter()
        .filter(|name| CLIENTS.contains(name))
        .collect();
    assert!(
        clients.is_empty(),
        "network clients are linked: {clients:?}"
    );
}
