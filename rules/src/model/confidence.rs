//! The one scale of confidences, which the analyzer's tables use as well.
//!
//! A rule names a step. Notes on the capture's quality take something off later (see the engine), host
//! evidence may add to it.

pub use analyzer::confidence::{EVEN, LIKELY, OPEN, PROBABLE, PROVED, STATED, STRONG};

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
