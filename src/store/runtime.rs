//! What does the network, and what it says when that fails.

use std::io;
use std::sync::OnceLock;

use tokio::runtime::Runtime;

/// What does the network.
pub fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build()?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// What an error says, without the lines that servers send as its explanation.
pub fn one_line(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.split(": <?xml").next().unwrap_or_default();
    line.chars().take(400).collect()
}
