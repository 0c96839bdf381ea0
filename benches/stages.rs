//! What each stage costs on a generated capture; benches/README.md says how to run this.

use analyzer::capture::{CaptureReader, Input, Interface, ReadOptions, Slab};
use analyzer::decode::{DecodedSlab, decode_slab};
use analyzer::pipeline::{self, ConnectionSink, Settings};
use analyzer::{Analysis, Connection};
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

/// Rows that one connection gives: as many requests as are kept of one.
const ROWS: u64 = 20;

/// Conditions as people write them: the first holds for a part of the rows, the second hardly ever.
const OWN_RULES: &str = r#"
[[rule]]
id = "house-slow-orders"
title = "Orders API slow for {client_ip}"
on = "requests"
when = "server.port == 80 and target is startingwith '/orders' and wait_ms > 800"
group_by = ["server", "client_ip"]
at_least = 5
severity = "medium"
cost = { requests_failed = "count" }
remedy = "See runbook R-12"

[[rule]]
id = "house-errors"
title = "Errors of {server}"
on = "requests"
when = "status >= 500 or (method == 'POST' and response_ms is none)"
group_by = ["server"]
at_least = 1
severity = "low"
"#;

/// Keeps the first connection with requests.
struct First(Option<Connection>);

impl ConnectionSink for First {
    fn connection(&mut self, connection: &Connection) {
        if self.0.is_none() && connection.app.http.is_some() {
            self.0 = Some(connection.clone());
        }
    }
}

/// A connection with as many requests as are kept, some of them slow ones for orders.
fn with_requests() -> Connection {
    let workload = Workload::write();
    let (inputs, settings) = settings_for(&workload);
    let (_, sinks) =
        pipeline::run(&inputs, &settings, || First(None), |_| {}).expect("an analysis");
    let mut connection = sinks.into_iter().find_map(|sink| sink.0).expect("HTTP");
    let http = connection.app.http.as_mut().expect("HTTP");
    let exchange = http.kept.first().expect("an exchange").clone();
    http.kept.clear();
    for number in 0..ROWS {
        let mut exchange = exchange.clone();
        let place = if number % 2 == 0 { "orders" } else { "items" };
        exchange.target = format!("/{place}/{number}");
        let took = std::time::Duration::from_millis(100 * number);
        let asked = exchange.request_end.unwrap_or(exchange.request_start);
        if let Some(start) = &mut exchange.response_start {
            start.time = asked.time + took;
        }
        http.kept.push(exchange);
    }
    connection
}

/// Two rules of the user's own over a million rows of `requests`.
#[divan::bench(args = [1_000_000], sample_count = 5)]
fn own_rules(bencher: Bencher, rows: u64) {
    let mut connection = with_requests();
    let settings = || {
        let mut settings = RuleSettings::from_toml(OWN_RULES, "own.toml").expect("rules");
        let ours = ["house-slow-orders", "house-errors"].map(str::to_owned);
        settings.select(&ours).expect("they are known");
        settings
    };
    bencher.counter(ItemsCount::new(rows)).bench_local(|| {
        let engine = Engine::new(settings());
        let mut sink = engine.sink();
        for number in 0..rows / ROWS {
            connection.first_frame = number + 1;
            // A thousand clients.
            let [.., high, low] = (number % 1000).to_be_bytes();
            connection.client.ip = [10, 1, high, low].into();
            sink.connection(&connection);
        }
        engine.finish(vec![sink], &Analysis::default())
    });
}
