//! Connections as a document lists them.

use std::borrow::Cow;

use analyzer::{Connection, Half};
use rules::rows::{
    direction_name, millis, protocol_name, requests, response_times, role_name, rounded,
    server_name,
};
use serde::{Deserialize, Serialize};

use super::ProcessRow;

/// One connection of the contract's list.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ConnectionRow {
    /// `tcp` or `udp`.
    pub transport: Cow<'static, str>,
    /// Who opened it.
    pub client: String,
    /// Who was called.
    pub server: String,
    /// Time of its first packet.
    pub start: String,
    /// First to last packet.
    pub duration_ms: f64,
    /// Packets of both directions.
    pub packets: u64,
    /// Bytes on the wire of both directions.
    pub bytes: u64,
    /// What the client sent.
    pub client_to_server: HalfRow,
    /// What the server sent.
    pub server_to_client: HalfRow,
    /// `fin`, `reset`, `timeout` or `open`.
    pub close: Cow<'static, str>,
    /// Frame of its first packet.
    pub first_frame: u64,
    /// Frame of its last packet.
    pub last_frame: u64,
    /// How client and server were identified: `syn`, `syn-ack` or `judged`.
    pub role: Cow<'static, str>,
    /// Where the capture was taken, seen from this connection.
    pub capture_point: Cow<'static, str>,
    /// What the payload is: `http1`, `http2`, `tls`, `dns`, `ssh`, `framed`, `unknown`.
    pub protocol: Cow<'static, str>,
    /// Host header or TLS server name, when seen.
    pub server_name: Option<String>,
    /// Requests seen (turns of the conversation; datagram requests for UDP).
    pub requests: u64,
    /// Requests that got an answer.
    pub answered: u64,
    /// Median response time.
    pub response_p50_ms: Option<f64>,
    /// Largest response time.
    pub response_max_ms: Option<f64>,
    /// Smallest full round trip that the capture point shows.
    pub rtt_ms: Option<f64>,
    /// Time in which bytes that had arrived waited behind a lost one.
    pub stall_ms: f64,
    /// Resets in order, at most eight.
    pub resets: Vec<ResetRow>,
    /// The address the client meant, when another one answered.
    pub translated_from: Option<String>,
    /// The program at one end, where host evidence or the capture itself names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessRow>,
    /// Where a proxy carries it on, where its own capture states that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxied_to: Option<ProxiedToRow>,
}

/// The flow on a proxy's other side.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProxiedToRow {
    /// Whom the proxy talks to there.
    pub remote: String,
    /// The proxy's own end there.
    pub local: String,
    /// The proxy's name for the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// One direction of a [`ConnectionRow`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HalfRow {
    /// Packets.
    pub packets: u64,
    /// Payload of every frame seen, copies included.
    pub payload_bytes: u64,
    /// Segments sent again.
    pub retransmitted_segments: u64,
    /// Payload sent again.
    pub retransmitted_bytes: u64,
    /// Sent again although the receiver had it.
    pub spurious_retransmissions: u64,
    /// Originals that came late.
    pub out_of_order: u64,
    /// Smallest round trip of this direction's sender; absent when none was measured.
    pub rtt_min_ms: Option<f64>,
    /// Largest payload of one segment or datagram.
    pub largest_payload_bytes: u32,
    /// Times this end's window closed.
    pub zero_windows: u64,
}

/// One reset.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ResetRow {
    /// Frame of the first RST.
    pub frame: u64,
    /// Who sent it.
    pub direction: String,
    /// Cause, one of the kinds of resets in docs/glossary.md.
    pub kind: String,
    /// How sure, 0–1.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    pub confidence: f64,
    /// What its payload, an option or a trailer states as the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated: Option<String>,
}

impl From<&Connection> for ConnectionRow {
    fn from(connection: &Connection) -> Self {
        let [client, server] = &connection.halves;
        let histogram = response_times(connection);
        let (requests, answered) = requests(connection);
        Self {
            transport: connection.transport.as_str().into(),
            client: connection.client.to_string(),
            server: connection.server.to_string(),
            start: connection.start.rfc3339(),
            duration_ms: millis(connection.duration()),
            packets: connection.packets(),
            bytes: client.wire_bytes + server.wire_bytes,
            client_to_server: client.into(),
            server_to_client: server.into(),
            close: connection.close.as_str().into(),
            first_frame: connection.first_frame,
            last_frame: connection.last_frame,
            role: role_name(connection.role).into(),
            capture_point: connection.capture_point.describe().into(),
            protocol: protocol_name(connection).into(),
            server_name: server_name(connection),
            requests,
            answered,
            response_p50_ms: histogram.quantile(0.5).map(millis),
            response_max_ms: histogram.quantile(1.0).map(millis),
            rtt_ms: connection.rtt().map(millis),
            stall_ms: millis(connection.holes.stall_total()),
            resets: connection.resets.iter().map(reset).collect(),
            translated_from: connection
                .translated_from
                .map(|endpoint| endpoint.to_string()),
            process: connection.process.as_deref().map(ProcessRow::from),
            proxied_to: connection.proxied_to.as_deref().map(|side| ProxiedToRow {
                remote: side.remote.to_string(),
                local: side.local.to_string(),
                service: side.service.as_deref().map(str::to_owned),
            }),
        }
    }
}

impl From<&Half> for HalfRow {
    fn from(half: &Half) -> Self {
        Self {
            packets: half.packets,
            payload_bytes: half.payload_bytes,
            retransmitted_segments: half.retransmitted_segments,
            retransmitted_bytes: half.retransmitted_bytes,
            spurious_retransmissions: half.spurious_retransmissions,
            out_of_order: half.out_of_order,
            rtt_min_ms: half.rtt_min.map(millis),
            largest_payload_bytes: half.largest_payload,
            zero_windows: half.zero_windows,
        }
    }
}

fn reset(reset: &analyzer::connection::Reset) -> ResetRow {
    ResetRow {
        frame: reset.segment.frame,
        direction: direction_name(reset.segment.direction).to_owned(),
        kind: reset.kind.as_str().to_owned(),
        confidence: rounded(reset.confidence.clamp(0.0, 1.0)),
        stated: stated(reset),
    }
}

fn stated(reset: &analyzer::connection::Reset) -> Option<String> {
    let payload = reset.reason.as_ref();
    let payload = payload.map(|reason| format!("its payload states \"{reason}\""));
    let beside = reset.stated.as_deref().map(str::to_owned);
    let all: Vec<String> = payload.into_iter().chain(beside).collect();
    (!all.is_empty()).then(|| all.join("; "))
}
