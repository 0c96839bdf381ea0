//! Joins the two faces of a translated connection: segments that went to one address and were
//! answered by another.
//!
//! A REDIRECT in a host's OUTPUT chain shows on its loopback interface as a SYN to 127.0.0.1 whose
//! SYN-ACK bears the original destination. Both directions are brought to the key of the SYN, so
//! that one tracker sees them; the address that answers is kept beside it. Runs in frame order
//! over all packets, before they are spread over shards.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::addr::Endpoint;
use crate::decode::{Packet, PacketKind, TcpFields};
use crate::seq::SeqNumber;
use crate::time::Timestamp;

/// SYNs that wait for their answer, and connections followed, at one time; others are forgotten,
/// and their connections stay two halves.
const ENTRIES: usize = 16_384;

/// Sequence numbers this close belong together: more than a window's worth in flight is rare, and
/// both numbers have to fit.
const NEAR: u32 = 1 << 20;

/// An address and a port as packets bear them.
type Place = ([u8; 16], u16);

/// Follows SYNs and their answers over the whole capture.
#[derive(Debug, Default)]
pub(crate) struct Translator {
    syns: RecentSyns,
    /// Connections to a loopback address from another, by client: where to and the numbers of the
    /// latest segment.
    local: Bounded<Place, Local>,
    /// Where a client's segments really went, by client and the address that answers.
    joined: Bounded<(Place, Place), Place>,
    datagrams: Datagrams,
}

/// The same for UDP, which has no numbers: an answer from an address that the client never sent
/// to, soon after a datagram of its to a loopback address.
#[derive(Debug, Default)]
struct Datagrams {
    /// Where and when a client last sent to a loopback address from another.
    asking: Bounded<Place, (Place, Timestamp)>,
    /// Other destinations of such clients.
    asked: Bounded<(Place, Place), ()>,
    joined: Bounded<(Place, Place), Place>,
}

/// An answer later than this may be anybody's.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The latest segment a client sent to its own loopback address.
#[derive(Clone, Copy, Debug)]
struct Local {
    to: Place,
    next_seq: SeqNumber,
    ack: SeqNumber,
}

impl Translator {
    /// Whether [`Self::take`] has to see this packet even while nothing was joined.
    #[must_use]
    pub fn concerns(packet: &Packet) -> bool {
        matches!(packet.kind, PacketKind::Tcp(tcp) if tcp.flags.syn())
            || (is_loopback(packet.dst) && !is_loopback(packet.src))
    }

    /// Some connection was joined: every packet has to be seen.
    #[must_use]
    pub fn is_active(&self) -> bool {
        let tcp = !self.joined.map.is_empty() || !self.local.map.is_empty();
        tcp || !self.datagrams.asking.map.is_empty()
    }

    /// Takes the next packet in frame order. An answer of a translated connection gets the source
    /// that the client's segments went to; its true source is returned.
    pub fn take(&mut self, packet: &mut Packet) -> Option<Endpoint> {
        let (source, destination) = ((packet.src, packet.src_port), (packet.dst, packet.dst_port));
        let tcp = match packet.kind {
            PacketKind::Tcp(tcp) => tcp,
            PacketKind::Udp => {
                let actual = self.datagrams.take(source, destination, packet.time)?;
                let answering = packet.source();
                (packet.src, packet.src_port) = actual;
                return Some(answering);
            }
            PacketKind::IcmpError { .. } => return None,
        };
        if tcp.flags.syn() && !tcp.flags.ack() {
            if self.is_active() {
                self.joined.remove((source, destination));
            }
            let answer = answer_hash(source, tcp.seq.advanced(1));
            self.syns.insert(answer, destination);
        }
        if is_loopback(packet.dst) {
            if !is_loopback(packet.src) {
                self.note_local(source, destination, packet, &tcp);
            }
            return None;
        }
        if !self.is_active() && !tcp.flags.ack() {
            return None;
        }
        let actual = self
            .joined
            .get((destination, source))
            .or_else(|| self.match_handshake(source, destination, &tcp))
            .or_else(|| self.match_numbers(source, destination, &tcp))?;
        let answering = packet.source();
        (packet.src, packet.src_port) = actual;
        Some(answering)
    }

    fn note_local(&mut self, source: Place, to: Place, packet: &Packet, tcp: &TcpFields) {
        let control = u32::from(tcp.flags.syn()) + u32::from(tcp.flags.fin());
        let local = Local {
            to,
            next_seq: tcp.seq.advanced(packet.payload_len).advanced(control),
            ack: tcp.ack,
        };
        self.local.insert(source, local);
    }

    /// A SYN-ACK from an address the SYN did not go to.
    fn match_handshake(&mut self, from: Place, client: Place, tcp: &TcpFields) -> Option<Place> {
        if !(tcp.flags.syn() && tcp.flags.ack()) {
            return None;
        }
        let asked = self.syns.take(answer_hash(client, tcp.ack))?;
        (asked != from).then(|| self.join(client, from, asked))
    }

    /// In mid-stream: an answer whose numbers fit a connection of this client to loopback.
    fn match_numbers(&mut self, from: Place, client: Place, tcp: &TcpFields) -> Option<Place> {
        if self.local.map.is_empty() || is_loopback(from.0) || !tcp.flags.ack() {
            return None;
        }
        let local = self.local.get(client)?;
        let near = |one: SeqNumber, other| one.distance_from(other).unsigned_abs() <= NEAR;
        let fits = near(tcp.ack, local.next_seq) && near(tcp.seq, local.ack);
        fits.then(|| self.join(client, from, local.to))
    }

    fn join(&mut self, client: Place, answering: Place, actual: Place) -> Place {
        self.joined.insert((client, answering), actual);
        actual
    }
}

impl Datagrams {
    /// Where the datagram that this one answers really went, when that is another address.
    fn take(&mut self, source: Place, destination: Place, time: Timestamp) -> Option<Place> {
        if is_loopback(destination.0) {
            if !is_loopback(source.0) {
                self.asking.insert(source, (destination, time));
            }
            return None;
        }
        if self.asking.get(source).is_some() {
            self.asked.insert((source, destination), ());
        }
        if let Some(actual) = self.joined.get((destination, source)) {
            return Some(actual);
        }
        let (actual, at) = self.asking.get(destination)?;
        let stranger = self.asked.get((destination, source)).is_none();
        if is_loopback(source.0) || !stranger || time.since(at) > ANSWER_WITHIN {
            return None;
        }
        self.joined.insert((destination, source), actual);
        Some(actual)
    }
}

/// A hash of what tells an answer to a SYN: who sent that, and the acknowledgement of it.
fn answer_hash((octets, port): Place, ack: SeqNumber) -> u64 {
    let mut hasher = FixedState::with_seed(0x616e_7377).build_hasher();
    hasher.write_u128(u128::from_le_bytes(octets));
    hasher.write_u64(u64::from(port) << 32 | u64::from(ack.0));
    hasher.finish()
}

fn is_loopback(address: [u8; 16]) -> bool {
    /// `::ffff:127.0.0.0/104`.
    const V4: [u8; 13] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127];
    const V6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    address.starts_with(&V4) || address == V6
}

/// Where SYNs went, by [`answer_hash`]: each has one place in a table of [`ENTRIES`], where a later
/// one may take its room.
#[derive(Debug, Default)]
struct RecentSyns {
    table: Vec<Option<(u64, Place)>>,
}

impl RecentSyns {
    fn insert(&mut self, answer: u64, to: Place) {
        if self.table.is_empty() {
            self.table.resize(ENTRIES, None);
        }
        self.table[Self::place(answer)] = Some((answer, to));
    }

    fn take(&mut self, answer: u64) -> Option<Place> {
        let place = self.table.get_mut(Self::place(answer))?;
        place
            .take_if(|(known, _)| *known == answer)
            .map(|(_, to)| to)
    }

    fn place(answer: u64) -> usize {
        usize::try_from(answer % ENTRIES as u64).unwrap_or(0)
    }
}

/// A map that forgets what was put in first.
#[derive(Debug)]
struct Bounded<K, V> {
    map: HashMap<K, V, FixedState>,
    order: VecDeque<K>,
}

impl<K, V> Default for Bounded<K, V> {
    fn default() -> Self {
        Self {
            map: HashMap::default(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Copy + Eq + Hash, V: Copy> Bounded<K, V> {
    fn get(&self, key: K) -> Option<V> {
        self.map.get(&key).copied()
    }

    fn insert(&mut self, key: K, value: V) {
        if self.map.insert(key, value).is_some() {
            return;
        }
        self.order.push_back(key);
        // Keys that were removed stay in the order until they come up.
        if self.order.len() > ENTRIES
            && let Some(oldest) = self.order.pop_front()
        {
            self.map.remove(&oldest);
        }
    }

    fn remove(&mut self, key: K) -> Option<V> {
        self.map.remove(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::TcpFlags;
    use crate::time::Timestamp;

    const CLIENT: &str = "10.9.0.1:40000";
    const LOCAL: &str = "127.0.0.1:80";
    const INTENDED: &str = "123.56.0.0:80";

    fn packet(from: &str, to: &str, flags: u8, seq: u32, ack: u32) -> Packet {
        let octets = |text: &str| {
            let address: std::net::SocketAddr = text.parse().unwrap();
            let ip = match address.ip() {
                std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                std::net::IpAddr::V6(ip) => ip.octets(),
            };
            (ip, address.port())
        };
        let ((src, src_port), (dst, dst_port)) = (octets(from), octets(to));
        Packet {
            frame: 1,
            time: Timestamp::default(),
            src,
            dst,
            src_port,
            dst_port,
            wire_len: 60,
            payload_len: 0,
            payload_start: 0,
            payload_captured: 0,
            ip_id: None,
            hop_limit: 64,
            ecn: 0,
            dont_fragment: true,
            reassembled: false,
            observation_point: 0,
            kind: PacketKind::Tcp(TcpFields {
                seq: SeqNumber(seq),
                ack: SeqNumber(ack),
                flags: TcpFlags(flags),
                ..TcpFields::default()
            }),
        }
    }

    fn take(translator: &mut Translator, mut packet: Packet) -> Option<(String, String)> {
        let answering = translator.take(&mut packet)?;
        Some((answering.to_string(), packet.source().to_string()))
    }

    fn datagram(from: &str, to: &str) -> Packet {
        Packet {
            kind: PacketKind::Udp,
            ..packet(from, to, 0, 0, 0)
        }
    }

    #[test]
    fn datagrams_are_joined_by_an_answer_that_nobody_asked_for() {
        let mut translator = Translator::default();
        assert_eq!(take(&mut translator, datagram(CLIENT, LOCAL)), None);
        let joined = Some((INTENDED.to_owned(), LOCAL.to_owned()));
        assert_eq!(take(&mut translator, datagram(INTENDED, CLIENT)), joined);
        // A server that the same socket did ask answers for itself.
        let other = "203.0.113.9:53";
        take(&mut translator, datagram(CLIENT, other));
        assert_eq!(take(&mut translator, datagram(other, CLIENT)), None);
        // An answer long afterwards is nobody's.
        let mut late = datagram("198.51.100.7:53", CLIENT);
        late.time = Timestamp::from_nanos(60_000_000_000);
        assert_eq!(take(&mut translator, late), None);
        assert_eq!(
            take(&mut translator, datagram(INTENDED, "10.9.0.1:41000")),
            None
        );
    }

    const SYN: u8 = TcpFlags::SYN;
    const SYN_ACK: u8 = TcpFlags::SYN | TcpFlags::ACK;
    const ACK: u8 = TcpFlags::ACK;

    #[test]
    fn answer_from_elsewhere_joins_the_syn() {
        let mut translator = Translator::default();
        assert_eq!(
            take(&mut translator, packet(CLIENT, LOCAL, SYN, 1, 0)),
            None
        );
        let joined = Some((INTENDED.to_owned(), LOCAL.to_owned()));
        let answer = packet(INTENDED, CLIENT, SYN_ACK, 900, 2);
        assert_eq!(take(&mut translator, answer), joined);
        assert_eq!(
            take(&mut translator, packet(CLIENT, LOCAL, ACK, 2, 901)),
            None
        );
        assert_eq!(
            take(&mut translator, packet(INTENDED, CLIENT, ACK, 901, 9)),
            joined
        );
    }

    #[test]
    fn right_answers_and_strangers_are_left_alone() {
        let mut translator = Translator::default();
        take(&mut translator, packet(CLIENT, INTENDED, SYN, 1, 0));
        let other = packet("203.0.113.9:80", CLIENT, SYN_ACK, 900, 77);
        assert_eq!(take(&mut translator, other), None);
        let right = packet(INTENDED, CLIENT, SYN_ACK, 900, 2);
        assert_eq!(take(&mut translator, right), None);
        assert_eq!(
            take(&mut translator, packet(INTENDED, CLIENT, ACK, 901, 2)),
            None
        );
    }

    #[test]
    fn both_sides_of_a_translating_router_stay_two_connections() {
        let mut translator = Translator::default();
        let pod = "10.42.0.5:8080";
        take(&mut translator, packet(CLIENT, INTENDED, SYN, 1, 0));
        take(&mut translator, packet(CLIENT, pod, SYN, 1, 0));
        assert_eq!(
            take(&mut translator, packet(pod, CLIENT, SYN_ACK, 900, 2)),
            None
        );
        assert_eq!(
            take(&mut translator, packet(INTENDED, CLIENT, SYN_ACK, 900, 2)),
            None
        );
    }

    #[test]
    fn numbers_join_in_mid_stream() {
        let mut translator = Translator::default();
        take(&mut translator, packet(CLIENT, LOCAL, ACK, 500, 7_000));
        let far = packet("203.0.113.9:443", CLIENT, ACK, 3_000_000_000, 9);
        assert_eq!(take(&mut translator, far), None);
        let answer = packet(INTENDED, CLIENT, ACK, 7_000, 500);
        assert!(take(&mut translator, answer).is_some());
    }
}
