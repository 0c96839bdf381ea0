//! UDP at two points: what is lost, overtaken and copied of datagrams that nothing acknowledges.

mod common;

use common::{Frame, compared, each_way, scratch, write};

const MS: i64 = 1_000_000;

/// An Ethernet frame of a datagram; its payload is its number, its IP identification as well where it bears one.
fn datagram(time: i64, port: u16, up: bool, number: u32, id: u16) -> Frame {
    let (client, server) = ([10, 9, 0, 1], [10, 9, 0, 2]);
    let (ends, ports) = if up {
        ([client, server], [port, 5001])
    } else {
        ([server, client], [5001, port])
    };
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    bytes.extend([0x45, 0, 0, 52]);
    bytes.extend(id.to_be_bytes());
    bytes.extend([0x40, 0, 64, 17, 0, 0]);
    bytes.extend(ends.concat());
    bytes.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    bytes.extend([0, 32, 0, 0]);
    bytes.extend([number.to_be_bytes(); 6].concat());
    Frame {
        time,
        original_len: 66,
        bytes,
    }
}

#[test]
fn datagrams_are_followed_without_acknowledgements() {
    for bears_id in [true, false] {
        let (mut client, mut server) = (Vec::new(), Vec::new());
        for number in 0..200_u32 {
            let (time, port) = (i64::from(number) * 4 * MS, 40_000 + (number % 4) as u16);
            let id = if bears_id { number as u16 + 1 } else { 0 };
            client.push(datagram(time, port, true, number, id));
            let late = if number % 40 == 8 { 40 * MS } else { 0 };
            if number % 20 != 3 {
                let arrived = time + 10 * MS + late;
                server.push(datagram(arrived, port, true, number, id));
                if number % 50 == 9 {
                    server.push(datagram(arrived + 20_000, port, true, number, id));
                }
                server.push(datagram(arrived + MS, port, false, number, id));
                client.push(datagram(arrived + 11 * MS, port, false, number, id));
            }
        }
        for frames in [&mut client, &mut server] {
            frames.sort_by_key(|frame| frame.time);
        }
        let folder = scratch();
        let file = |name: &str, frames: &[Frame]| {
            let file = folder.path().join(name);
            write(&file, frames);
            file
        };
        let result = compared(&[
            ("client", file("client.pcap", &client)),
            ("server", file("server.pcap", &server)),
        ]);
        let ways = each_way(&result);
        assert_eq!(ways.len(), 8, "{ways:?}");
        let sum = |way: &str| {
            let mut sums = [0; 7];
            for (_, counts) in ways.iter().filter(|one| one.0.ends_with(way)) {
                sums.iter_mut()
                    .zip(counts)
                    .for_each(|(sum, count)| *sum += count);
            }
            sums
        };
        // Delivered, lost, missed at either point, overtaken, copied, made.
        assert_eq!(sum("up"), [190, 10, 0, 0, 5, 4, 0], "{bears_id}: {ways:?}");
        assert_eq!(sum("down"), [190, 0, 0, 0, 0, 0, 0], "{bears_id}: {ways:?}");
    }
}
