//! The one scale of confidences: how much of a state's signature was seen.
//!
//! A rule names a step; the number behind it is said here alone. Notes on the capture's quality take
//! something off later (see the engine), host evidence may add to it.

/// The packets state it themselves: a status code, a refusal, an alert.
pub const STATED: f64 = 0.97;

/// Every sign that makes up the signature was captured.
pub const PROVED: f64 = 0.95;

/// All signs but one were captured, and that one follows from the others.
pub const STRONG: f64 = 0.9;

/// The signs were measured and fit; a rarer cause gives the same.
pub const LIKELY: f64 = 0.85;

/// The signs that separate it from its look-alikes were seen in part.
pub const PROBABLE: f64 = 0.75;

/// More likely than the runner-up, no more.
pub const OPEN: f64 = 0.6;

/// As likely as the runner-up.
pub const EVEN: f64 = 0.5;

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// The places where a rule says how sure it is: none of them writes a number of its own.
    fn bare_numbers(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("the catalogue") {
            let path = entry.expect("a file").path();
            if path.is_dir() {
                bare_numbers(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            let told = text
                .split("#[cfg(test)]\nmod tests {")
                .next()
                .unwrap_or_default();
            let words: String = told.split_whitespace().collect();
            for place in [
                ".confidence(0.",
                "Observation::new(conn,0.",
                "from_note(note,0.",
                "confidence:0.",
            ] {
                if words.contains(place) {
                    found.push(format!("{}: {place}", path.display()));
                }
            }
        }
    }

    #[test]
    fn rules_name_steps_of_the_scale() {
        let catalogue = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/catalog");
        let mut found = Vec::new();
        bare_numbers(&catalogue, &mut found);
        assert!(found.is_empty(), "{found:#?}");
    }
}
