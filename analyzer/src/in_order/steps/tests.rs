use super::*;
use crate::decode::TcpFlags;

/// Two hosts that exchange a request and an answer every 20 ms; one counts milliseconds, the other
/// four.
struct Talk {
    steps: Steps,
    /// Time as it is, and by how much the capture's clock is ahead of it, in milliseconds.
    now: i64,
    ahead: i64,
    /// By how much the hosts' clocks are behind it.
    slept: [i64; 2],
    octets: u32,
}

impl Talk {
    fn begin() -> Self {
        let mut talk = Self {
            steps: Steps::default(),
            now: 1_000,
            ahead: 0,
            slept: [0; 2],
            octets: 0,
        };
        talk.exchanges(10);
        talk
    }

    fn send(&mut self, of: usize, payload_len: u32) {
        let own = [0, 1].map(|of| self.now - self.slept[of]);
        let clocks = [own[0], own[1] / 4].map(|value| value as u32);
        let end = SeqNumber(self.octets);
        let (src, dst) = if of == 0 { (1, 2) } else { (2, 1) };
        let tcp = TcpFields {
            flags: TcpFlags(TcpFlags::ACK),
            seq: end,
            ack: end,
            timestamps: Some((clocks[of], clocks[1 - of])),
            ..TcpFields::default()
        };
        self.octets += payload_len;
        let packet = Packet {
            frame: 0,
            time: Timestamp::from_nanos((self.now + self.ahead) * 1_000_000),
            src: [src; 16],
            dst: [dst; 16],
            src_port: 1,
            dst_port: 1,
            wire_len: 0,
            payload_len,
            payload_start: 0,
            payload_captured: 0,
            ip_id: None,
            hop_limit: 64,
            ecn: 0,
            dont_fragment: true,
            reassembled: false,
            observation_point: 0,
            kind: PacketKind::Tcp(tcp),
        };
        self.steps.take(&[packet], &[1]);
    }

    fn exchanges(&mut self, count: u32) {
        for _ in 0..count {
            self.send(0, 10);
            self.now += 10;
            self.send(1, 10);
            self.now += 10;
        }
    }

    fn found(mut self) -> Vec<(i64, i64)> {
        self.exchanges(10);
        let ms = |time: Timestamp| time.as_nanos() / 1_000_000;
        let found = self.steps.finish().into_iter();
        found
            .map(|step| (ms(step.before), ms(step.after)))
            .collect()
    }
}

#[test]
fn a_clock_set_forward() {
    let mut talk = Talk::begin();
    let before = talk.now;
    talk.ahead = 700;
    // The latest packet passed 10 ms before.
    assert_eq!(talk.found(), [(before - 10, before + 700)]);
}

#[test]
fn a_pause_is_none_and_may_have_a_step_within() {
    let mut talk = Talk::begin();
    talk.now += 5_000;
    assert_eq!(talk.found(), []);
    let mut talk = Talk::begin();
    talk.now += 5_000;
    talk.ahead = 3_000;
    assert_eq!(talk.found().len(), 1);
}

#[test]
fn a_host_that_slept_is_refuted_by_the_other() {
    for of in 0..2 {
        let mut talk = Talk::begin();
        talk.now += 5_000;
        talk.slept[of] = 4_900;
        assert_eq!(talk.found(), []);
    }
}

#[test]
fn what_waited_on_its_way_is_no_step() {
    let mut talk = Talk::begin();
    // Sent before a standstill of two seconds, delivered after it, and answered then.
    talk.slept[0] = 2_000;
    talk.now += 2_000;
    talk.send(0, 10);
    talk.slept[0] = 0;
    assert_eq!(talk.found(), []);
}

#[test]
fn a_clock_set_back_is_not_measured_across() {
    let mut talk = Talk::begin();
    talk.ahead = -600;
    talk.exchanges(3);
    talk.now += 5_000;
    assert_eq!(talk.found(), []);
}
