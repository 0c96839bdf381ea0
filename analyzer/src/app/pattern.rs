//! Request targets without what differs from one request to the next.

/// What stands for an identifier.
const ID: &str = "{id}";

/// Longest pattern.
const LENGTH: usize = 120;

/// Shortest run of hexadecimal digits that is a hash or a key.
const HASH: usize = 8;

/// Shortest run of letters and digits that is a random token.
const TOKEN: usize = 20;

/// The path of a request target in which numbers, UUIDs, hashes and random tokens are `{id}`: without
/// query, scheme and authority, and of at most 120 characters.
#[must_use]
pub fn pattern(target: &str) -> String {
    let octets = target.as_bytes();
    let query = octets.iter().position(|octet| matches!(octet, b'?' | b'#'));
    let path = &target[..query.unwrap_or(octets.len())];
    let scheme = path.as_bytes().windows(3).position(|it| it == b"://");
    let path = match scheme.map(|at| &path[at + 3..]) {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => path,
    };
    let mut pattern = String::with_capacity(path.len().min(LENGTH));
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            pattern.push('/');
        }
        if is_uuid(segment) {
            pattern.push_str(ID);
        } else {
            fold(segment, &mut pattern);
        }
        if pattern.len() > LENGTH && pattern.chars().count() > LENGTH {
            let kept: String = pattern.chars().take(LENGTH - 1).collect();
            return kept + "…";
        }
    }
    pattern
}

/// Adds a segment whose variable pieces are folded.
fn fold(segment: &str, pattern: &mut String) {
    let is_ascii = segment.is_ascii();
    let mut rest = segment;
    while let Some(first) = rest.chars().next() {
        let is_word = first.is_alphanumeric();
        let end = if is_ascii {
            let mut octets = rest.bytes();
            octets.position(|octet| octet.is_ascii_alphanumeric() != is_word)
        } else {
            rest.find(|c: char| c.is_alphanumeric() != is_word)
        };
        let (piece, after) = rest.split_at(end.unwrap_or(rest.len()));
        pattern.push_str(if is_word && is_variable(piece) {
            ID
        } else {
            piece
        });
        rest = after;
    }
}

fn is_variable(piece: &str) -> bool {
    let bytes = piece.as_bytes();
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_hash = bytes.len() >= HASH && bytes.iter().all(u8::is_ascii_hexdigit);
    // A word with a number behind it is none.
    let is_token = bytes.len() >= TOKEN && digits * 8 >= bytes.len() && digits > 2;
    digits == bytes.len() || digits > 0 && is_hash || is_token
}

/// RFC 9562 §4.
fn is_uuid(segment: &str) -> bool {
    let lengths = segment.split('-').map(str::len);
    let is_hex = |byte: u8| byte == b'-' || byte.is_ascii_hexdigit();
    segment.len() == 36 && lengths.eq([8, 4, 4, 4, 12]) && segment.bytes().all(is_hex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Octets of ASCII are told apart by themselves, other characters as what they are.
        #[test]
        fn segments_are_folded_alike_whatever_follows(segment in "[ -.0-~]{0,60}") {
            let folded = |segment: &str| {
                let mut pattern = String::new();
                fold(segment, &mut pattern);
                pattern
            };
            prop_assert_eq!(folded(&format!("{segment}…")), folded(&segment) + "…");
        }
    }

    #[test]
    fn identifiers_are_folded_and_words_stay() {
        for (target, expected) in [
            ("/", "/"),
            ("/orders/1234?page=2", "/orders/{id}"),
            ("/orders/1234/items/5/", "/orders/{id}/items/{id}/"),
            ("/api/v2/users", "/api/v2/users"),
            (
                "/u/3f2504e0-4f89-11d3-9a0c-0305e82c3301/avatar.png",
                "/u/{id}/avatar.png",
            ),
            ("/u/ffffffff-ffff-ffff-ffff-ffffffffffff", "/u/{id}"),
            ("/blob/9e107d9d372bb6826bd81d3542a419d6", "/blob/{id}"),
            ("/facade/deadbeef", "/facade/deadbeef"),
            ("/item-7.json", "/item-{id}.json"),
            ("/t/eyJhbGciOiJIUzI1NiJ9x42", "/t/{id}"),
            ("/internationalization2", "/internationalization2"),
            ("http://shop.example/a/1#top", "/a/{id}"),
            ("http://shop.example", "/"),
            ("/pkg.Service/GetThing", "/pkg.Service/GetThing"),
            ("*", "*"),
            ("", ""),
            ("/größe/7", "/größe/{id}"),
        ] {
            assert_eq!(pattern(target), expected, "{target}");
        }
    }

    #[test]
    fn patterns_are_bounded() {
        let long = pattern(&"/x".repeat(200));
        assert_eq!(long.chars().count(), 120);
        assert!(long.ends_with('…'));
    }
}
