//! The part of a frame that a header's payload is: captured bytes, true length, place.

/// Captured bytes of a layer, with the length the layer truly had.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'a> {
    /// What was captured; never more than `len`.
    pub bytes: &'a [u8],
    /// Length on the wire, as far as the outer layers tell.
    pub len: usize,
    /// Offset of `bytes` in the buffer that holds the frame.
    pub at: usize,
}

impl<'a> Window<'a> {
    /// All of a buffer.
    pub const fn whole(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            len: bytes.len(),
            at: 0,
        }
    }

    /// What follows `count` octets; empty when fewer were captured.
    #[inline]
    pub fn skip(self, count: usize) -> Self {
        Self {
            bytes: self.bytes.get(count..).unwrap_or(&[]),
            len: self.len.saturating_sub(count),
            at: self.at + count.min(self.bytes.len()),
        }
    }

    /// At most the first `len` octets: what follows is padding or a trailer.
    #[inline]
    pub fn limit(self, len: usize) -> Self {
        let bytes = self.bytes.get(..len).unwrap_or(self.bytes);
        Self {
            bytes,
            len: self.len.min(len),
            at: self.at,
        }
    }

    /// Whether octets are missing that were on the wire.
    pub const fn is_cut(&self) -> bool {
        self.bytes.len() < self.len
    }

    /// Whether fewer than `count` octets are there, and more were on the wire.
    pub const fn is_cut_before(&self, count: usize) -> bool {
        self.is_cut() && self.bytes.len() < count
    }

    /// The first `N` octets.
    #[inline]
    pub fn head<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.bytes.first_chunk::<N>()
    }

    /// The octet at `index`.
    #[inline]
    pub fn u8(&self, index: usize) -> Option<u8> {
        self.bytes.get(index).copied()
    }

    /// Two octets at `index`, network order.
    #[inline]
    pub fn u16(&self, index: usize) -> Option<u16> {
        self.bytes
            .get(index..)?
            .first_chunk()
            .map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// Four octets at `index`, network order.
    #[inline]
    pub fn u32(&self, index: usize) -> Option<u32> {
        self.bytes
            .get(index..)?
            .first_chunk()
            .map(|bytes| u32::from_be_bytes(*bytes))
    }
}
