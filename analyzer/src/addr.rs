//! Endpoints and transports, and the text form the JSON contract gives them.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The transport protocol of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

impl Transport {
    /// `tcp` or `udp`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// An IP address and a port, written `192.0.2.1:80` or `[2001:db8::1]:80`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Deserialize)]
pub struct Endpoint {
    /// Network address.
    pub ip: IpAddr,
    /// Transport port.
    pub port: u16,
}

impl Endpoint {
    /// Joins an address and a port.
    #[must_use]
    pub const fn new(ip: IpAddr, port: u16) -> Self {
        Self { ip, port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            // Every row of a report has two: number by number through `write!` they take three times
            // as long.
            IpAddr::V4(ip) => {
                let mut text = [0; "255.255.255.255:65535".len()];
                let mut len = 0;
                let ends = [b'.', b'.', b'.', b':'];
                for (octet, end) in ip.octets().into_iter().zip(ends) {
                    len += put_decimal(&mut text[len..], octet.into());
                    text[len] = end;
                    len += 1;
                }
                len += put_decimal(&mut text[len..], self.port);
                f.write_str(std::str::from_utf8(&text[..len]).map_err(|_| fmt::Error)?)
            }
            IpAddr::V6(ip) => write!(f, "[{ip}]:{}", self.port),
        }
    }
}

/// Writes a number at the front of `text`; gives how many digits it has.
fn put_decimal(text: &mut [u8], number: u16) -> usize {
    let len = number.checked_ilog10().map_or(1, |log| log as usize + 1);
    put_digits(&mut text[..len], number.into());
    len
}

/// Fills `text` with the last digits of a number.
pub(crate) fn put_digits(text: &mut [u8], mut number: u64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// For people as one text; for programs, and those alone read it back, as address and port.
impl Serialize for Endpoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        (self.ip, self.port).serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

    use super::*;

    #[test]
    fn endpoints_are_written_as_sockets_are() {
        for octets in [[0, 0, 0, 0], [10, 9, 100, 255], [192, 0, 2, 1], [255; 4]] {
            for port in [0, 7, 80, 443, 999, 1000, 9999, 10_000, u16::MAX] {
                let ip = IpAddr::V4(Ipv4Addr::from(octets));
                let expected = SocketAddr::new(ip, port).to_string();
                assert_eq!(Endpoint::new(ip, port).to_string(), expected);
            }
        }
        let ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
        assert_eq!(Endpoint::new(ip, 80).to_string(), "[::1]:80");
    }
}
