//! The Huffman code of HPACK (RFC 7541 appendix B).
//!
//! The code is canonical: within one length, codes rise with the octet they stand for. So the
//! lengths alone give it, and decoding needs the first code of each length only.

use std::sync::LazyLock;

/// Code length of every octet, and of the end of a string.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The longest code.
const LENGTH_MAX: usize = 30;

/// Octets by rising code, and for each length where its codes begin.
struct Code {
    symbols: Vec<u16>,
    /// First code of the length, how many there are, and the index of the first.
    lengths: [(u32, u32, usize); LENGTH_MAX + 1],
}

static CODE: LazyLock<Code> = LazyLock::new(Code::new);

impl Code {
    fn new() -> Self {
        let mut symbols: Vec<u16> = (0..=256).collect();
        symbols.sort_by_key(|symbol| LENGTHS[usize::from(*symbol)]);
        let mut lengths = [(0, 0, 0); LENGTH_MAX + 1];
        let (mut code, mut index) = (0, 0);
        for (length, entry) in lengths.iter_mut().enumerate().skip(1) {
            code <<= 1;
            let count = LENGTHS
                .iter()
                .filter(|octets| usize::from(**octets) == length)
                .count();
            *entry = (code, u32::try_from(count).unwrap_or(0), index);
            code += entry.1;
            index += count;
        }
        Self { symbols, lengths }
    }
}

/// Decodes a string of at most `max` octets; `None` when it is none or longer.
pub(super) fn decode(bytes: &[u8], max: usize) -> Option<Vec<u8>> {
    let table = &*CODE;
    let mut decoded = Vec::with_capacity((bytes.len() * 8 / 5).min(max));
    let (mut code, mut length) = (0_u32, 0_usize);
    for bit in bytes
        .iter()
        .flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1))
    {
        code = code << 1 | u32::from(bit);
        length += 1;
        let (first, count, index) = *table.lengths.get(length)?;
        if code.wrapping_sub(first) < count {
            let symbol = table.symbols[index + (code - first) as usize];
            if decoded.len() == max {
                return None;
            }
            decoded.push(u8::try_from(symbol).ok()?); // The end of string is not sent (§5.2).
            (code, length) = (0, 0);
        }
    }
    // What is left is padding: fewer than eight bits, all ones.
    (length < 8 && code == (1 << length) - 1).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_rfc() {
        // RFC 7541 appendix C.4 and C.6.
        let octets = [
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        assert_eq!(decode(&octets, 64).unwrap(), b"www.example.com");
        assert_eq!(
            decode(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], 64).unwrap(),
            b"no-cache"
        );
        assert_eq!(decode(&[0x64, 0x02], 64).unwrap(), b"302");
        assert_eq!(decode(&[], 64).unwrap(), b"");
        assert_eq!(decode(&octets, 3), None);
        assert_eq!(decode(&[0xff; 4], 64), None);
        assert_eq!(decode(&[0], 64), None);
    }
}
