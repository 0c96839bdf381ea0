//! Strings from payloads: capped, and valid UTF-8 whatever the octets are.

/// At most `max` characters of `bytes`; octets that are no UTF-8 become U+FFFD.
///
/// Looks at no more than four octets per character, so a huge field costs nothing.
pub(super) fn capped(bytes: &[u8], max: usize) -> String {
    if bytes.len() <= max
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return text.to_owned();
    }
    let slice = &bytes[..bytes.len().min(max.saturating_mul(4))];
    String::from_utf8_lossy(slice).chars().take(max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_by_characters_and_never_fails() {
        assert_eq!(capped(b"abcdef", 3), "abc");
        assert_eq!(capped("äöü".as_bytes(), 2), "äö");
        assert_eq!(capped(&[0xff, b'a', 0xc3], 8), "\u{fffd}a\u{fffd}");
    }
}
