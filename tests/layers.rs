//! The rooms of each crate and the one way in which they import each other.
//!
//! A file imports only from its own room and from those that stand before it in the table, and no
//! file imports one that imports it, however many stand between. The tables are the plan of the
//! house: who looks for the place of something new finds it here. No file and no function grows longer
//! than a reader keeps in view.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::imports::{Arrow, Crate};

/// A room: a folder, or a file without its ending; a file belongs to the longest that names it.
type Room = (&'static str, &'static str);

/// From capture bytes to connections.
const ANALYZER: &[Room] = &[
    ("error", "what the user's input can be refused for"),
    ("cursor", "octets, read with their length in view"),
    ("seq", "sequence numbers, ranges and sets of them"),
    ("static_name", "names of the program's own, read back"),
    ("confidence", "the steps of the one scale of confidences"),
    ("direction", "client to server, server to client"),
    ("addr", "endpoints and transports"),
    ("time", "capture time"),
    ("quality", "what limits a capture, counted and in words"),
    ("capture", "files in, frames out"),
    ("decode", "frames in, flat packets out"),
    ("event", "what happened on a connection, and at which frame"),
    ("filter", "which packets are analysed"),
    (
        "in_order",
        "what takes the packets of a capture one after the other",
    ),
    ("histogram", "durations counted in buckets"),
    ("app", "what the payload is, by content"),
    (
        "connection",
        "the read model: all that rules see of a connection",
    ),
    ("hosts", "what each address is"),
    ("episodes", "what happened to many connections at one time"),
    ("analysis", "the read model of the whole capture"),
    ("flow/key", "which packets belong together"),
    ("flow/arena", "where flows lie"),
    ("flow/half_open", "how many SYNs wait for a listener"),
    (
        "flow/tcp/segment",
        "a segment with its numbers lifted to 64 bits",
    ),
    (
        "flow/tcp/sender",
        "one end's sequence space, as far as it passed",
    ),
    ("flow/tcp/lift", "from a packet to a segment"),
    ("flow/tcp/roles", "which end is the client"),
    ("flow/tcp/verdict/mod", "the verdicts"),
    ("flow/tcp/verdict/recent_packets", "copies of one packet"),
    (
        "flow/tcp/account",
        "what rules want to know, each part by itself",
    ),
    (
        "flow/tcp/held_back",
        "segments that wait for an earlier one",
    ),
    ("flow/tcp/mod", "the tracker, that drives the other parts"),
    (
        "flow/tcp/in_turn",
        "segments written before what they acknowledge",
    ),
    ("flow/tcp/verdict", "how the tracker judges a segment"),
    ("flow/tcp/finish", "what it hands over at the end"),
    ("flow/datagram", "one datagram"),
    ("flow/udp", "one UDP flow"),
    (
        "flow/first_packets",
        "flows of a few packets, in few octets",
    ),
    ("flow/remarks", "what a capture says beside the packets"),
    ("flow/timeline", "slices of capture time"),
    ("flow/tally", "what a shard knows beyond single connections"),
    (
        "flow/entry",
        "a live flow in the smallest form that holds it",
    ),
    (
        "flow/table",
        "a shard: from first packets to connections handed over",
    ),
    ("flow", "the list of the above"),
    ("pipeline", "drives all of it, in rounds"),
    ("explain", "words for one frame"),
    (
        "inspect",
        "what a capture holds, without following connections",
    ),
    ("lib", "the list of the above"),
];

/// From files of hosts to facts.
const HOSTFILES: &[Room] = &[
    ("limits", "how much is kept"),
    ("place", "where in a file something stands"),
    ("packet_rule", "rules of packet filters and translators"),
    ("model", "what host files say, whatever their format"),
    ("text", "addresses, numbers and times as tools write them"),
    ("out", "what readers write to"),
    ("formats", "the formats"),
    ("read", "files and folders, line by line"),
    ("lib", "the list of the above"),
];

/// From connections to findings.
const RULES: &[Room] = &[
    ("model", "what a rule finds, and what is declared about it"),
    ("rows", "what tables say of connections and findings"),
    ("own", "rules of the user's own"),
    ("model/settings", "which rules run, with which limits"),
    ("model/context", "what a rule may ask about them"),
    ("model/narrative", "the words of a finding"),
    ("model/rule", "what a rule is"),
    ("between", "the rules of comparisons, as they are declared"),
    ("signs", "judgement that several rules share"),
    ("catalog", "the rules"),
    (
        "host/watched",
        "what is remembered of connections, to lay host files beside them",
    ),
    ("host/join", "which line belongs to which connection"),
    (
        "host/clock",
        "the times of files in the time of the capture",
    ),
    ("host/hosts", "which host a file is from"),
    ("host/counters", "by how much a host's counters rose"),
    (
        "host/settle",
        "what host files settle before the rules judge",
    ),
    (
        "host/snapshots",
        "listings of sockets beside what the packets say",
    ),
    (
        "host/udp_buffer_full",
        "a rule whose findings only hosts show",
    ),
    ("host/declared", "the list of such rules"),
    ("host/testimony", "what they say about a finding"),
    ("host/turn", "what that does to it"),
    ("host", "host files beside a capture"),
    ("engine", "runs them, and makes findings of what they saw"),
    ("lib", "the list of the above"),
];

/// From captures of several points to what happens between them.
const COMPARE: &[Room] = &[
    ("input", "what is compared, and how"),
    ("requests", "requests, and what names them"),
    ("reading", "from captures to flows and records of packets"),
    (
        "both_ends",
        "whether one set of files holds both ends of a path",
    ),
    ("pairing", "which flow is which flow at another point"),
    ("doubles", "packets that one capture recorded twice"),
    ("clock", "what one clock is ahead of another"),
    ("matching", "which copy is which copy at the next point"),
    ("path", "the order of the points, and what lies between"),
    ("verdict", "what became of every packet between two points"),
    ("result", "all that reports see of a comparison"),
    ("hops", "one connection along the path"),
    ("forwarded", "requests across a proxy"),
    ("tally", "from packets to counts"),
    ("assess", "the ordinary analysis of one point"),
    ("findings", "what is concluded"),
    ("lib", "the list of the above"),
];

/// From findings to what people read.
const REPORTS: &[Room] = &[
    ("error", "why a report could not be made"),
    ("words", "units, times, plurals, and nothing trusted"),
    ("document", "the view model and JSON contract"),
    ("against", "two documents beside each other"),
    ("gather", "from what the rules found to the document"),
    ("redact", "the document without what is private"),
    ("again", "the capture read a second time, for frames"),
    ("render/charts", "pictures"),
    ("render", "pages, text and JSON"),
    ("comparison", "several captures of one path"),
    ("dataset", "tables"),
    ("lib", "the list of the above"),
];

/// The program.
const PROGRAM: &[Room] = &[
    ("cli", "arguments"),
    ("failure", "exit statuses"),
    ("log", "messages"),
    ("capture_names", "which names are captures"),
    ("output", "where results go"),
    ("interrupt", "Ctrl-C"),
    ("progress", "how far it is"),
    ("layout", "the folders of a dataset"),
    ("store/object", "what an object store says of an object"),
    ("store/runtime", "what does the network"),
    ("store/reader", "an object while it is read"),
    ("store/client", "an object store"),
    ("store/without", "the same in a build that has none"),
    ("store", "which of the two, and what an address is"),
    ("inputs", "which files are read"),
    ("settings", "what was asked for"),
    ("hashes", "what a capture is known by"),
    (
        "parts/format",
        "how values travel between parts of an analysis",
    ),
    ("parts/rows", "in what form"),
    ("parts/mod", "what parts tell each other"),
    ("parts", "an analysis that several processes do"),
    ("analysis", "one analysis"),
    ("outputs", "its results"),
    ("commands", "what can be asked for"),
    ("main", "the entry"),
];

/// Folders whose own file declares what its parts use, and uses the parts: not yet taken apart.
const WHOLES_OF_PARTS: &[&str] = &[
    "formats/",
    "host/testimony/",
    "app/",
    "flow/tcp/",
    "in_order/",
    "catalog/dns_failure/",
    "clock/",
    "findings/",
    "matching/",
    "pairing/",
    "reading/",
    "verdict/",
];

#[test]
fn analyzer_keeps_its_rooms() {
    check("analyzer/src", ANALYZER);
}

#[test]
fn host_files_keep_their_rooms() {
    check("hostfiles/src", HOSTFILES);
}

#[test]
fn rules_keep_their_rooms() {
    check("rules/src", RULES);
}

#[test]
fn comparisons_keep_their_rooms() {
    check("compare/src", COMPARE);
}

#[test]
fn reports_keep_their_rooms() {
    check("reports/src", REPORTS);
}

#[test]
fn the_program_keeps_its_rooms() {
    check("src", PROGRAM);
}

fn check(folder: &str, rooms: &[Room]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = Crate::read(&root.join(folder));
    let homeless: Vec<&str> = files
        .paths()
        .filter(|path| place(rooms, path).is_none())
        .collect();
    assert!(homeless.is_empty(), "{folder}: in no room: {homeless:#?}");
    let long: Vec<String> = files
        .paths()
        .flat_map(|path| too_long(&root.join(folder).join(path)))
        .collect();
    assert!(long.is_empty(), "{folder}: too long: {long:#?}");
    let arrows = files.arrows();
    let runs_back = |(from, to): &&Arrow| place(rooms, from) < place(rooms, to);
    let back: Vec<&Arrow> = arrows.iter().filter(runs_back).collect();
    assert!(
        back.is_empty(),
        "{folder}: imports from a room that comes later: {back:#?}"
    );
    let of_one_whole = |(from, to): &&Arrow| {
        let mut wholes = WHOLES_OF_PARTS.iter();
        wholes.any(|whole| from.starts_with(whole) && to.starts_with(whole))
    };
    let rest = arrows.iter().filter(|arrow| !of_one_whole(arrow));
    let circle = in_circles(rest.cloned().collect());
    assert!(
        circle.is_empty(),
        "{folder}: files in a circle: {circle:#?}"
    );
}

/// Whether a file, or a function of it, is longer than a reader keeps in view; its tests aside.
fn too_long(path: &Path) -> Vec<String> {
    const FILE: usize = 500;
    const FUNCTION: usize = 80;
    let text = std::fs::read_to_string(path).expect("a source file");
    let all: Vec<&str> = text.lines().collect();
    let tests = all
        .windows(2)
        .position(|two| two == ["#[cfg(test)]", "mod tests {"]);
    let lines = &all[..tests.unwrap_or(all.len())];
    let mut found = Vec::new();
    if lines.len() > FILE {
        found.push(format!("{}: {} lines", path.display(), lines.len()));
    }
    for (at, line) in lines.iter().enumerate() {
        let is_function = line.split_whitespace().any(|word| word == "fn");
        if line.trim_start().starts_with("//") || !is_function || line.ends_with([';', '}']) {
            continue;
        }
        // rustfmt puts the brace that ends a function below its first word.
        let indent = line.len() - line.trim_start().len();
        let end = |line: &&&str| line.len() == indent + 1 && line.ends_with('}');
        let len = lines[at..].iter().take_while(|line| !end(line)).count() + 1;
        if len > FUNCTION {
            found.push(format!("{}:{}: {len} lines", path.display(), at + 1));
        }
    }
    found
}

/// The number of a file's room.
fn place(rooms: &[Room], path: &str) -> Option<usize> {
    let named = |room: &str| {
        let rest = path.strip_prefix(room);
        rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    };
    let fitting = rooms
        .iter()
        .enumerate()
        .filter(|(_, (room, _))| named(room));
    fitting
        .max_by_key(|(_, (room, _))| room.len())
        .map(|(at, _)| at)
}

/// The arrows that lie in circles, or lead from one to another.
fn in_circles(mut left: BTreeSet<Arrow>) -> BTreeSet<Arrow> {
    loop {
        let mut degree = BTreeMap::<&str, (bool, bool)>::new();
        for (from, to) in &left {
            degree.entry(from).or_default().0 = true;
            degree.entry(to).or_default().1 = true;
        }
        let stays = |file: &str| degree.get(file) == Some(&(true, true));
        let kept: BTreeSet<Arrow> = left
            .iter()
            .filter(|(from, to)| stays(from) && stays(to))
            .cloned()
            .collect();
        if kept.len() == left.len() {
            return kept;
        }
        left = kept;
    }
}
