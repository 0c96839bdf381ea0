//! TCP headers (RFC 9293 §3.1), also cut ones.

use super::decoder::{Decoder, Path};
use super::packet::{CutSegment, IpFields, PacketKind, TcpFields, TcpFlags};
use super::stats::{DecodeStop, Protocol};
use super::tcp_option;
use super::window::Window;
use crate::capture::{Remark, Said};
use crate::seq::SeqNumber;

/// The header without options.
const HEADER: usize = 20;
/// As much of a header as says what the segment is: up to its flags.
const USABLE: usize = 14;

impl Decoder<'_> {
    /// A TCP segment.
    #[inline]
    pub fn tcp(&mut self, window: Window<'_>, ip: &IpFields, path: Path) {
        self.met(Protocol::Tcp);
        let Some(header) = window.head::<HEADER>() else {
            return self.tcp_cut(window, ip, path);
        };
        let header_len = usize::from(header[12] >> 4) * 4;
        if header_len < HEADER || header_len > window.len {
            return self.stop(DecodeStop::Malformed("tcp"));
        }
        let mut tcp = TcpFields {
            seq: SeqNumber(u32::from_be_bytes([
                header[4], header[5], header[6], header[7],
            ])),
            ack: SeqNumber(u32::from_be_bytes([
                header[8], header[9], header[10], header[11],
            ])),
            flags: TcpFlags(header[13]),
            window_field: u16::from_be_bytes([header[14], header[15]]),
            ..TcpFields::default()
        };
        if header_len > HEADER {
            tcp.options_cut = window.bytes.len() < header_len;
            let options = window.limit(header_len).skip(HEADER).bytes;
            tcp_option::read(options, &mut tcp);
            if tcp.flags.rst() {
                self.reset_reason(options);
            }
        }
        let ports = (
            u16::from_be_bytes([header[0], header[1]]),
            u16::from_be_bytes([header[2], header[3]]),
        );
        self.emit(
            ports,
            window.skip(header_len),
            PacketKind::Tcp(tcp),
            ip,
            path,
        );
    }

    /// Keeps what the options of a RST state as its reason.
    #[cold]
    pub fn reset_reason(&mut self, options: &[u8]) {
        if let Some(cause) = tcp_option::reset_reason(options) {
            self.out.remarks.push(Remark {
                frame: self.number,
                says: Said::ResetCause(cause.into()),
            });
        }
    }

    /// A header that the snap length cut: whatever still tells what the segment is.
    fn tcp_cut(&mut self, window: Window<'_>, ip: &IpFields, path: Path) {
        let Some(header) = window.head::<USABLE>() else {
            self.tcp_stump(window, ip, path);
            return self.short(window, "tcp");
        };
        let header_len = usize::from(header[12] >> 4) * 4;
        if !window.is_cut() || header_len < HEADER || header_len > window.len {
            return self.stop(DecodeStop::Malformed("tcp"));
        }
        let tcp = TcpFields {
            seq: SeqNumber(u32::from_be_bytes([
                header[4], header[5], header[6], header[7],
            ])),
            ack: SeqNumber(u32::from_be_bytes([
                header[8], header[9], header[10], header[11],
            ])),
            flags: TcpFlags(header[13]),
            window_field: window.u16(14).unwrap_or(0),
            window_cut: window.bytes.len() < 16,
            options_cut: header_len > HEADER,
            ..TcpFields::default()
        };
        let ports = (
            u16::from_be_bytes([header[0], header[1]]),
            u16::from_be_bytes([header[2], header[3]]),
        );
        self.emit(
            ports,
            window.skip(header_len),
            PacketKind::Tcp(tcp),
            ip,
            path,
        );
    }
    /// A header that the snap length cut before the flags, as long as the ports are there.
    fn tcp_stump(&mut self, window: Window<'_>, ip: &IpFields, path: Path) {
        let (Some(source), Some(target)) = (window.u16(0), window.u16(2)) else {
            return;
        };
        if !window.is_cut_before(USABLE) || window.len < HEADER {
            return;
        }
        let mut numbers = [0; USABLE];
        for (octet, captured) in numbers.iter_mut().zip(window.bytes) {
            *octet = *captured;
        }
        let number = |at: usize| {
            let octets = [0, 1, 2, 3].map(|offset| numbers[at + offset]);
            SeqNumber(u32::from_be_bytes(octets))
        };
        let tcp = TcpFields {
            seq: number(4),
            ack: number(8),
            options_cut: true,
            window_cut: true,
            ..TcpFields::default()
        };
        let packet = self.packet((source, target), window, PacketKind::Tcp(tcp), ip, path);
        self.out.cut_segments.push(CutSegment {
            packet,
            known: u8::try_from(window.bytes.len()).unwrap_or(u8::MAX),
        });
    }
}
