//! Finds addresses in any text and puts their stand-ins in their places.

use std::net::IpAddr;

use super::redactor::Redactor;

/// Longest text of an address: an IPv6 address with an IPv4 tail.
const LONGEST: usize = 45;

impl Redactor {
    /// Replaces every IPv4, IPv6 and MAC address.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(is_address_character) {
            let run = &rest[start..];
            let end = run.find(|c| !is_address_character(c)).unwrap_or(run.len());
            out.push_str(&rest[..start]);
            // A section of an RFC is written like an address.
            if rest[..start].ends_with('§') {
                out.push_str(&run[..end]);
            } else {
                self.run(&run[..end], &mut out);
            }
            rest = &run[end..];
        }
        out.push_str(rest);
        out
    }

    /// A run of characters that addresses are made of; it may hold several, or none.
    fn run(&self, run: &str, out: &mut String) {
        let mut at = 0;
        while at < run.len() {
            let rest = &run[at..];
            if let Some((len, stand_in)) = self.leading(rest) {
                out.push_str(&stand_in);
                at += len;
            } else {
                out.push_str(&rest[..1]);
                at += 1;
            }
        }
    }

    /// The longest address that `text` begins with.
    fn leading(&self, text: &str) -> Option<(usize, String)> {
        let count = |part: &str, wanted: u8| part.bytes().filter(|&byte| byte == wanted).count();
        if count(text, b'.') < 3 && count(text, b':') < 2 {
            return None;
        }
        (2..=text.len().min(LONGEST)).rev().find_map(|len| {
            let part = &text[..len];
            if let Some(mac) = mac(part) {
                return Some((len, mac_text(self.mac(mac))));
            }
            let address: IpAddr = part.parse().ok()?;
            Some((len, self.address(address).to_string()))
        })
    }
}

const fn is_address_character(character: char) -> bool {
    character.is_ascii_hexdigit() || matches!(character, '.' | ':')
}

/// `00:1b:21:3c:4d:5e`
fn mac(text: &str) -> Option<[u8; 6]> {
    if text.len() != 17 {
        return None;
    }
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for octet in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *octet = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_wherever_they_stand() {
        let redactor = Redactor::new(b"test");
        let v4 = redactor.address("10.9.0.1".parse().unwrap()).to_string();
        let v6 = redactor.address("2001:db8::7".parse().unwrap()).to_string();
        for (before, after) in [
            ("10.9.0.1".to_owned(), v4.clone()),
            ("at 10.9.0.1:80.".to_owned(), format!("at {v4}:80.")),
            ("(10.9.0.1)".to_owned(), format!("({v4})")),
            (
                "tcpdump 10.9.0.1.80 >".to_owned(),
                format!("tcpdump {v4}.80 >"),
            ),
            ("[2001:db8::7]:443".to_owned(), format!("[{v6}]:443")),
            (
                "ip.addr == 10.9.0.1 &&".to_owned(),
                format!("ip.addr == {v4} &&"),
            ),
            ("x10.9.0.1".to_owned(), format!("x{v4}")),
            ("2001:db8::7: no".to_owned(), format!("{v6}: no")),
        ] {
            assert_eq!(redactor.text(&before), after);
        }
    }

    #[test]
    fn what_is_no_address_stays() {
        let redactor = Redactor::new(b"test");
        for same in [
            "2026-11-24T12:30:05.123456789Z",
            "version 1.95.0",
            "a decade: faced",
            "RFC 9293 §3.10.7.4",
            "frame 12, 10.9 ms",
            "",
        ] {
            assert_eq!(redactor.text(same), same);
        }
    }

    #[test]
    fn macs_are_mapped() {
        let redactor = Redactor::new(b"test");
        let text = redactor.text("from 00:1b:21:3c:4d:5e to ff:ff:ff:ff:ff:ff");
        assert!(!text.contains("00:1b:21"));
        assert!(text.ends_with("to ff:ff:ff:ff:ff:ff"));
    }
}
