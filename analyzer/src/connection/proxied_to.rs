//! Where a proxy carries a connection on.

use serde::{Deserialize, Serialize};

use crate::addr::Endpoint;

/// The flow on a proxy's other side, as its capture states it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProxiedTo {
    /// Whom the proxy talks to there.
    pub remote: Endpoint,
    /// The proxy's own end there.
    pub local: Endpoint,
    /// The proxy's name for the service, when it is stated.
    pub service: Option<Box<str>>,
}
