//! Undoing compression: streamed, on a thread of its own, bounded.
//!
//! The thread fills buffers ahead of the reader; there are [`BUFFERS`] of them, used again and
//! again, so a file that inflates to terabytes takes no more memory than any other. It also
//! stops when a file inflates beyond all reason ([`Bound`]).

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::gzip::GzipMembers;

/// Buffers between the inflating thread and the reader.
const BUFFERS: usize = 8;
/// Bytes in each of them.
const BUFFER_BYTES: usize = 256 << 10;
/// Bytes of compressed input read at a time.
const INPUT_BYTES: usize = 64 << 10;
/// Memory that an xz stream may ask for its dictionary: that of `xz -9` is 64 MiB.
const XZ_MEMORY: u64 = 256 << 20;
/// Largest zstd window, as the zstd program allows by default: 128 MiB.
const ZSTD_WINDOW_LOG: u32 = 27;

/// A compression that is undone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compression {
    Gzip,
    Zstd,
    Lz4,
    Xz,
    Bzip2,
}

impl Compression {
    /// The name in a file summary.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        }
    }

    /// Recognises a compression by its first bytes.
    pub fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            // A skippable frame may stand first; zstd and lz4 share these numbers, and of the
            // two only zstd's tools write them (pzstd, zstd --seekable).
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => Some(Self::Lz4),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Self::Bzip2),
            _ => None,
        }
    }
}

/// Counts the stored bytes that went through, for progress and for the bound.
#[derive(Debug)]
pub(super) struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    /// Counts what is read from `inner` into `count`.
    pub const fn new(inner: R, count: Arc<AtomicU64>) -> Self {
        Self { inner, count }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.count.fetch_add(got as u64, Ordering::Relaxed);
        Ok(got)
    }
}

/// How far a compressed file may inflate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub ratio: u64,
    pub free_bytes: u64,
}

/// Undoes `compression` in the calling thread.
///
/// # Errors
/// The decoder's own, when it cannot be set up.
pub(super) fn inflate<'a>(
    compression: Compression,
    input: impl Read + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let input = BufReader::with_capacity(INPUT_BYTES, input);
    Ok(match compression {
        Compression::Gzip => Box::new(GzipMembers::new(input)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Compression::Lz4 => Box::new(Lz4Frames::new(input)),
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(
                XZ_MEMORY,
                liblzma::stream::CONCATENATED,
            )?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
    })
}

/// Undoes `compression` on a thread of its own, ahead of the reader.
///
/// # Errors
/// When the decoder or the thread cannot be set up.
pub(super) fn inflate_ahead(
    compression: Compression,
    input: impl Read + Send + 'static,
    stored: Arc<AtomicU64>,
    bound: Bound,
) -> io::Result<InflatedAhead> {
    let decoder = inflate(compression, Counted::new(input, Arc::clone(&stored)))?;
    let (full_sender, full) = bounded(BUFFERS);
    let (empty, empty_receiver) = bounded(BUFFERS);
    for _ in 0..BUFFERS {
        // There is room for all of them; they grow to their size when they are first filled.
        let _ = empty.send(Vec::new());
    }
    thread::Builder::new()
        .name("inflate".to_owned())
        .spawn(move || run(decoder, &stored, bound, &full_sender, &empty_receiver))?;
    Ok(InflatedAhead {
        full,
        empty,
        current: Vec::new(),
        at: 0,
        ended: false,
    })
}

/// What the thread hands over: a filled buffer, or why there is no more.
type Filled = io::Result<Vec<u8>>;

fn run(
    mut decoder: Box<dyn Read + Send>,
    stored: &AtomicU64,
    bound: Bound,
    full: &Sender<Filled>,
    empty: &Receiver<Vec<u8>>,
) {
    let mut inflated = 0_u64;
    while let Ok(mut buffer) = empty.recv() {
        buffer.resize(BUFFER_BYTES, 0);
        let (filled, outcome) = fill(&mut decoder, &mut buffer);
        inflated += filled as u64;
        buffer.truncate(filled);
        if filled > 0 && full.send(Ok(buffer)).is_err() {
            return; // The reader has gone.
        }
        if let Err(error) = outcome {
            let _ = full.send(Err(error));
            return;
        }
        if filled < BUFFER_BYTES {
            return;
        }
        let stored = stored.load(Ordering::Relaxed).max(1);
        if inflated > bound.free_bytes && inflated / stored > bound.ratio {
            let text = format!(
                "{stored} stored bytes inflated to {inflated}: rejected as a decompression bomb; if it is not one, unpack it and pass the unpacked file"
            );
            let _ = full.send(Err(io::Error::other(text)));
            return;
        }
    }
}

/// Reads until `buffer` is full or there is no more; says how far it came in either case.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> (usize, io::Result<()>) {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (filled, Err(error)),
        }
    }
    (filled, Ok(()))
}

/// The reading end of an inflating thread.
#[derive(Debug)]
pub(super) struct InflatedAhead {
    full: Receiver<Filled>,
    empty: Sender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for InflatedAhead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            if self.ended {
                return Ok(0);
            }
            let used = std::mem::take(&mut self.current);
            if used.capacity() > 0 {
                // The thread may have ended; then nobody needs the buffer.
                let _ = self.empty.try_send(used);
            }
            self.at = 0;
            match self.full.recv() {
                Ok(Ok(filled)) => self.current = filled,
                Ok(Err(error)) => {
                    self.ended = true;
                    return Err(error);
                }
                Err(_) => {
                    self.ended = true;
                    return Ok(0);
                }
            }
        }
        let rest = &self.current[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

/// Several lz4 frames one after the other; the library's decoder stops after each.
struct Lz4Frames<R: BufRead> {
    decoder: lz4_flex::frame::FrameDecoder<R>,
}

impl<R: BufRead> Lz4Frames<R> {
    fn new(input: R) -> Self {
        Self {
            decoder: lz4_flex::frame::FrameDecoder::new(input),
        }
    }
}

impl<R: BufRead> Read for Lz4Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.decoder.read(buffer)? {
                // Each turn reads at least a frame header, so this ends with the input.
                0 if !buffer.is_empty() && !self.decoder.get_mut().fill_buf()?.is_empty() => {}
                got => return Ok(got),
            }
        }
    }
}
