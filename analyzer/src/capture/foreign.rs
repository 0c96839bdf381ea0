//! What a file is that cannot be read, and what to do with it.

/// Formats that are known by name but not read: first bytes, name, what to do.
const FOREIGN: &[(&[u8], &str, &str)] = &[
    (b"GMBU", "a Microsoft Network Monitor 2 capture", EDITCAP),
    (b"RTSS", "a Microsoft Network Monitor 1 capture", EDITCAP),
    (b"XCP\0", "a Sniffer for Windows (NetXray) capture", EDITCAP),
    (b"TRSNIFF data", "a Sniffer for DOS capture", EDITCAP),
    (b"iptrace 1.0", "an AIX iptrace 1 capture", EDITCAP),
    (b"iptrace 2.0", "an AIX iptrace 2 capture", EDITCAP),
    (
        b"btsnoop\0",
        "a Bluetooth snoop log, which holds no IP packets of a network",
        EDITCAP,
    ),
    (
        b"ObserverPktBuffe",
        "a Network Instruments Observer capture",
        EDITCAP,
    ),
    (b"\x7fver", "a Savvius OmniPeek capture", EDITCAP),
    (
        b"\0\0\x02\0\x12\x05\0\x10",
        "a Tektronix K12 capture",
        EDITCAP,
    ),
    (b"\xaa\xaa\xaa\xaa", "an Accellent 5Views capture", EDITCAP),
    (b"\x01\x10\x4c\0", "a Novell LANalyzer capture", EDITCAP),
    (b"\x07\x10\x4c\0", "a Novell LANalyzer capture", EDITCAP),
    (b"#Format=4", "a Daintree SNA capture", EDITCAP),
    (b"\x05VNF", "a Visual Networks capture", EDITCAP),
    (b"EyeSDN", "an EyeSDN trace", EDITCAP),
    (b"Session Transcript", "a Catapult DCT2000 trace", EDITCAP),
    (b"\x54\x52\0\x64\0", "an HP-UX nettl trace", EDITCAP),
    (
        b"\x30\0\0\0\0\0\0\0\x01\0\0\0",
        "a Windows event trace",
        "convert it with `etl2pcapng IN OUT.pcapng`",
    ),
    (
        b"PK\x03\x04",
        "a zip archive",
        "unpack it with `unzip` and give the captures in it",
    ),
    (b"PK\x05\x06", "an empty zip archive", "give a capture file"),
    (
        b"7z\xbc\xaf\x27\x1c",
        "a 7-Zip archive",
        "unpack it with `7z x` and give the captures in it",
    ),
    (
        b"Rar!\x1a\x07",
        "a RAR archive",
        "unpack it and give the captures in it",
    ),
    (
        b"\x1f\x9d",
        "compressed by compress",
        "unpack it with `uncompress`",
    ),
    (b"LZIP", "compressed by lzip", "unpack it with `lzip -d`"),
    (b"\x5d\0\0", "compressed by lzma", "unpack it with `unlzma`"),
    (
        b"\x89LZO\0",
        "compressed by lzop",
        "unpack it with `lzop -d`",
    ),
    (
        b"SQLite format 3",
        "an SQLite database",
        "give a capture file",
    ),
    (b"PAR1", "a Parquet file", "give a capture file"),
    (b"\x7fELF", "a program", "give a capture file"),
    (b"%PDF", "a PDF document", "give a capture file"),
    (
        b"<?xml",
        "XML",
        "tshark's PDML cannot be turned back: give the capture it was made from",
    ),
];

const EDITCAP: &str = "convert it with `editcap -F pcapng IN OUT.pcapng`";

/// Says in words what an unreadable file is and what to do with it.
pub(super) fn describe(head: &[u8]) -> String {
    if head.is_empty() {
        return "the file is empty: expected a pcap or pcapng capture".to_owned();
    }
    if let Some((_, what, remedy)) = FOREIGN.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return format!("this is {what}, which is not read: {remedy}");
    }
    if head.get(257..262) == Some(b"ustar") {
        return "this is a tar archive: unpack it with `tar xf` and give the captures in it"
            .to_owned();
    }
    if head.get(4..10) == Some(b"\0\0\0\0\0\0") && head.get(..4) == Some(b"\0\0\0\0") {
        return "the file begins with zeros, as files do after a crash or on a full disk: expected a pcap or pcapng capture".to_owned();
    }
    let sample = head.get(..512).unwrap_or(head);
    let printable = sample
        .iter()
        .filter(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e))
        .count();
    if printable * 100 >= sample.len() * 95 {
        return "this is text, not a capture: capture with `tcpdump -w FILE`, convert a hex dump with `text2pcap`, or what else Wireshark reads with `editcap -F pcapng IN OUT.pcapng`".to_owned();
    }
    let magic = head.get(..8).unwrap_or(head);
    format!(
        "not a capture in a known format: expected the magic number of pcap, pcapng or snoop, found {magic:02x?}; if Wireshark reads it, convert it with `editcap -F pcapng IN OUT.pcapng`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_formats_are_named_with_a_remedy() {
        assert!(describe(b"GMBU\0\x02").contains("editcap"));
        assert!(describe(b"\x01\x10\x4c\0\x01\x05Trace").contains("LANalyzer"));
        assert!(describe(b"").contains("empty"));
        assert!(describe(b"hello, world\n").contains("text2pcap"));
        assert!(describe(&[0xff; 40]).contains("ff, ff"));
    }
}
