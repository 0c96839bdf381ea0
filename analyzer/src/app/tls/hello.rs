//! Reads ClientHello and ServerHello as far as they go (RFC 8446 §4.1, RFC 6066 §3, RFC 7301).
//!
//! An own reader: hellos come cut by snap lengths and spread over segments, and the maintained
//! parsers read whole messages or nothing.

use crate::app::text::capped;
use crate::cursor::Cursor;

const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;
const EXTENSION_SESSION_TICKET: u16 = 35;
const EXTENSION_PRE_SHARED_KEY: u16 = 41;
const EXTENSION_SUPPORTED_VERSIONS: u16 = 43;

/// TLS 1.3 on the wire.
pub(super) const TLS13: u16 = 0x0304;

/// Most ALPN names kept, and their length.
const ALPN_MAX: (usize, usize) = (4, 32);
const SNI_MAX: usize = 256;

/// What is read of a hello.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hello {
    pub sni: Option<String>,
    pub alpn: Vec<String>,
    /// The version selected (ServerHello), or the highest offered up to TLS 1.3.
    pub version: Option<u16>,
    /// It asks for, or grants, the resumption of an earlier session: by a ticket (RFC 5077 §3.2), or by a
    /// key shared before (RFC 8446 §4.2.11).
    pub resumes: bool,
}

impl Hello {
    /// Reads the body of a ClientHello.
    pub(super) fn client(body: &[u8]) -> Self {
        let mut hello = Self::default();
        hello.read_client(body);
        hello
    }

    /// Reads the body of a ServerHello.
    pub(super) fn server(body: &[u8]) -> Self {
        let mut hello = Self::default();
        hello.read_server(body);
        hello
    }

    /// Reads up to the first field that is cut; what came before stays.
    fn read_client(&mut self, body: &[u8]) -> Option<()> {
        let mut cursor = Cursor::new(body);
        self.version = Some(cursor.u16()?);
        cursor.take(32)?;
        let session_id = cursor.u8()?;
        cursor.take(usize::from(session_id))?;
        let suites = cursor.u16()?;
        cursor.take(usize::from(suites))?;
        let compressions = cursor.u8()?;
        cursor.take(usize::from(compressions))?;
        for_each_extension(cursor, |kind, data| {
            match kind {
                EXTENSION_SERVER_NAME => self.sni = self.sni.take().or_else(|| server_name(data)),
                EXTENSION_ALPN => alpn_names(data, &mut self.alpn),
                // An empty ticket says that one is welcome.
                EXTENSION_SESSION_TICKET => self.resumes |= !data.is_empty(),
                EXTENSION_PRE_SHARED_KEY => self.resumes = true,
                EXTENSION_SUPPORTED_VERSIONS => {
                    let offered = data.get(1..).unwrap_or_default().as_chunks::<2>().0;
                    let versions = offered.iter().map(|version| u16::from_be_bytes(*version));
                    // Values beyond are GREASE (RFC 8701).
                    let highest = versions.filter(|version| *version <= TLS13).max();
                    self.version = highest.or(self.version);
                }
                _ => {}
            }
        })
    }

    fn read_server(&mut self, body: &[u8]) -> Option<()> {
        let mut cursor = Cursor::new(body);
        self.version = Some(cursor.u16()?);
        cursor.take(32)?;
        let session_id = cursor.u8()?;
        cursor.take(usize::from(session_id))?;
        cursor.take(3)?; // cipher suite and compression
        for_each_extension(cursor, |kind, data| match kind {
            EXTENSION_ALPN => alpn_names(data, &mut self.alpn),
            EXTENSION_PRE_SHARED_KEY => self.resumes = true,
            EXTENSION_SUPPORTED_VERSIONS => {
                self.version = Cursor::new(data).u16().or(self.version);
            }
            _ => {}
        })
    }
}

/// Hands over each extension, the last one cut where the hello is cut.
fn for_each_extension(mut cursor: Cursor<'_>, mut take: impl FnMut(u16, &[u8])) -> Option<()> {
    cursor.u16()?;
    loop {
        let kind = cursor.u16()?;
        let len = usize::from(cursor.u16()?);
        let data = cursor.rest();
        let cut = data.len().min(len);
        take(kind, &data[..cut]);
        cursor.take(len)?;
    }
}

/// The first host name; `None` when it is not there as a whole.
fn server_name(data: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(data);
    cursor.u16()?;
    if cursor.u8()? != 0 {
        return None;
    }
    let len = usize::from(cursor.u16()?);
    Some(capped(cursor.take(len)?, SNI_MAX))
}

fn alpn_names(data: &[u8], names: &mut Vec<String>) {
    let mut cursor = Cursor::new(data.get(2..).unwrap_or_default());
    while names.len() < ALPN_MAX.0
        && let Some(len) = cursor.u8()
        && let Some(name) = cursor.take(usize::from(len))
    {
        names.push(capped(name, ALPN_MAX.1));
    }
}
