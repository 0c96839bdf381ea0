//! What each stage costs on a generated capture; benches/README.md says how to run this.

use analyzer::Connection;
use analyzer::capture::{CaptureReader, Input, Interface, ReadOptions, Slab};
use analyzer::decode::{DecodedSlab, decode_slab};
use analyzer::pipeline::{self, ConnectionSink, Settings};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use reports::{ConnectionCollector, Draft, RunInfo};
use rules::{Engine, RuleSettings, RuleSink};

mod workload;

use workload::Workload;

fn main() {
    divan::main();
}

fn open(workload: &Workload) -> CaptureReader {
    let inputs = [Input::Path(workload.path.clone())];
    CaptureReader::open(&inputs, ReadOptions::default()).expect("the capture opens")
}

/// Records cut out of the file.
#[divan::bench]
fn framing(bencher: Bencher) {
    let workload = Workload::write();
    bencher
        .counter(BytesCount::new(workload.bytes))
        .counter(ItemsCount::new(workload.frames))
        .bench(|| {
            let (mut reader, mut slab) = (open(&workload), Slab::default());
            let mut frames = 0;
            while reader.read_slab(&mut slab).expect("a slab") {
                frames += slab.frames.len();
            }
            frames
        });
}

/// Frames to packets, from memory.
#[divan::bench]
fn decode(bencher: Bencher) {
    let workload = Workload::write();
    let mut reader = open(&workload);
    let mut slabs = Vec::new();
    loop {
        let mut slab = Slab::default();
        if !reader.read_slab(&mut slab).expect("a slab") {
            break;
        }
        slabs.push(slab);
    }
    let interfaces: Vec<Interface> = reader.interfaces().to_vec();
    let mut decoded = DecodedSlab::default();
    bencher
        .counter(BytesCount::new(workload.bytes))
        .counter(ItemsCount::new(workload.frames))
        .bench_local(|| {
            for slab in &slabs {
                decode_slab(slab, &interfaces, &mut decoded);
                black_box(&decoded);
            }
        });
}

/// Counts what ends, judges nothing.
struct Counter(u64);

impl ConnectionSink for Counter {
    fn connection(&mut self, _: &Connection) {
        self.0 += 1;
    }
}

fn settings_for(workload: &Workload) -> ([Input; 1], Settings) {
    ([Input::Path(workload.path.clone())], Settings::default())
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("a thread pool")
}

/// File to connections: framing, decode and flow update without a rule.
#[divan::bench(args = [1, 2])]
fn connections(bencher: Bencher, threads: usize) {
    let workload = Workload::write();
    let (inputs, settings) = settings_for(&workload);
    let pool = pool(threads);
    bencher
        .counter(BytesCount::new(workload.bytes))
        .counter(ItemsCount::new(workload.frames))
        .bench(|| {
            pool.install(|| {
                let (_, sinks) =
                    pipeline::run(&inputs, &settings, || Counter(0), |_| {}).expect("an analysis");
                sinks.iter().map(|sink| sink.0).sum::<u64>()
            })
        });
}

/// Both consumers of connections, as the program has them.
struct Both(RuleSink, ConnectionCollector);

impl ConnectionSink for Both {
    fn connection(&mut self, connection: &Connection) {
        self.0.connection(connection);
        self.1.connection(connection);
    }
}

/// File to page: the whole analysis with all rules and the HTML report.
#[divan::bench(args = [1, 2])]
fn whole_analysis(bencher: Bencher, threads: usize) {
    let workload = Workload::write();
    let (inputs, settings) = settings_for(&workload);
    let pool = pool(threads);
    bencher
        .counter(BytesCount::new(workload.bytes))
        .counter(ItemsCount::new(workload.frames))
        .bench(|| {
            let engine = Engine::new(RuleSettings::default());
            let collector = ConnectionCollector::new(Some(10_000));
            let make_sink = || Both(engine.sink(), collector.share());
            let (analysis, sinks) = pool
                .install(|| pipeline::run(&inputs, &settings, make_sink, |_| {}))
                .expect("an analysis");
            let (rules, collectors): (Vec<_>, Vec<_>) = sinks
                .into_iter()
                .map(|Both(rules, collector)| (rules, collector))
                .unzip();
            let assessment = engine.finish(rules, &analysis);
            let collector = ConnectionCollector::merged(collectors);
            let draft = Draft::new(&analysis, &assessment, collector, &RunInfo::default());
            reports::render::html::render(draft.document())
                .expect("a page")
                .len()
        });
}
