//! Gzip members one after the other (RFC 1952 §2.2), with everything that stands before damage.
//!
//! The library's own reader loses what it inflated in the call that meets the damage.

use std::io::{self, BufRead, Read};

use flate2::{Decompress, FlushDecompress, Status};

/// The largest window that deflate has (RFC 1951 §2).
const WINDOW_BITS: u8 = 15;

/// Reads the members of a gzip file as one stream.
pub(super) struct GzipMembers<R> {
    input: R,
    inflate: Decompress,
    /// Between two members, where a file may end.
    between: bool,
    /// What ends the stream once everything before it was handed out.
    damage: Option<io::Error>,
    ended: bool,
}

impl<R: BufRead> GzipMembers<R> {
    pub fn new(input: R) -> Self {
        Self {
            input,
            inflate: Decompress::new_gzip(WINDOW_BITS),
            between: true,
            damage: None,
            ended: false,
        }
    }

    /// One call of the decoder: octets written, or the damage that it met.
    fn step(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.input.fill_buf()?;
        if self.between {
            // What follows the last member and is none is padding of tapes and the like.
            if !available.starts_with(&[0x1f]) {
                self.ended = true;
                return Ok(0);
            }
            self.inflate = Decompress::new_gzip(WINDOW_BITS);
            self.between = false;
        } else if available.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
        let outcome = self
            .inflate
            .decompress(available, buffer, FlushDecompress::None);
        let count = |total: u64, before: u64| usize::try_from(total - before).unwrap_or(0);
        let read = count(self.inflate.total_in(), read);
        let written = count(self.inflate.total_out(), written);
        self.input.consume(read);
        match outcome {
            Ok(Status::StreamEnd) => self.between = true,
            Ok(_) if read == 0 && written == 0 => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "no progress"));
            }
            Ok(_) => {}
            Err(error) => {
                self.damage = Some(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
        Ok(written)
    }
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while !self.ended {
            if let Some(error) = self.damage.take() {
                self.ended = true;
                return Err(error);
            }
            match self.step(buffer)? {
                0 => {}
                written => return Ok(written),
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn member(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    }

    fn read(bytes: &[u8]) -> (Vec<u8>, io::Result<()>) {
        let mut reader = GzipMembers::new(bytes);
        let (mut all, mut buffer) = (Vec::new(), [0; 100]);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return (all, Ok(())),
                Ok(got) => all.extend_from_slice(&buffer[..got]),
                Err(error) => return (all, Err(error)),
            }
        }
    }

    /// Octets that do not compress, so that damage in the middle leaves half of them.
    fn noise(len: u32) -> Vec<u8> {
        let octet = |at: u32| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0];
        (0..len).map(octet).collect()
    }

    #[test]
    fn members_and_padding() {
        let (one, two) = (noise(1000), noise(300));
        let file = [member(&one), member(&two), vec![0; 512]].concat();
        let (all, outcome) = read(&file);
        assert_eq!(all, [one, two].concat());
        outcome.expect("padding is no damage");
    }

    #[test]
    fn what_stands_before_damage_is_kept() {
        let bytes = noise(50_000);
        let mut file = member(&bytes);
        let middle = file.len() / 2;
        file[middle..].fill(0xff);
        let (all, outcome) = read(&file);
        assert!(all.len() > 5_000, "{}", all.len());
        assert!(bytes.starts_with(&all[..5_000]));
        outcome.expect_err("the second half is damaged");
    }

    #[test]
    fn a_cut_file_says_so() {
        let file = member(&noise(5000));
        let (all, outcome) = read(&file[..file.len() - 20]);
        assert!(!all.is_empty());
        let error = outcome.expect_err("the end is missing");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
