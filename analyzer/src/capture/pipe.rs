//! Reading from pipes: on a thread of its own, so that waiting for a quiet writer can be ended.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::StopFlag;

/// Buffers on their way.
const BUFFERS: usize = 4;
/// Bytes read at a time: what a pipe of Linux holds.
const BUFFER_BYTES: usize = 64 << 10;
/// How often a waiting reader looks whether it shall stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The reading end of the thread.
pub(super) struct PipeReader {
    filled: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    at: usize,
    stop: StopFlag,
}

impl PipeReader {
    /// Starts reading `source`.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn new(mut source: impl Read + Send + 'static, stop: StopFlag) -> io::Result<Self> {
        let (sender, filled) = bounded(BUFFERS);
        let run = move || {
            loop {
                let mut buffer = vec![0; BUFFER_BYTES];
                let outcome = match source.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(got) => {
                        buffer.truncate(got);
                        Ok(buffer)
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let failed = outcome.is_err();
                if sender.send(outcome).is_err() || failed {
                    return;
                }
            }
        };
        thread::Builder::new().name("pipe".to_owned()).spawn(run)?;
        Ok(Self {
            filled,
            current: Vec::new(),
            at: 0,
            stop,
        })
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.current.len() {
            match self.filled.recv_timeout(LOOK_EVERY) {
                Ok(filled) => {
                    self.current = filled?;
                    self.at = 0;
                }
                Err(RecvTimeoutError::Timeout) if self.stop.is_set() => {
                    return Err(io::Error::other("interrupted"));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
        }
        let rest = &self.current[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}
