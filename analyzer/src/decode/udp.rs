//! UDP datagrams (RFC 768), and the tunnels that are told by their port and content.

use super::decoder::{Decoder, Path};
use super::packet::{IpFields, PacketKind};
use super::stats::{DecodeStop, Protocol};
use super::window::Window;

/// Length of the header.
const HEADER: usize = 8;

impl Decoder<'_> {
    /// A UDP datagram, or the tunnel in it.
    #[inline]
    pub fn udp(&mut self, window: Window<'_>, ip: &IpFields, path: Path) {
        self.met(Protocol::Udp);
        let Some(header) = window.head::<HEADER>() else {
            return self.short(window, "udp");
        };
        let ports = (
            u16::from_be_bytes([header[0], header[1]]),
            u16::from_be_bytes([header[2], header[3]]),
        );
        let payload = match usize::from(u16::from_be_bytes([header[4], header[5]])) {
            // A jumbogram (RFC 2675 §4).
            0 => window,
            len if len < HEADER => return self.stop(DecodeStop::Malformed("udp")),
            len => window.limit(len),
        }
        .skip(HEADER);
        if !self.udp_tunnel(ports, payload, ip, path) {
            self.emit(ports, payload, PacketKind::Udp, ip, path);
        }
    }
}
