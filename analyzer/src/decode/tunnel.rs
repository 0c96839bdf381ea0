//! Tunnels.

use super::decoder::{Decoder, IpFields, Path};
use super::stats::DecodeStop;
use super::window::Window;

impl Decoder<'_> {
    pub fn mpls(&mut self, _window: Window<'_>, _path: Path) {
        self.stop(DecodeStop::EtherType(0x8847));
    }
    pub fn pppoe(&mut self, _window: Window<'_>, _path: Path) {
        self.stop(DecodeStop::EtherType(0x8864));
    }
    pub fn ppp(&mut self, _window: Window<'_>, _path: Path) {
        self.stop(DecodeStop::EtherType(0x880b));
    }
    pub fn erspan2(&mut self, _window: Window<'_>, _path: Path) {
        self.stop(DecodeStop::EtherType(0x88be));
    }
    pub fn erspan3(&mut self, _window: Window<'_>, _path: Path) {
        self.stop(DecodeStop::EtherType(0x22eb));
    }
    pub fn ip_in_ip(&mut self, protocol: u8, _window: Window<'_>, _ip: &IpFields, _path: Path) {
        self.stop(DecodeStop::IpProtocol(protocol));
    }
    pub fn gre(&mut self, _window: Window<'_>, _ip: &IpFields, _path: Path) {
        self.stop(DecodeStop::IpProtocol(47));
    }
    pub fn l2tpv3_over_ip(&mut self, _window: Window<'_>, _ip: &IpFields, _path: Path) {
        self.stop(DecodeStop::IpProtocol(115));
    }
    pub fn udp_tunnel(
        &mut self,
        _p: (u16, u16),
        _w: Window<'_>,
        _ip: &IpFields,
        _path: Path,
    ) -> bool {
        false
    }
    pub fn radiotap(&mut self, _window: Window<'_>, _path: Path) {
        self.stop(DecodeStop::EtherType(0));
    }
    pub fn prism(&mut self, _window: Window<'_>, _path: Path) {
        self.stop(DecodeStop::EtherType(0));
    }
    pub fn frame_relay(&mut self, _window: Window<'_>, _path: Path) {
        self.stop(DecodeStop::EtherType(0));
    }
    pub fn wlan(&mut self, _window: Window<'_>, _path: Path, _fcs: usize) {
        self.stop(DecodeStop::EtherType(0));
    }
}
