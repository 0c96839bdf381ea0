//! Joins the questions of one client for one name to look-ups, and judges what came of each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use analyzer::app::At;
use analyzer::episodes::EpisodeKind;
use analyzer::event::SegmentRef;
use analyzer::{Analysis, Direction, Endpoint, Timestamp};

use super::{Fact, Outcome, Seen};
use crate::model::connection_ref::ConnectionRef;
use crate::model::context::Context;
use crate::model::evidence::Evidence;
use crate::model::figure::FigureValue;
use crate::model::impact::Impact;
use crate::model::observation::{Note, Observation};
use crate::model::text::ms;

/// One question of a look-up.
#[derive(Clone, Copy)]
struct Question {
    connection: ConnectionRef,
    asked: At,
    last_asked: Timestamp,
    /// An answer that settles the look-up: addresses, or that there are none.
    settled: Option<Timestamp>,
    /// When any answer came.
    answered: Option<Timestamp>,
    /// Index of its observation, when it failed.
    observation: Option<usize>,
}

/// The questions of one client for one name and type until they were answered or given up.
struct Lookup<'a> {
    client: IpAddr,
    name: &'a str,
    questions: Vec<Question>,
}

impl Lookup<'_> {
    fn begin(&self) -> Timestamp {
        let asked = self.questions.iter().map(|question| question.asked.time);
        asked.min().unwrap_or_default()
    }

    fn last_asked(&self) -> Timestamp {
        let asked = self.questions.iter().map(|question| question.last_asked);
        asked.max().unwrap_or_default()
    }

    fn settled(&self) -> Option<Timestamp> {
        let settled = self
            .questions
            .iter()
            .filter_map(|question| question.settled);
        settled.min()
    }

    /// From the first question to the last one before the answer, when a name was asked for again until it
    /// was answered: the time that repeating took.
    fn repeating(&self) -> Option<(Timestamp, Timestamp)> {
        let settled = self.settled()?;
        let questions = self.questions.iter();
        let asked = questions.flat_map(|question| [question.asked.time, question.last_asked]);
        let last = asked.filter(|asked| *asked <= settled).max()?;
        (last > self.begin()).then(|| (self.begin(), last))
    }

    /// The question that repeats one of `asked` at another port or server.
    fn repetition(&self, asked: Timestamp, after: Duration) -> Option<Question> {
        let mut questions = self.questions.iter().copied();
        questions.find(|question| question.asked.time.since(asked) >= after)
    }

    /// When the client had its answer; else when it had the last sign that it waited.
    fn end(&self) -> Timestamp {
        let answered = self
            .questions
            .iter()
            .filter_map(|question| question.answered);
        let last = answered.max().unwrap_or_default().max(self.last_asked());
        self.settled().unwrap_or(last)
    }
}

/// What is known of the names that each client got.
#[derive(Default)]
struct Known<'a> {
    /// Times at which a name of any type was answered well.
    answered: BTreeMap<(IpAddr, &'a str), Vec<Timestamp>>,
    used: BTreeMap<(IpAddr, &'a str), Vec<Timestamp>>,
    /// Clients that send on although their servers' packets were not captured.
    half_seen: BTreeSet<IpAddr>,
    /// The shortest time from an answered question to the next one for the same name.
    pauses: BTreeMap<(IpAddr, &'a str), Duration>,
    retry_after: Duration,
    retry_within: Duration,
}

impl<'a> Known<'a> {
    fn new(notes: &'a [Note<Fact>], ctx: &Context<'_>) -> Self {
        let time = |ms: f64| Duration::from_secs_f64(ms / 1e3);
        let mut known = Self {
            retry_after: time(ctx.threshold("retry_after_ms")),
            retry_within: time(ctx.threshold("retry_within_ms")),
            ..Self::default()
        };
        let mut asked = BTreeMap::<(IpAddr, &str, u16), Vec<Timestamp>>::new();
        for note in notes {
            let client = note.connection.client.ip;
            match &note.fact {
                Fact::Answered {
                    name,
                    qtype,
                    asked: at,
                } => {
                    let of_type = asked.entry((client, name, *qtype)).or_default();
                    of_type.push(at.time);
                    let times = known.answered.entry((client, name)).or_default();
                    times.push(note.at);
                }
                Fact::Used(name) => {
                    known.used.entry((client, name)).or_default().push(note.at);
                }
                Fact::HalfSeen => {
                    known.half_seen.insert(client);
                }
                Fact::TcpFailed | Fact::Unasked { .. } => {}
            }
        }
        for ((client, name, _), mut times) in asked {
            times.sort_unstable();
            let pauses = times.windows(2).map(|pair| pair[1].since(pair[0]));
            // Sooner than a second is another program's question.
            if let Some(least) = pauses.filter(|pause| *pause >= MOMENT).min() {
                let known = known.pauses.entry((client, name)).or_insert(least);
                *known = least.min(*known);
            }
        }
        known
    }

    /// Whether the client called a server by this name right after it had asked, though no answer was
    /// captured.
    fn is_used(&self, lookup: &Lookup<'_>) -> bool {
        if lookup.settled().is_some() || self.is_answered_otherwise(lookup) {
            return false;
        }
        let times = self.used.get(&(lookup.client, lookup.name));
        let near = lookup.begin()..=lookup.end() + self.retry_within;
        times.is_some_and(|times| times.iter().any(|time| near.contains(time)))
    }

    /// Whether the name was answered under another type, or the name before its search domain.
    fn is_answered_otherwise(&self, lookup: &Lookup<'_>) -> bool {
        let near = lookup.begin() - self.retry_within..=lookup.end() + self.retry_within;
        let ends = lookup.name.match_indices('.').map(|(index, _)| index);
        ends.chain([lookup.name.len()]).any(|end| {
            let times = self.answered.get(&(lookup.client, &lookup.name[..end]));
            times.is_some_and(|times| times.iter().any(|time| near.contains(time)))
        })
    }

    /// Whether a look-up without answer is proved: the client asked again, and nothing says that it
    /// was answered all the same.
    fn is_in_vain(&self, lookup: &Lookup<'_>, server: IpAddr, analysis: &Analysis) -> bool {
        let heard = analysis.hosts.get(server);
        let unheard = heard.is_none_or(|profile| !profile.was_heard());
        let not_captured = unheard && self.half_seen.contains(&lookup.client);
        self.is_asked_again(lookup)
            && !self.is_used(lookup)
            && !not_captured
            && !is_offline(lookup, analysis)
    }

    /// Whether the client asked again as one does that waits for an answer: the same question, or another
    /// one sooner than it does when it was answered.
    fn is_asked_again(&self, lookup: &Lookup<'_>) -> bool {
        let same = |question: &Question| question.last_asked.since(question.asked.time);
        if (lookup.questions.iter()).any(|question| same(question) >= self.retry_after) {
            return true;
        }
        let waited = lookup.last_asked().since(lookup.begin());
        let usual = self.pauses.get(&(lookup.client, lookup.name));
        waited >= self.retry_after && usual.is_none_or(|usual| waited < *usual)
    }
}

/// Whether the client heard from nobody while it waited: that is not the resolver's.
fn is_offline(lookup: &Lookup<'_>, analysis: &Analysis) -> bool {
    let (silent, begin) = (EpisodeKind::HostSilent, lookup.begin());
    let episodes = &analysis.episodes;
    episodes.covers(silent, lookup.client, begin)
        || episodes.fill(silent, lookup.client, begin, lookup.end())
}

/// Questions of several programs for one name, or of one for several types, come together.
const MOMENT: Duration = Duration::from_secs(1);

/// Nobody gives up on a name sooner; what is answered within that time was not too late.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which addresses were called at all.
struct Called<'a> {
    names: &'a BTreeMap<String, BTreeSet<IpAddr>>,
    addresses: BTreeSet<IpAddr>,
    /// Calls to names that were looked up are in the capture.
    is_seen: bool,
}

impl<'a> Called<'a> {
    fn of(analysis: &'a Analysis) -> Self {
        let names = &analysis.dns_names;
        let tcp = analysis.listeners.keys();
        let addresses = tcp.chain(analysis.udp_servers.keys());
        let addresses: BTreeSet<IpAddr> = addresses.map(|server| server.ip).collect();
        let is_seen = names.values().flatten().any(|one| addresses.contains(one));
        Self {
            names,
            addresses,
            is_seen,
        }
    }

    /// Whether the answer came in time and nothing was ever sent to an address of the name: it was
    /// looked up ahead of need, and nobody waited.
    fn is_ahead_of_need(&self, lookup: &Lookup<'_>) -> bool {
        let in_time = (lookup.settled()).is_some_and(|at| at.since(lookup.begin()) < PATIENCE);
        let addresses = self
            .names
            .get(lookup.name)
            .filter(|known| !known.is_empty());
        self.is_seen && in_time && addresses.is_some_and(|known| known.is_disjoint(&self.addresses))
    }
}

/// The observations that hold, each with its share of the harm and the cause that it shares with others.
pub(super) fn judge(
    analysis: &Analysis,
    ctx: &Context<'_>,
    notes: &[Note<Fact>],
    observations: Vec<Observation<Seen>>,
) -> Vec<Observation<Seen>> {
    let known = Known::new(notes, ctx);
    let called = Called::of(analysis);
    let lookups = lookups(notes, &observations, known.retry_within);
    let mut verdicts = BTreeMap::<usize, Verdict>::new();
    let mut counted = Counted::default();
    for lookup in &lookups {
        let failed = lookup.questions.iter().filter_map(|question| {
            let index = question.observation?;
            let one = observations.get(index)?;
            let server = one.connection.server.ip;
            let outcome = one.seen.outcome;
            let holds = match outcome {
                Outcome::NoAnswer if one.seen.answered.is_some() => !is_offline(lookup, analysis),
                Outcome::NoAnswer => known.is_in_vain(lookup, server, analysis),
                Outcome::Slow => !is_offline(lookup, analysis),
                // A capture without any TCP may have left the retry out.
                Outcome::Truncated => {
                    analysis.tcp_connections > 0
                        && lookup.settled().is_none()
                        && !known.is_used(lookup)
                }
                Outcome::TcpFailed => lookup.settled().is_none(),
                Outcome::Elsewhere => !known.is_used(lookup),
                _ => true,
            };
            holds.then_some((index, outcome))
        });
        let mut told = BTreeSet::new();
        for (index, outcome) in failed {
            let mut impact = Impact::SOME;
            if outcome == Outcome::NoSuchName {
                impact = Impact::NONE;
            } else if outcome == Outcome::Truncated
                || outcome == Outcome::Elsewhere && !known.is_asked_again(lookup)
            {
                // Some clients make do with what they got.
            } else if told.insert(outcome) {
                impact = counted.harm(lookup, outcome, &known);
                if called.is_ahead_of_need(lookup) {
                    impact.waited = Duration::ZERO;
                }
            }
            let waited = lookup.end().since(lookup.begin());
            let asked = observations.get(index).map(|one| one.seen.asked.time);
            let asked = asked.unwrap_or_default();
            let verdict = Verdict {
                impact,
                waited,
                repeating: lookup.repeating(),
                repeats: asked.since(lookup.begin()) >= known.retry_after,
                repetition: lookup.repetition(asked, known.retry_after),
            };
            verdicts.insert(index, verdict);
        }
    }
    let asked = asked(notes, &observations);
    let roots = roots(&lookups, &observations, &verdicts);
    let kept = observations.into_iter().enumerate();
    let kept = kept.filter_map(|(index, one)| {
        let server = one.connection.server;
        let root = roots.get(&(one.seen.outcome, server)).copied();
        let all = asked.get(&server).copied().unwrap_or(0);
        let cause = format!("{} {}", root.unwrap_or(server), one.seen.outcome.as_str());
        Some(verdicts.get(&index)?.apply(one.cause(cause), all))
    });
    kept.collect()
}

/// Up to when the waits of each client, and its look-ups of each name, are counted: look-ups at one
/// time, or of several types of one name, cost it once.
#[derive(Default)]
struct Counted<'a> {
    waits: BTreeMap<(IpAddr, Outcome), Timestamp>,
    names: BTreeMap<(IpAddr, Outcome, &'a str), Timestamp>,
}

impl<'a> Counted<'a> {
    /// What a look-up cost that failed at first or for good; look-ups come in the order of their begin.
    fn harm(&mut self, lookup: &Lookup<'a>, outcome: Outcome, known: &Known<'_>) -> Impact {
        let (begin, end) = (lookup.begin(), lookup.end());
        let covered = self.waits.entry((lookup.client, outcome)).or_insert(begin);
        let waited = Impact::waited(end.since(begin.max(*covered)));
        *covered = end.max(*covered);
        let key = (lookup.client, outcome, lookup.name);
        let before = self.names.get(&key).copied();
        let again = before.is_some_and(|before| begin <= before);
        self.names
            .insert(key, before.map_or(end, |before| before.max(end)));
        if lookup.settled().is_some() || known.is_answered_otherwise(lookup) {
            Impact::recovered(1).and(waited)
        } else {
            Impact::attempts_failed(u64::from(!again)).and(waited)
        }
    }
}

/// What the whole capture says of one observation.
struct Verdict {
    impact: Impact,
    /// From the first question of its look-up to the answer or the last question.
    waited: Duration,
    /// In which time of it the name was asked for again.
    repeating: Option<(Timestamp, Timestamp)>,
    /// The question itself repeats one of another port or to another server.
    repeats: bool,
    /// The question that repeats it there.
    repetition: Option<Question>,
}

impl Verdict {
    fn apply(&self, one: Observation<Seen>, all: u64) -> Observation<Seen> {
        let one = one.impact(self.impact).weight(ms(self.waited));
        let mut one = one.stalls(self.repeating);
        one.set_figure("waited_ms", FigureValue::Number(ms(self.waited)));
        one.seen.all = all;
        if let Some(question) = one.evidence.first_mut().filter(|_| self.repeats) {
            question.note.push_str(", which had been asked before");
            question.proves = true;
        }
        if let Some(again) = self.repetition {
            let at = again.asked;
            one.evidence.push(Evidence {
                segment: SegmentRef::place(at.frame, at.time, Direction::ClientToServer),
                connection: again.connection,
                note: "the same name queried again: no response had come".to_owned(),
                proves: true,
            });
        }
        if self.impact.attempts_failed > 0 {
            one = one.cost("lookups_failed", 1.0);
        }
        one
    }
}

/// All look-ups, by client, name and type.
fn lookups<'a>(
    notes: &'a [Note<Fact>],
    observations: &'a [Observation<Seen>],
    retry_within: Duration,
) -> Vec<Lookup<'a>> {
    let mut questions = BTreeMap::<(IpAddr, &str, u16), Vec<Question>>::new();
    for note in notes {
        if let Fact::Answered { name, qtype, asked } = &note.fact {
            let key = (note.connection.client.ip, name.as_str(), *qtype);
            questions.entry(key).or_default().push(Question {
                connection: note.connection,
                asked: *asked,
                last_asked: asked.time,
                settled: Some(note.at),
                answered: Some(note.at),
                observation: None,
            });
        }
    }
    for (index, one) in observations.iter().enumerate() {
        let seen = &one.seen;
        let key = (one.connection.client.ip, seen.name.as_str(), seen.qtype);
        let failed = matches!(
            seen.outcome,
            Outcome::ServFail | Outcome::Refused | Outcome::Truncated | Outcome::TcpFailed
        );
        questions.entry(key).or_default().push(Question {
            connection: one.connection,
            asked: seen.asked,
            last_asked: seen.last_asked,
            settled: seen.answered.filter(|_| !failed),
            answered: seen.answered,
            observation: Some(index),
        });
    }
    let mut lookups = Vec::new();
    for ((client, name, _), mut questions) in questions {
        questions.sort_by_key(|question| (question.asked.time, question.asked.frame));
        let mut current: Option<Lookup<'_>> = None;
        for question in questions {
            let goes_on = current.as_ref().is_some_and(|lookup| {
                let settled = lookup.settled().is_some_and(|at| at <= question.asked.time);
                !settled && question.asked.time.since(lookup.end()) <= retry_within
            });
            if !goes_on {
                let questions = Vec::new();
                lookups.extend(current.replace(Lookup {
                    client,
                    name,
                    questions,
                }));
            }
            if let Some(lookup) = &mut current {
                lookup.questions.push(question);
            }
        }
        lookups.extend(current);
    }
    lookups.sort_by_key(|lookup| (lookup.begin(), lookup.client, lookup.name));
    lookups
}

/// Questions per server, failed or not.
fn asked(notes: &[Note<Fact>], observations: &[Observation<Seen>]) -> BTreeMap<Endpoint, u64> {
    let answered = notes
        .iter()
        .filter(|note| matches!(note.fact, Fact::Answered { .. }));
    let servers = answered
        .map(|note| note.connection.server)
        .chain(observations.iter().map(|one| one.connection.server));
    let mut asked = BTreeMap::new();
    for server in servers {
        *asked.entry(server).or_default() += 1;
    }
    asked
}

/// Servers that failed the same look-ups in the same way, by the smallest of them.
fn roots(
    lookups: &[Lookup<'_>],
    observations: &[Observation<Seen>],
    verdicts: &BTreeMap<usize, Verdict>,
) -> BTreeMap<(Outcome, Endpoint), Endpoint> {
    let mut roots = BTreeMap::<(Outcome, Endpoint), Endpoint>::new();
    for lookup in lookups {
        let mut first = BTreeMap::<Outcome, Endpoint>::new();
        let indices = lookup
            .questions
            .iter()
            .filter_map(|question| question.observation);
        for index in indices.filter(|index| verdicts.contains_key(index)) {
            let Some(one) = observations.get(index) else {
                continue;
            };
            let (outcome, server) = (one.seen.outcome, one.connection.server);
            let own = *roots.entry((outcome, server)).or_insert(server);
            let other = *first.entry(outcome).or_insert(own);
            let (small, large) = (own.min(other), own.max(other));
            if small != large {
                let joined = roots.iter_mut().filter(|((kind, _), _)| *kind == outcome);
                joined
                    .filter(|(_, root)| **root == large)
                    .for_each(|(_, root)| *root = small);
                first.insert(outcome, small);
            }
        }
    }
    roots
}
