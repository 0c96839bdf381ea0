//! What following a packet costs, in instructions: a budget that a change may not miss unseen.
//!
//! Counted by callgrind on one thread, so that it is repeatable where time is not. A count that left
//! its budget by more than [`TOLERANCE`] fails, also downwards: then the budget is to be written anew
//! with `PCAPDOC_BLESS=1`. Without valgrind, and on another processor than the budget's (libraries
//! choose their instructions by it), the test says that it was skipped.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::MultiGzDecoder;

/// Share by which a count may leave its budget.
const TOLERANCE: f64 = 0.03;

/// The same on a machine that does other things: threads that wait for each other spin longer.
const TOLERANCE_BUSY: f64 = 0.1;

/// One of each kind: bulk at a short snap length, loss, datagrams, web pages. None is small: what
/// threads do while they wait is counted, too.
const CAPTURES: [&str; 4] = [
    "healthy/bulk-snaplen",
    "kernel/loss-2-full/server",
    "udp-single-socket/goroutines-one-socket",
    "retransmit-hol/some-of-many",
];

#[test]
fn a_packet_costs_what_it_did() -> io::Result<()> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        let notice =
            "NOTICE: no valgrind: instructions per packet are not compared with the budget";
        return writeln!(io::stderr(), "{notice}");
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let budget_file = manifest.join("../benches/instructions.tsv");
    let header = format!("# instructions per packet on {}\n", machine());
    let budget = fs::read_to_string(&budget_file).unwrap_or_default();
    let bless = std::env::var_os("PCAPDOC_BLESS").is_some();
    if !bless && !budget.starts_with(&header) {
        let notice =
            "NOTICE: the budget of instructions is of another processor or compiler: not compared";
        return writeln!(io::stderr(), "{notice}");
    }
    let tolerance = if is_busy() { TOLERANCE_BUSY } else { TOLERANCE };
    let mut counted = header;
    let mut missed = Vec::new();
    for name in CAPTURES {
        let capture = plain(manifest, name)?;
        let allowed: Option<f64> = budget.lines().find_map(|line| {
            let (known, each) = line.split_once('\t')?;
            (known == name).then(|| each.parse().ok())?
        });
        let fits =
            |each: f64| allowed.is_some_and(|allowed| (each / allowed - 1.0).abs() <= tolerance);
        // A busy machine only adds: only what does not fit at once is counted again.
        let mut each = per_packet(&capture, 1)?;
        if bless || !fits(each) {
            each = per_packet(&capture, 3)?;
        }
        counted.push_str(&format!("{name}\t{each:.0}\n"));
        if !fits(each) {
            missed.push(format!("{name}: {each:.0}, budget {allowed:?}"));
        }
    }
    if bless {
        return fs::write(budget_file, counted);
    }
    assert!(missed.is_empty(), "instructions per packet: {missed:?}");
    Ok(())
}

/// The capture without its compression.
fn plain(manifest: &Path, name: &str) -> io::Result<PathBuf> {
    let stored = manifest.join("../testdata/captures").join(name);
    let packed = stored.with_extension("pcap.gz");
    if !packed.exists() {
        return Ok(stored.with_extension("pcap"));
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name.replace('/', "-") + ".pcap");
    let mut unpacked = File::create(&file)?;
    io::copy(&mut MultiGzDecoder::new(File::open(packed)?), &mut unpacked)?;
    Ok(file)
}

/// More than one process has wanted to run in the last minute, besides this one.
fn is_busy() -> bool {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().and_then(|load| load.parse().ok());
    load.is_none_or(|load: f64| load > 1.0)
}

/// The processor and the compiler.
fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": "));
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!(
        "{}, {}",
        model.map_or("an unknown processor", |(_, model)| model),
        rustc.unwrap_or_default()
    )
}

/// Instructions for each packet, by the least of so many countings; what it takes to start and to
/// end is left out.
fn per_packet(capture: &Path, countings: u32) -> io::Result<f64> {
    let least = |times: u32| -> io::Result<(u64, u64)> {
        let counted = (0..countings).map(|_| instructions(capture, times));
        let counted: Vec<_> = counted.collect::<io::Result<_>>()?;
        Ok(counted.into_iter().min().unwrap_or_default())
    };
    let ((once, packets), (often, _)) = (least(1)?, least(6)?);
    Ok((often - once) as f64 / 5.0 / packets as f64)
}

/// All instructions of so many analyses on one thread, and the packets of each.
fn instructions(capture: &Path, times: u32) -> io::Result<(u64, u64)> {
    let tests = std::env::current_exe()?;
    let built = tests.ancestors().nth(2).unwrap_or(Path::new("."));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(built.join("examples/follow"))
        .arg(times.to_string())
        .arg(capture)
        .env("RAYON_NUM_THREADS", "1")
        .output()?;
    let (said, told) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let packets = said.split(' ').next().and_then(|count| count.parse().ok());
    let counted = told
        .lines()
        .find_map(|line| line.split_once("refs:"))
        .and_then(|(_, count)| count.trim().replace(',', "").parse().ok());
    match (counted, packets) {
        (Some(counted), Some(packets)) => Ok((counted, packets)),
        _ => Err(io::Error::other(format!("callgrind failed: {told}"))),
    }
}
