//! What is known of addresses, and what happened to many connections at one time, from packets
//! written for it.

use std::net::IpAddr;
use std::time::Duration;

use pcapdoc_analyzer::capture::{Input, ReadOptions};
use pcapdoc_analyzer::episodes::{Episode, EpisodeKind};
use pcapdoc_analyzer::hosts::{IpIdBehaviour, SegmentKind};
use pcapdoc_analyzer::pipeline::{self, ConnectionSink, Settings};
use pcapdoc_analyzer::{Analysis, Connection};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

struct Ignore;

impl ConnectionSink for Ignore {
    fn connection(&mut self, _: &Connection) {}
}

/// Packets of raw IPv4, in any order of time.
#[derive(Default)]
struct Script(Vec<(u32, Vec<u8>)>);

/// One end of a connection: the last octet of its address, its port, its next sequence number.
#[derive(Clone, Copy)]
struct End {
    host: u8,
    port: u16,
    seq: u32,
}

struct Flow {
    ends: [End; 2],
}

impl Script {
    fn packet(&mut self, millis: u32, from: End, to: End, flags: u8, len: u8, id: u16) {
        let total = 40 + u16::from(len);
        let mut octets = vec![0x45, 0];
        octets.extend(total.to_be_bytes());
        octets.extend(id.to_be_bytes());
        octets.extend([0x40, 0, if flags & RST == 0 { 64 } else { 255 }, 6, 0, 0]);
        octets.extend([10, 0, 0, from.host, 10, 0, 0, to.host]);
        octets.extend(from.port.to_be_bytes());
        octets.extend(to.port.to_be_bytes());
        octets.extend(from.seq.to_be_bytes());
        octets.extend(to.seq.to_be_bytes());
        octets.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        octets.extend(vec![b'x'; len.into()]);
        self.0.push((millis, octets));
    }

    /// A handshake within a millisecond.
    fn open(
        &mut self,
        millis: u32,
        (client, port): (u8, u16),
        (server, service): (u8, u16),
    ) -> Flow {
        let end = |host, port, seq| End { host, port, seq };
        let mut ends = [
            end(client, port, u32::from(port) * 1000),
            end(server, service, 7000),
        ];
        self.packet(millis, ends[0], End { seq: 0, ..ends[1] }, SYN, 0, 1);
        ends[0].seq += 1;
        self.packet(millis, ends[1], ends[0], SYN | ACK, 0, 1);
        ends[1].seq += 1;
        self.packet(millis, ends[0], ends[1], ACK, 0, 2);
        Flow { ends }
    }

    /// Payload of one end, acknowledged at once when `heard`.
    fn data(&mut self, millis: u32, flow: &mut Flow, sender: usize, heard: bool) {
        let [from, to] = [flow.ends[sender], flow.ends[1 - sender]];
        self.packet(millis, from, to, PSH | ACK, 20, 3);
        if heard {
            flow.ends[sender].seq += 20;
            self.packet(millis, to, flow.ends[sender], ACK, 0, 4);
        }
    }

    /// A request and its answer.
    fn exchange(&mut self, millis: u32, flow: &mut Flow) {
        self.data(millis, flow, 0, true);
        self.data(millis + 2, flow, 1, true);
    }

    /// The client's FIN, and what follows it.
    fn close(&mut self, millis: u32, flow: &mut Flow) {
        self.close_by(millis, flow, 0);
    }

    fn close_by(&mut self, millis: u32, flow: &mut Flow, first: usize) {
        for sender in [first, 1 - first] {
            let [from, to] = [flow.ends[sender], flow.ends[1 - sender]];
            self.packet(millis, from, to, FIN | ACK, 0, 5);
            flow.ends[sender].seq += 1;
        }
        self.packet(millis, flow.ends[first], flow.ends[1 - first], ACK, 0, 6);
    }

    fn analysis_in_slabs(&self, slab_bytes: usize) -> Analysis {
        let mut packets: Vec<&(u32, Vec<u8>)> = self.0.iter().collect();
        packets.sort_by_key(|(millis, _)| *millis);
        let words: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101];
        let mut pcap: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        for (at, (millis, octets)) in packets.into_iter().enumerate() {
            let len = u32::try_from(octets.len()).expect("a small packet");
            // Packets of one millisecond follow each other.
            let micros = millis % 1000 * 1000 + u32::try_from(at % 900).expect("small");
            for word in [millis / 1000 + 1_000_000, micros, len, len] {
                pcap.extend(word.to_le_bytes());
            }
            pcap.extend(octets);
        }
        let thread = std::thread::current().id();
        let name = format!("pcapdoc-episodes-{}-{thread:?}.pcap", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, pcap).expect("a temporary file");
        let settings = Settings {
            read: ReadOptions {
                slab_bytes,
                ..ReadOptions::default()
            },
            ..Settings::default()
        };
        let inputs = [Input::Path(path.clone())];
        let run = pipeline::run(&inputs, &settings, || Ignore, |_| {});
        std::fs::remove_file(&path).expect("it was written");
        run.expect("a capture").0
    }

    fn analysis(&self) -> Analysis {
        let whole = self.analysis_in_slabs(256 << 10);
        let cut = self.analysis_in_slabs(500);
        assert!(whole.hosts == cut.hosts && whole.episodes == cut.episodes);
        whole
    }
}

fn host(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn all(analysis: &Analysis) -> Vec<(EpisodeKind, IpAddr, Option<IpAddr>)> {
    let episodes = analysis.episodes.iter();
    episodes
        .map(|episode| (episode.kind, episode.host, episode.peer))
        .collect()
}

/// Three connections whose last exchange was at the given times, closed together at 9 s.
fn closed_together(last: [u32; 3]) -> Analysis {
    let mut script = Script::default();
    for (number, last) in (0..).zip(last) {
        let mut flow = script.open(
            number * 10,
            (1, 40_000 + number as u16),
            (2 + number as u8, 80),
        );
        script.exchange(200, &mut flow);
        script.exchange(last, &mut flow);
        script.close(9_000 + number * 5, &mut flow);
    }
    script.analysis()
}

#[test]
fn a_program_ends_with_all_its_connections() {
    let analysis = closed_together([8_100, 8_400, 8_800]);
    assert_eq!(all(&analysis), [(EpisodeKind::ProgramEnd, host(1), None)]);
    let ended = analysis.episodes.of_kind(EpisodeKind::ProgramEnd).next();
    assert_eq!(ended.map(|episode| episode.connection_count), Some(3));
    assert!(
        analysis
            .episodes
            .of_connection(EpisodeKind::ProgramEnd, 1)
            .is_some()
    );
    assert_eq!(all(&closed_together([8_100; 3])), [], "one timer fits all");
}

#[test]
fn a_restart_lasts_until_the_next_connection_is_accepted() {
    let mut script = Script::default();
    for (number, last) in (0..).zip([500, 4_000, 8_000]) {
        let port = 40_000 + number as u16;
        let mut flow = script.open(number * 10, (1 + number as u8, port), (9, 80));
        script.exchange(last, &mut flow);
        script.close_by(9_000 + number, &mut flow, 1);
    }
    let mut again = script.open(12_000, (1, 50_000), (9, 80));
    script.exchange(12_010, &mut again);
    let analysis = script.analysis();
    assert_eq!(all(&analysis), [(EpisodeKind::Restart, host(9), None)]);
    let restart = analysis.episodes.iter().next().expect("one");
    assert_eq!(
        (restart.connection_count, restart.length().as_secs()),
        (3, 3)
    );
}

/// Two connections closed in the midst of an answer; the client asks on or does not.
fn page_left(asks_on: bool) -> Analysis {
    let mut script = Script::default();
    let mut flows = [40_000, 40_001].map(|port| script.open(0, (1, port), (2, 80)));
    for flow in &mut flows {
        script.exchange(500, flow);
        script.close(1_000, flow);
        // What was under way when the client closed.
        let [client, server] = flow.ends;
        let late = End {
            seq: server.seq - 1,
            ..server
        };
        script.packet(1_010, late, client, ACK, 90, 8);
    }
    if asks_on {
        let mut next = script.open(1_100, (1, 40_002), (2, 80));
        script.exchange(1_110, &mut next);
    }
    script.analysis()
}

#[test]
fn a_page_is_left_for_the_next_one() {
    let kinds = |analysis: &Analysis| {
        let of_kind = analysis.episodes.of_kind(EpisodeKind::PageCancelled);
        of_kind
            .map(|episode| episode.connection_count)
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(&page_left(true)), [2]);
    assert_eq!(kinds(&page_left(false)), []);
}

/// The winner and a loser, opened together; `others` are answered in the same time.
fn race(others: u16) -> Analysis {
    let mut script = Script::default();
    let mut loser = script.open(0, (1, 40_000), (2, 443));
    let mut winner = script.open(250, (1, 40_001), (2, 443));
    script.data(255, &mut winner, 0, true);
    script.data(300, &mut winner, 1, true);
    script.close(302, &mut loser);
    script.exchange(900, &mut winner);
    for number in 0..others {
        let mut other = script.open(100, (1, 41_000 + number), (2, 443));
        script.exchange(120, &mut other);
        script.exchange(5_000, &mut other);
    }
    script.analysis()
}

#[test]
fn the_losers_of_a_race_are_closed_when_it_is_won() {
    let analysis = race(0);
    let races: Vec<&Episode> = analysis.episodes.of_kind(EpisodeKind::RaceLosers).collect();
    assert_eq!(races.len(), 1);
    assert_eq!(races[0].connections.iter().collect::<Vec<_>>(), [&1]);
    assert_eq!(races[0].winner, Some(4));
    assert_eq!(race(1).episodes.of_kind(EpisodeKind::RaceLosers).count(), 0);
}

/// Two connections; from 2 s to 7 s nothing comes from server 2, and from server 3 unless it lives.
fn silence(other_lives: bool) -> Analysis {
    let mut script = Script::default();
    let mut flows =
        [2, 3].map(|server| script.open(0, (1, 40_000 + u16::from(server)), (server, 80)));
    for (number, flow) in flows.iter_mut().enumerate() {
        for millis in [500, 1_000, 1_500] {
            script.exchange(millis, flow);
        }
        let heard = other_lives && number == 1;
        for millis in [2_000, 2_200, 2_600, 3_400, 5_000] {
            script.data(millis, flow, 0, heard);
        }
        script.exchange(7_000, flow);
    }
    script.analysis()
}

#[test]
fn silence_is_the_hosts_or_the_paths() {
    let own = silence(false);
    assert_eq!(all(&own), [(EpisodeKind::HostSilent, host(1), None)]);
    let episode = own.episodes.iter().next().expect("one");
    assert!(!episode.is_cut && episode.length() > Duration::from_millis(4_900));
    assert!(
        own.episodes
            .covers(EpisodeKind::HostSilent, host(1), episode.from)
    );
    let path = silence(true);
    assert_eq!(
        all(&path),
        [(EpisodeKind::PathDark, host(1), Some(host(2)))]
    );
    let dark = path
        .episodes
        .between(EpisodeKind::PathDark, host(2), host(1), episode.from);
    assert_eq!(dark.map(|dark| dark.is_cut), Some(false));
}

#[test]
fn a_profile_tells_what_a_host_is_and_does() {
    let mut script = Script::default();
    let mut flow = script.open(0, (1, 40_000), (2, 80));
    script.exchange(100, &mut flow);
    // A request that waits 3 s, and a reset of the server with another hop limit.
    script.data(1_000, &mut flow, 0, true);
    let [client, server] = flow.ends;
    script.packet(4_000, client, server, FIN | ACK, 0, 9);
    script.packet(4_100, server, client, RST | ACK, 0, 0);
    for port in 1..=12 {
        let target = End {
            host: 2,
            port,
            seq: 0,
        };
        let scanner = End {
            host: 9,
            port: 50_000 + port,
            seq: 5,
        };
        script.packet(5_000 + u32::from(port), scanner, target, SYN, 0, 7);
    }
    let analysis = script.analysis();
    let profile = |last| analysis.hosts.get(host(last)).expect("it was seen");
    let (client, server, scanner) = (profile(1), profile(2), profile(9));
    let (wait, count) = client.usual_patience().expect("it closed while it waited");
    assert!(wait.abs_diff(Duration::from_secs(3)) < Duration::from_millis(10));
    assert_eq!(count, 1);
    assert!(client.has_set_psh() && !scanner.has_set_psh());
    assert!(scanner.is_scanner() && !client.is_scanner());
    assert_eq!(scanner.client.silent, 12);
    assert_eq!(scanner.client.ports_of_one_address, 12);
    assert_eq!(server.hop_limits().usual(SegmentKind::Reset), Some(255));
    assert_eq!(server.hop_limits().usual(SegmentKind::Other), Some(64));
    assert_eq!((server.server.asked, server.server.exchanged), (13, 1));
    assert!(server.has_answered_as_server() && !client.has_answered_as_server());
    assert_eq!(analysis.hosts.ip_id(host(77)), IpIdBehaviour::Unknown);
    let end = analysis.summary.last.expect("packets");
    assert!(!server.was_heard_after(end) && scanner.was_heard());
    let start = analysis.summary.first.expect("packets");
    let at = |millis: u64| start + Duration::from_millis(millis);
    assert!(server.accepted_between(at(0), at(50)) && !server.accepted_between(at(60), at(9_000)));
    assert!(client.was_heard_between(at(900), at(1_100)));
    assert!(!client.may_have_been_heard_between(at(1_500), at(3_500)));
}
