//! Which known name a wrong one was probably meant to be.

/// `; did you mean …?` for the nearest known name, or the list when none is near.
pub(crate) fn hint<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    match suggestion(name, known.iter().copied()) {
        meant if !meant.is_empty() => meant,
        _ if known.len() <= 12 => format!("; known here: {}", known.join(", ")),
        _ => "; `pcapdoc rules` lists all".to_owned(),
    }
}

/// `; did you mean …?` for the nearest known name; empty when none is near.
#[must_use]
pub fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    match ranked(name, known) {
        Some((edits, nearest)) if edits <= nearest.len() / 2 => {
            format!("; did you mean `{nearest}`?")
        }
        _ => String::new(),
    }
}

/// The nearest known name, however far; the first in order among equals.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    ranked(name, known).map(|(_, nearest)| nearest)
}

fn ranked<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<(usize, &'a str)> {
    known.map(|known| (distance(name, known), known)).min()
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
