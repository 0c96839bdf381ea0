//! A comparison without addresses, names and paths.

use serde_json::Value;

use super::ComparisonDocument;
use crate::redact::{mask_lines, options_only};
use crate::{Error, Redactor};

impl Redactor {
    /// Masks everything that names hosts, people or files; points become `point-1`, `point-2`, ….
    ///
    /// # Errors
    /// Fails only if the document cannot be written and read again, which is a defect of ours.
    pub fn comparison(
        &self,
        mut document: ComparisonDocument,
    ) -> Result<ComparisonDocument, Error> {
        let mut names = Names::of(&document);
        names.mask_names(&mut document);
        let files = document
            .points
            .iter_mut()
            .flat_map(|point| &mut point.host_evidence);
        let findings = document
            .findings
            .iter_mut()
            .map(|placed| &mut placed.finding);
        mask_lines(files.flatten(), findings);
        document.tool.arguments = options_only(&document.tool.arguments);
        document.tool.configuration_file = None;
        document.tool.configuration.clear();
        let defect = |error: serde_json::Error| Error::Read(error.to_string());
        let findings = document.findings.iter_mut();
        findings.for_each(|placed| placed.finding.unfold_title());
        let mut value = serde_json::to_value(&document).map_err(defect)?;
        // What the roles are called says nothing of anybody.
        names
            .0
            .retain(|(name, _)| name != "client" && name != "server");
        self.mask(&mut value, &names);
        let mut document: ComparisonDocument = serde_json::from_value(value).map_err(defect)?;
        let findings = document.findings.iter_mut();
        findings.for_each(|placed| placed.finding.fold_title());
        Ok(document)
    }

    fn mask(&self, value: &mut Value, names: &Names) {
        match value {
            Value::String(text) => *text = names.replace(&self.text(text)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask(item, names)),
            Value::Object(fields) => fields
                .values_mut()
                .for_each(|field| self.mask(field, names)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Names of points and files, the longest first, with what stands for each.
struct Names(Vec<(String, String)>);

impl Names {
    fn of(document: &ComparisonDocument) -> Self {
        let mut names: Vec<(String, String)> = Vec::new();
        for (index, point) in document.points.iter().enumerate() {
            names.push((point.name.clone(), format!("point-{}", index + 1)));
            for (number, file) in point.files.iter().enumerate() {
                let stand_in = format!("capture-{}-{}", index + 1, number + 1);
                names.push((file.name.clone(), stand_in));
            }
        }
        names.retain(|(name, _)| !name.is_empty());
        names.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
        Self(names)
    }

    fn name(&self, name: &mut String) {
        if let Some((_, stand_in)) = self.0.iter().find(|(known, _)| known == name) {
            name.clone_from(stand_in);
        }
    }

    /// Every place that holds a name and nothing else.
    fn mask_names(&self, document: &mut ComparisonDocument) {
        for point in &mut document.points {
            self.name(&mut point.name);
            point
                .files
                .iter_mut()
                .for_each(|file| self.name(&mut file.name));
        }
        for clock in &mut document.clocks {
            self.name(&mut clock.from);
            self.name(&mut clock.to);
        }
        for hop in &mut document.hops {
            self.name(&mut hop.from);
            self.name(&mut hop.to);
        }
        document.unpaired = std::mem::take(&mut document.unpaired)
            .into_iter()
            .map(|(mut name, count)| {
                self.name(&mut name);
                (name, count)
            })
            .collect();
        for connection in &mut document.connections {
            connection.at = std::mem::take(&mut connection.at)
                .into_iter()
                .map(|(mut name, ends)| {
                    self.name(&mut name);
                    (name, ends)
                })
                .collect();
            for hop in &mut connection.hops {
                self.name(&mut hop.from);
                self.name(&mut hop.to);
            }
        }
        for placed in &mut document.findings {
            placed
                .between
                .iter_mut()
                .flatten()
                .for_each(|name| self.name(name));
            placed.at.iter_mut().for_each(|name| self.name(name));
            let evidence = placed.finding.evidence.iter_mut();
            evidence
                .filter_map(|one| one.point.as_mut())
                .for_each(|name| self.name(name));
        }
    }

    /// Replaces names in a sentence, where no letter or digit touches them.
    fn replace(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, stand_in) in &self.0 {
            if text.contains(name.as_str()) {
                text = replace_words(&text, name, stand_in);
            }
        }
        text
    }
}

fn replace_words(text: &str, name: &str, stand_in: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let touches = |character: Option<char>| {
        character.is_some_and(|character| character.is_alphanumeric() || character == '_')
    };
    while let Some(at) = rest.find(name) {
        let (before, from) = rest.split_at(at);
        let behind = &from[name.len()..];
        out.push_str(before);
        let is_word = !touches(out.chars().next_back()) && !touches(behind.chars().next());
        out.push_str(if is_word { stand_in } else { name });
        rest = behind;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::replace_words;

    #[test]
    fn only_whole_words_are_replaced() {
        assert_eq!(
            replace_words("lost between a and b", "a", "point-1"),
            "lost between point-1 and b"
        );
        assert_eq!(
            replace_words("`acme`: acme1", "acme", "point-1"),
            "`point-1`: acme1"
        );
    }
}
