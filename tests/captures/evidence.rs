//! Every cited frame, looked up in the capture by the test's own reader: numbers,
//! flags and times are those of the frame, and the frame shows what its note says.

use serde_json::Value;

use crate::frames::{Frames, Segment};
use crate::{Lab, json, list, text};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

fn port(endpoint: &str) -> usize {
    let digits = endpoint.rsplit(':').next().unwrap_or_default();
    digits.parse().expect("a port")
}

/// A cited TCP frame as the document gives it, beside the frame itself.
struct Cited<'a> {
    item: &'a Value,
    note: &'a str,
    segment: Segment,
}

impl Cited<'_> {
    /// What the document says of the frame is what stands in it.
    fn agrees(&self) -> Result<(), String> {
        let (item, segment) = (self.item, &self.segment);
        let number = |key: &str| item[key].as_u64().unwrap_or(u64::MAX);
        if text(item, "flags").is_empty() {
            return Ok(()); // The place where a message begins, not a segment.
        }
        if number("seq") != u64::from(segment.seq) {
            return Err(format!("seq is {}", segment.seq));
        }
        if segment.flags & ACK != 0 && number("ack") != u64::from(segment.ack) {
            return Err(format!("ack is {}", segment.ack));
        }
        if number("payload_bytes") != segment.payload_len as u64 {
            return Err(format!("it carries {} bytes", segment.payload_len));
        }
        let flags = text(item, "flags");
        for (name, bit) in [("FIN", FIN), ("SYN", SYN), ("RST", RST), ("ACK", ACK)] {
            if flags.split(',').any(|flag| flag == name) != (segment.flags & bit != 0) {
                return Err(format!("{name} is not as said"));
            }
        }
        let client = port(text(&item["connection"], "client"));
        let from_client = segment.ports.0 == client;
        let said_client = text(item, "direction") == "client_to_server";
        if from_client != said_client && segment.ports.0 != segment.ports.1 {
            return Err("it goes the other way".to_owned());
        }
        Ok(())
    }

    /// The note's opening words name what the frame is.
    fn shows(&self) -> Result<(), String> {
        let (note, segment) = (self.note, &self.segment);
        let is = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        match () {
            () if note.starts_with("RST with ACK") => is(segment.is(RST | ACK), "no RST with ACK")?,
            () if note.starts_with("RST") => is(segment.flags & RST != 0, "no RST")?,
            () if note.starts_with("SYN-ACK") => is(segment.is(SYN | ACK), "no SYN-ACK")?,
            () if note.starts_with("SYN") || note.starts_with("first SYN") => {
                is(segment.is(SYN), "no SYN")?;
            }
            () if note.starts_with("FIN") => is(segment.flags & FIN != 0, "no FIN")?,
            () if note.starts_with("plain ACK") => {
                is(segment.is(ACK) && segment.payload_len == 0, "no plain ACK")?;
            }
            () if note.contains("last payload")
                || note.contains("first data")
                || note.contains("last data")
                || note.contains("bytes of the request")
                || note.starts_with("request data")
                || note.starts_with("response from") =>
            {
                is(
                    segment.payload_len > 0 || note.contains("after the last payload"),
                    "no payload",
                )?;
            }
            () => {}
        }
        for (words, other) in [("from client", false), ("from server", true)] {
            let client = port(text(&self.item["connection"], "client"));
            let server_sent = segment.ports.0 != client;
            let opening = note.split([',', ';', '(']).next().unwrap_or_default();
            if opening.contains(words) && segment.ports.0 != segment.ports.1 {
                is(server_sent == other, "another end sent it")?;
            }
        }
        Ok(())
    }
}

/// A time in a note, such as `1.2 s`, `9.5 ms` or `80 µs`, in microseconds, with half its last digit.
fn span_of(note: &str, before: &str) -> Option<(f64, f64)> {
    let at = note.find(before)?;
    let mut words = note[..at].split_whitespace().rev();
    let unit = words.next()?;
    let digits = words.next()?;
    let scale = match unit {
        "s" => 1e6,
        "ms" => 1e3,
        "µs" => 1.0,
        _ => return None,
    };
    let decimals = digits.split_once('.').map_or(0, |(_, part)| part.len());
    let half_digit = 0.51 * 10_f64.powi(-i32::try_from(decimals).ok()?) * scale;
    Some((digits.parse::<f64>().ok()? * scale, half_digit))
}

/// Times that a note gives between cited frames of one occurrence: `(words, frames before)`.
fn times_agree(cited: &[Cited<'_>], at: usize) -> Result<(), String> {
    const BETWEEN: [(&str, &str); 6] = [
        (" after the last payload", "last payload"),
        (" after the request", "bytes of the request"),
        (" after the client's", "from client, "),
        (" after the first", "SYN"),
        (" before the FIN at", "FIN from server"),
        (" after it was first sent", "first data"),
    ];
    let this = &cited[at];
    for (words, other) in BETWEEN {
        let Some((said, slack)) = span_of(this.note, words) else {
            continue;
        };
        let same = |one: &&Cited<'_>| {
            one.item["connection"] == this.item["connection"]
                && one.item["frame"] != this.item["frame"]
        };
        let Some(base) = cited
            .iter()
            .filter(same)
            .find(|one| one.note.contains(other))
        else {
            continue;
        };
        let real = this.segment.time_us.abs_diff(base.segment.time_us) as f64;
        if (real - said).abs() > slack + 1.0 {
            return Err(format!("{real} µs lie between the frames, not {said}"));
        }
    }
    Ok(())
}

/// Numbers that a note says are equal.
fn numbers_agree(cited: &[Cited<'_>], at: usize) -> Result<(), String> {
    let this = &cited[at];
    let of_connection = |wanted: &str| {
        cited
            .iter()
            .filter(|one| one.item["connection"] == this.item["connection"])
            .find(|one| one.note.starts_with(wanted))
    };
    if this
        .note
        .contains("its sequence number is the request's ACK number")
    {
        let request = of_connection("request data").ok_or("no request is cited")?;
        if request.segment.ack != this.segment.seq {
            return Err("its sequence number is another".to_owned());
        }
    }
    if this
        .note
        .contains("its sequence number is the ACK's number")
    {
        let challenge = of_connection("plain ACK").ok_or("no plain ACK is cited")?;
        if challenge.segment.ack != this.segment.seq {
            return Err("its sequence number is another".to_owned());
        }
    }
    if let Some(fin) = of_connection("FIN from server")
        && this.note.contains("cover the FIN") | this.note.contains("covers the FIN")
    {
        let length = u32::try_from(fin.segment.payload_len).unwrap_or_default() + 1;
        let end = fin.segment.seq.wrapping_add(length);
        let covers = this.segment.ack.wrapping_sub(end) < 1 << 31;
        if covers != this.note.contains("covers the FIN") {
            return Err("its ACK number says the opposite".to_owned());
        }
    }
    if this.note.starts_with("the same SYN retransmitted")
        || this.note.starts_with("retransmission of that data")
    {
        let first = cited
            .iter()
            .filter(|one| one.item["connection"] == this.item["connection"])
            .find(|one| {
                one.item["frame"] != this.item["frame"] && one.segment.seq == this.segment.seq
            });
        first.ok_or("no cited segment has the same sequence number")?;
    }
    Ok(())
}

/// The TCP frames that a finding cites and that our reader finds.
fn cited<'a>(finding: &'a Value, frames: &Frames) -> Vec<Cited<'a>> {
    let evidence = list(&finding["evidence"]).iter();
    let tcp = evidence.filter(|item| text(&item["connection"], "transport") == "tcp");
    let found = tcp.filter_map(|item| {
        let segment = frames.segment(item["frame"].as_u64()?)?;
        let note = text(item, "note");
        Some(Cited {
            item,
            note,
            segment,
        })
    });
    found.collect()
}

pub fn complaints(lab: &Lab) -> Vec<String> {
    let document = json(&lab.analysed());
    let frames = Frames::read(&lab.path);
    let mut complaints = Vec::new();
    for finding in list(&document["findings"]) {
        let cited = cited(finding, &frames);
        let evidence = list(&finding["evidence"]);
        let is_tcp = |item: &Value| text(&item["connection"], "transport") == "tcp";
        if cited.is_empty() && evidence.iter().any(is_tcp) {
            complaints.push(format!("{}: no cited frame is a segment", finding["rule"]));
        }
        for (at, one) in cited.iter().enumerate() {
            let verdict = one
                .agrees()
                .and_then(|()| one.shows())
                .and_then(|()| times_agree(&cited, at))
                .and_then(|()| numbers_agree(&cited, at));
            if let Err(why) = verdict {
                let (rule, frame) = (text(finding, "rule"), &one.item["frame"]);
                complaints.push(format!(
                    "{rule} cites frame {frame} as \"{}\": {why}",
                    one.note
                ));
            }
        }
    }
    complaints
}
