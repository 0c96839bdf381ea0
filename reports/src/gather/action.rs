//! What a client waited for, step by step: from the lookup of a name to the last byte of the response.
//!
//! The facts are those that connections have: handshake and TLS times, the requests that the readers
//! of HTTP kept, turns of other protocols, and the times in which data waited for a retransmission.

use std::borrow::Cow;
use std::time::Duration;

use analyzer::app::{AppProtocol, HttpExchange, TLS_GOODBYE_OCTETS};
use analyzer::connection::{self, Close, Turn};
use analyzer::{Connection, Endpoint, Timestamp, Transport};
use rules::rows::protocol_name;
use serde::{Deserialize, Serialize};

use crate::words::format;

/// A request that follows later than this was not what the connection was opened for.
const GOES_ON: Duration = Duration::from_secs(1);

/// Steps of an action, in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    Dns,
    Connect,
    Tls,
    Request,
    Server,
    Body,
}

impl Step {
    pub const ALL: [Self; 6] = [
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Request,
        Self::Server,
        Self::Body,
    ];

    /// The name in the JSON contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Request => "request",
            Self::Server => "server",
            Self::Body => "body",
        }
    }
}

/// One step on the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Span {
    pub from: Timestamp,
    pub to: Timestamp,
    /// How long of it data waited for a retransmission.
    pub recovery: Duration,
}

impl Span {
    const fn new(from: Timestamp, to: Timestamp) -> Self {
        Self {
            from,
            to,
            recovery: Duration::ZERO,
        }
    }

    /// Its length, loss recovery left out.
    pub fn own(&self) -> Duration {
        self.to.since(self.from).saturating_sub(self.recovery)
    }
}

/// One request with what its client waited for before it, or the opening of a connection alone.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Action {
    pub client: Endpoint,
    pub server: Endpoint,
    /// The address that the client called, before any translation.
    pub called: Endpoint,
    /// What the connection states as the name of its server.
    pub name: Option<String>,
    /// The name is that of a server behind a proxy, which is not the name that was looked up.
    is_proxied: bool,
    pub protocol: Cow<'static, str>,
    /// What was asked; `None` when the connection was opened alone, ahead of its first request.
    pub request: Option<String>,
    pub outcome: String,
    /// Where it begins: the request, or the SYN.
    pub frame: u64,
    pub first_frame: u64,
    /// The response was seen to its end.
    pub is_complete: bool,
    steps: [Option<Span>; Step::ALL.len()],
}

impl Action {
    /// The actions that a connection remembers, in the order of their requests.
    pub fn of(connection: &Connection) -> Vec<Self> {
        let is_dns = connection.app.protocol == AppProtocol::Dns;
        if connection.transport != Transport::Tcp || is_dns {
            return Vec::new();
        }
        let recovery = recovery_of(connection);
        let exchanges = match &connection.app.http {
            Some(http) => {
                let kept = http.kept.iter();
                kept.filter_map(|one| Exchange::of_http(connection, one))
                    .collect()
            }
            None => turns(connection),
        };
        let mut actions: Vec<Self> = exchanges
            .into_iter()
            .map(|exchange| exchange.into_action(connection, &recovery))
            .collect();
        let opening = opening(connection);
        let opened = opening.iter().flatten().map(|span| span.to).max();
        let Some(opened) = opened.filter(|_| !actions.is_empty()) else {
            return actions;
        };
        let first = &mut actions[0];
        let at_once = first
            .start()
            .is_some_and(|start| start.since(opened) <= GOES_ON);
        if at_once && is_first(connection, first.frame) {
            first.open(opening);
        } else {
            let mut alone = Self::new(connection, name_of(connection, None));
            alone.frame = connection.first_frame;
            alone.is_complete = true;
            "opened".clone_into(&mut alone.outcome);
            alone.open(opening);
            actions.insert(0, alone);
        }
        actions
    }

    fn new(connection: &Connection, name: Option<String>) -> Self {
        let http = connection.app.http.as_ref();
        Self {
            client: connection.client,
            server: connection.server,
            called: connection.translated_from.unwrap_or(connection.server),
            name,
            is_proxied: http.is_some_and(|http| http.proxy_request),
            protocol: protocol_name(connection).into(),
            request: None,
            outcome: String::new(),
            frame: 0,
            first_frame: connection.first_frame,
            is_complete: false,
            steps: [None; Step::ALL.len()],
        }
    }

    fn open(&mut self, [connect, tls]: [Option<Span>; 2]) {
        self.set(Step::Connect, connect);
        self.set(Step::Tls, tls);
    }

    fn set(&mut self, step: Step, span: Option<Span>) {
        self.steps[step as usize] = span;
    }

    /// When the connection began, where the action opened it.
    pub fn opened(&self) -> Option<Timestamp> {
        self.step(Step::Connect).map(|connect| connect.from)
    }

    /// The name that was looked up before it, as far as the connection states one.
    pub fn looked_up_as(&self) -> Option<&str> {
        self.name.as_deref().filter(|_| !self.is_proxied)
    }

    /// Puts the lookup in front.
    pub fn looked_up(&mut self, (from, to): (Timestamp, Timestamp)) {
        self.set(Step::Dns, Some(Span::new(from, to)));
    }

    pub const fn step(&self, step: Step) -> Option<Span> {
        self.steps[step as usize]
    }

    /// Its steps in their order.
    pub fn steps(&self) -> impl Iterator<Item = (Step, Span)> {
        let steps = Step::ALL.into_iter();
        steps.filter_map(|step| Some((step, self.step(step)?)))
    }

    pub fn start(&self) -> Option<Timestamp> {
        self.steps().map(|(_, span)| span.from).min()
    }

    pub fn end(&self) -> Option<Timestamp> {
        self.steps().map(|(_, span)| span.to).max()
    }

    /// From its beginning to its end, pauses of the client between steps included.
    pub fn total(&self) -> Duration {
        self.end()
            .zip(self.start())
            .map_or(Duration::ZERO, |(end, start)| end.since(start))
    }

    /// From its beginning to the first byte of the response.
    pub fn first_byte(&self) -> Option<Duration> {
        let server = self.step(Step::Server).filter(|_| self.has_response())?;
        Some(server.to.since(self.start()?))
    }

    /// Whether a response began.
    pub const fn has_response(&self) -> bool {
        self.step(Step::Body).is_some()
    }

    /// How long data waited for retransmissions.
    pub fn recovery(&self) -> Duration {
        self.steps().map(|(_, span)| span.recovery).sum()
    }
}

/// Requests of a connection that could be actions, those included that it no longer remembers.
pub(super) fn requests_of(connection: &Connection) -> u64 {
    let app = &connection.app;
    if connection.transport != Transport::Tcp || app.protocol == AppProtocol::Dns {
        return 0;
    }
    match &app.http {
        Some(http) if app.protocol == AppProtocol::Http1 => http.requests,
        Some(http) => http.responses,
        None if connection.turns.answered <= connection.turns.slowest.len() as u64 => {
            let answered = connection.turns.slowest.iter();
            answered.filter(|turn| is_request(connection, turn)).count() as u64
        }
        // One turn is the handshake's.
        None => connection.turns.answered - u64::from(app.tls.is_some()),
    }
}

/// A request and its response, of whatever protocol.
struct Exchange {
    frame: u64,
    name: Option<String>,
    request: String,
    outcome: String,
    asked: (Timestamp, Timestamp),
    /// First and last byte of the response; without one, the end of the wait.
    answered: Result<(Timestamp, Timestamp), Timestamp>,
    is_complete: bool,
}

impl Exchange {
    /// `None` for a stream of HTTP/2 without a response: when its client gave up is not known.
    fn of_http(connection: &Connection, http: &HttpExchange) -> Option<Self> {
        let is_http1 = connection.app.protocol == AppProtocol::Http1;
        let asked = (
            http.request_start.time,
            http.request_end.unwrap_or(http.request_start).time,
        );
        let answered = match http.response_start {
            Some(start) => Ok((start.time, http.response_end.unwrap_or(start).time)),
            None if is_http1 => Err(given_up(connection, asked.1)),
            None => return None,
        };
        Some(Self {
            frame: http.request_start.frame,
            name: name_of(connection, http.host.as_deref()),
            request: format!("{} {}", http.method, format::shortened(&http.target, 80)),
            outcome: http_outcome(connection, http),
            asked,
            answered,
            is_complete: http.response_start.is_some() && http.response_end.is_some(),
        })
    }

    /// `None` without a response: whether one was expected is not known.
    fn of_turn(connection: &Connection, turn: &Turn) -> Option<Self> {
        let response = turn.response?;
        // The end of a TLS handshake and the first request leave in one go.
        let tls = connection.app.tls.as_ref();
        let data = tls.and_then(|tls| tls.client_data);
        let first = turn.request.first;
        let (frame, from) = match data.filter(|data| data.frame > first.frame) {
            Some(data) => (data.frame, data.time),
            None => (first.frame, first.time),
        };
        Some(Self {
            frame,
            name: name_of(connection, None),
            request: match connection.call_of(turn) {
                Some(call) => call.operation.clone(),
                None => format::size(turn.request.octets as f64).to_string(),
            },
            outcome: outcome_of(connection, turn, &response),
            asked: (from, turn.request.last.time.max(from)),
            answered: Ok((response.first.time, last_data(connection, &response))),
            is_complete: true,
        })
    }

    fn into_action(self, connection: &Connection, recovery: &[(Timestamp, Timestamp)]) -> Action {
        let mut action = Action::new(connection, self.name);
        action.request = Some(self.request);
        action.outcome = self.outcome;
        action.frame = self.frame;
        action.is_complete = self.is_complete;
        let span = |from: Timestamp, to: Timestamp| {
            let to = to.max(from);
            let recovery = overlap(recovery, from, to);
            Some(Span { from, to, recovery })
        };
        let (from, asked) = self.asked;
        action.set(Step::Request, span(from, asked));
        match self.answered {
            Ok((first, last)) => {
                action.set(Step::Server, span(asked, first));
                action.set(Step::Body, span(first.max(asked), last));
            }
            Err(until) => action.set(Step::Server, span(asked, until)),
        }
        action
    }
}

/// Whether a request got no response, one of class 5xx, or one that found no client.
pub(super) fn has_failed(connection: &Connection, exchange: &HttpExchange) -> bool {
    exchange.status.is_none_or(|status| status >= 500) || connection.came_too_late(exchange)
}

/// What became of a request.
pub(super) fn http_outcome(connection: &Connection, exchange: &HttpExchange) -> String {
    match exchange.status {
        Some(status) if connection.came_too_late(exchange) => format!("{status}, too late"),
        Some(status) => status.to_string(),
        None if connection.close == Close::Open => "no response so far".to_owned(),
        None => "no response".to_owned(),
    }
}

/// What came back in a turn.
pub(super) fn outcome_of(
    connection: &Connection,
    turn: &Turn,
    response: &connection::Span,
) -> String {
    let back = format!("{} back", format::size(response.octets as f64));
    let call = connection.call_of(turn);
    match call.and_then(|call| call.result.as_ref()) {
        Some(result) => format!("{result}, {back}"),
        None => back,
    }
}

/// The last data of a response: what an end sends after a pause when it closes TLS is none.
fn last_data(conn: &Connection, response: &connection::Span) -> Timestamp {
    let burst = conn.from_server().last_burst;
    let goodbye = burst.filter(|burst| {
        let within =
            response.first.frame < burst.first.frame && burst.first.frame <= response.last.frame;
        conn.app.tls.is_some() && burst.octets <= TLS_GOODBYE_OCTETS && within
    });
    let before = goodbye.and_then(|burst| burst.before);
    before.map_or(response.last.time, |before| {
        before.time.max(response.first.time)
    })
}

/// When a client stopped waiting for a response to what it had asked by `asked`: at the first close after
/// that, or the connection's last packet.
fn given_up(connection: &Connection, asked: Timestamp) -> Timestamp {
    let close = connection.ending().map(|ending| ending.at.time);
    close
        .filter(|close| *close >= asked)
        .unwrap_or(connection.end)
}

/// Whether a turn is a request and its response, seen from the first byte, and no part of a TLS handshake.
fn is_request(connection: &Connection, turn: &Turn) -> bool {
    let is_sent = connection.app.tls.as_ref().is_none_or(|tls| {
        let data = tls.client_data;
        data.is_some_and(|data| turn.request.last.frame >= data.frame)
    });
    is_sent && turn.response.is_some() && !turn.answer_missed
}

/// The requests of turns that were kept, in order.
fn turns(connection: &Connection) -> Vec<Exchange> {
    let turns = &connection.turns;
    let latest = turns.before_last.iter().chain(&turns.last);
    let kept = turns.slowest.iter().chain(latest);
    let mut kept: Vec<&Turn> = kept.filter(|turn| is_request(connection, turn)).collect();
    kept.sort_by_key(|turn| turn.request.first.frame);
    kept.dedup_by_key(|turn| turn.request.first.frame);
    kept.into_iter()
        .filter_map(|turn| Exchange::of_turn(connection, turn))
        .collect()
}

/// Whether the first request that was kept is the first of the connection.
fn is_first(connection: &Connection, frame: u64) -> bool {
    let (seen, kept) = match &connection.app.http {
        Some(http) => (http.requests, http.kept.len()),
        None => (connection.turns.answered, connection.turns.slowest.len()),
    };
    let first_data = connection.from_client().first_data;
    seen <= kept as u64 || first_data.is_some_and(|first| first.frame == frame)
}

/// Connect, from the first SYN, and TLS.
fn opening(connection: &Connection) -> [Option<Span>; 2] {
    let handshake = &connection.handshake;
    let syn = handshake.syns.first();
    let connect = syn
        .zip(handshake.ack)
        .map(|(syn, ack)| Span::new(syn.time, ack.time));
    let tls = connection.app.tls.as_ref().and_then(|tls| {
        let (hello, complete) = (tls.client_hello?, tls.handshake_complete?);
        Some(Span::new(hello.time, complete.time.max(hello.time)))
    });
    [connect, tls]
}

/// The name of the server as a lookup would have it: without port, of lower case; no address.
fn name_of(connection: &Connection, host: Option<&str>) -> Option<String> {
    let tls = connection.app.tls.as_ref();
    let stated = host.or_else(|| tls?.sni.as_deref())?;
    let name = match stated.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => stated,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if bare.is_empty() || bare.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    Some(bare.trim_end_matches('.').to_ascii_lowercase())
}

/// When data of either direction waited for a retransmission: in order, nothing twice.
fn recovery_of(connection: &Connection) -> Vec<(Timestamp, Timestamp)> {
    let waits = connection.holes.waits.iter();
    let mut spans: Vec<_> = waits.flat_map(|waits| &waits.spans).copied().collect();
    spans.sort_unstable();
    union(&spans)
}

/// Spans in order of their beginning as spans that do not overlap.
pub(super) fn union(spans: &[(Timestamp, Timestamp)]) -> Vec<(Timestamp, Timestamp)> {
    let mut united: Vec<(Timestamp, Timestamp)> = Vec::with_capacity(spans.len());
    for &(from, to) in spans {
        match united.last_mut().filter(|(_, end)| from <= *end) {
            Some((_, end)) => *end = (*end).max(to),
            None => united.push((from, to)),
        }
    }
    united
}

/// How much of the time from `from` to `to` the spans cover, which do not overlap.
pub(super) fn overlap(
    spans: &[(Timestamp, Timestamp)],
    from: Timestamp,
    to: Timestamp,
) -> Duration {
    let first = spans.partition_point(|(_, end)| *end <= from);
    let covered = spans[first..].iter().take_while(|(start, _)| *start < to);
    covered
        .map(|(start, end)| (*end).min(to).since((*start).max(from)))
        .sum()
}
