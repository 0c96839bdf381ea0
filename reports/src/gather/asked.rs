//! What was asked of whom, as connections tell it, and what was found for it lately.
//!
//! Most requests ask for what others asked for shortly before: then neither patterns nor names need
//! to be made of it again.

use std::fmt;
use std::hash::{BuildHasher, Hash};

use analyzer::app::HttpFacts;
use analyzer::static_name::StaticName;
use analyzer::{Connection, Endpoint};
use foldhash::fast::FixedState;
use rules::rows::protocol_name;

use crate::words::format;

/// Requests remembered; a power of two.
const REMEMBERED: usize = 64;

/// What was asked of whom.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Asked<'a> {
    pub protocol: StaticName,
    pub server: Server<'a>,
    pub what: What<'a>,
}

/// Who was asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Server<'a> {
    /// By the name that the connection states.
    Name(&'a str),
    Address(Endpoint),
}

/// What was asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum What<'a> {
    /// Method and target.
    Target(&'a str, &'a str),
    /// Method, and pattern of the target.
    Pattern(&'a str, Option<&'a str>),
    /// A record type of DNS.
    Lookup(u16),
    /// Statement or command of a service; `None` for all that are not told apart.
    Call(Option<&'a str>),
}

impl fmt::Display for Server<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(&format::shortened(name, 60)),
            Self::Address(server) => server.fmt(f),
        }
    }
}

impl<'a> Asked<'a> {
    /// What the requests of a connection have in common.
    pub fn of_http(connection: &'a Connection, http: &'a HttpFacts) -> Self {
        let tls = connection.app.tls.as_ref();
        let name = tls.and_then(|tls| tls.sni.as_deref()).or_else(|| {
            let mut kept = http.kept.iter();
            kept.find_map(|exchange| exchange.host.as_deref())
        });
        let server = match name {
            Some(name) if !http.proxy_request => Server::Name(name),
            _ => Server::Address(connection.server),
        };
        Self {
            protocol: protocol_name(connection),
            server,
            what: What::Pattern("", None),
        }
    }

    /// A question of DNS.
    pub fn of_lookup(connection: &Connection, record_type: u16) -> Self {
        Self {
            protocol: protocol_name(connection),
            server: Server::Address(connection.server),
            what: What::Lookup(record_type),
        }
    }

    /// What the calls of a service have in common.
    pub fn of_service(connection: &Connection) -> Self {
        Self {
            protocol: protocol_name(connection),
            server: Server::Address(connection.server),
            what: What::Call(None),
        }
    }

    /// The same server asked for something else.
    pub const fn what(self, what: What<'a>) -> Self {
        Self { what, ..self }
    }

    #[cfg(test)]
    pub const fn named(protocol: StaticName, name: &'a str, what: What<'a>) -> Self {
        Self {
            protocol,
            server: Server::Name(name),
            what,
        }
    }
}

/// What was found for the latest requests; an entry gives way to one of the same hash.
#[derive(Clone, Debug)]
pub(super) struct AskedLately<T> {
    /// Empty before the first.
    entries: Vec<Option<Entry<T>>>,
}

impl<T> Default for AskedLately<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
        }
    }
}

/// A request with its texts in one place.
#[derive(Clone, Debug)]
struct Entry<T> {
    protocol: StaticName,
    /// The address, unless the server has a name: then the length of it in `texts`.
    server: Result<Endpoint, usize>,
    what: Shape,
    texts: String,
    found: T,
}

/// [`What`] without its texts, but for the length of the method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    Target(usize),
    Pattern(usize),
    Others(usize),
    Lookup(u16),
    Call,
    OtherCalls,
}

impl<T: Copy> AskedLately<T> {
    /// What was found for a request; finds it when that is not remembered.
    pub fn get(&mut self, asked: &Asked<'_>, find: impl FnOnce() -> T) -> T {
        let hash = FixedState::default().hash_one(asked);
        let place = usize::try_from(hash % REMEMBERED as u64).unwrap_or(0);
        if self.entries.is_empty() {
            self.entries.resize_with(REMEMBERED, || None);
        }
        let entry = &mut self.entries[place];
        if let Some(known) = entry.as_ref().filter(|known| known.asked() == Some(*asked)) {
            return known.found;
        }
        let found = find();
        *entry = Some(Entry::new(asked, found));
        found
    }
}

impl<T> Entry<T> {
    fn new(asked: &Asked<'_>, found: T) -> Self {
        let (server, name) = match asked.server {
            Server::Name(name) => (Err(name.len()), name),
            Server::Address(server) => (Ok(server), ""),
        };
        let (what, method, text) = match asked.what {
            What::Target(method, target) => (Shape::Target(method.len()), method, target),
            What::Pattern(method, Some(text)) => (Shape::Pattern(method.len()), method, text),
            What::Pattern(method, None) => (Shape::Others(method.len()), method, ""),
            What::Lookup(record_type) => (Shape::Lookup(record_type), "", ""),
            What::Call(Some(text)) => (Shape::Call, "", text),
            What::Call(None) => (Shape::OtherCalls, "", ""),
        };
        Self {
            protocol: asked.protocol,
            server,
            what,
            texts: [name, method, text].concat(),
            found,
        }
    }

    /// The request.
    fn asked(&self) -> Option<Asked<'_>> {
        let (server, texts) = match self.server {
            Ok(server) => (Server::Address(server), &self.texts[..]),
            Err(length) => {
                let (name, texts) = self.texts.split_at_checked(length)?;
                (Server::Name(name), texts)
            }
        };
        let what = match self.what {
            Shape::Target(length) => {
                let (method, target) = texts.split_at_checked(length)?;
                What::Target(method, target)
            }
            Shape::Pattern(length) => {
                let (method, pattern) = texts.split_at_checked(length)?;
                What::Pattern(method, Some(pattern))
            }
            Shape::Others(length) => What::Pattern(texts.get(..length)?, None),
            Shape::Lookup(record_type) => What::Lookup(record_type),
            Shape::Call => What::Call(Some(texts)),
            Shape::OtherCalls => What::Call(None),
        };
        Some(Asked {
            protocol: self.protocol,
            server,
            what,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_what_was_asked() {
        let address = Endpoint::new([10, 0, 0, 1].into(), 53);
        let mut all = Vec::new();
        for what in [
            What::Target("GET", "/a"),
            What::Target("GE", "T/a"),
            What::Pattern("GET", Some("/a")),
            What::Pattern("GET", Some("")),
            What::Pattern("GET", None),
            What::Lookup(1),
            What::Call(Some("/a")),
            What::Call(None),
        ] {
            all.push(Asked::named("http1", "shop.example", what));
            let server = Server::Address(address);
            all.push(Asked {
                server,
                ..Asked::named("dns", "", what)
            });
        }
        let mut lately = AskedLately::default();
        for _ in 0..2 {
            for (number, asked) in all.iter().enumerate() {
                assert_eq!(Entry::new(asked, ()).asked(), Some(*asked));
                assert_eq!(lately.get(asked, || number), number);
            }
        }
        let last = all.last().unwrap();
        assert_eq!(lately.get(last, || usize::MAX), all.len() - 1);
    }
}
