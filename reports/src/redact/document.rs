//! A whole document without addresses, names and paths.

use serde_json::Value;

use super::redactor::Redactor;
use crate::document::{Document, FindingView};
use crate::error::Error;

impl Redactor {
    /// Masks everything that names hosts, people or files.
    ///
    /// Names from payload must have been masked before the document was built, by
    /// [`Redactor::connection`] and [`Redactor::analysis`].
    ///
    /// # Errors
    /// Fails only if the document cannot be written and read again, which is a defect of ours.
    pub fn document(&self, mut document: Document) -> Result<Document, Error> {
        self.host_lines(&mut document);
        let files = mask_files(&mut document);
        let notes = document
            .capture
            .quality
            .iter_mut()
            .map(|quality| &mut quality.note);
        let texts = notes
            .chain(&mut document.notices)
            .chain(&mut document.untraced);
        for text in texts {
            for (name, stand_in) in &files {
                *text = text.replace(name.as_str(), stand_in);
            }
        }
        // A condition names hosts and paths, and says in which file it stands.
        let own = document.findings.iter_mut();
        own.filter(|finding| !finding.origin.is_built_in())
            .for_each(|finding| finding.why.clear());
        for host in &mut document.hosts {
            host.hardware_addresses.clear();
        }
        for (index, interface) in document.capture.interfaces.iter_mut().enumerate() {
            if interface.name.is_some() {
                interface.name = Some(format!("interface-{}", index + 1));
            }
        }
        document.tool.arguments = options_only(&document.tool.arguments);
        if document.tool.configuration_file.is_some() {
            document.tool.configuration_file = Some("pcapdoc.toml".to_owned());
        }
        for setting in &mut document.tool.configuration {
            // Reasons and hosts are words; thresholds are not.
            if setting.value.parse::<f64>().is_err() {
                setting.value = "hidden".to_owned();
            }
        }
        document
            .findings
            .iter_mut()
            .for_each(FindingView::unfold_title);
        let defect = |error: serde_json::Error| Error::Read(error.to_string());
        let mut value = serde_json::to_value(&document).map_err(defect)?;
        self.value(&mut value);
        let mut document: Document = serde_json::from_value(value).map_err(defect)?;
        document
            .findings
            .iter_mut()
            .for_each(FindingView::fold_title);
        Ok(document)
    }

    /// Every string, at any depth: what is added to the document later is covered, too.
    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.value(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Numbers the files; gives their names, longest first, with what stands for each in notes.
fn mask_files(document: &mut Document) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for (index, file) in document.capture.files.iter_mut().enumerate() {
        if file.name == "-" {
            continue;
        }
        let stand_in = format!("capture-{}", index + 1);
        let original = std::mem::replace(&mut file.name, stand_in.clone());
        file.hash = None;
        let base = original.rsplit(['/', '\\']).next().unwrap_or_default();
        // A name of one or two letters would be found in any word.
        if base.len() > 2 && base != original {
            names.push((base.to_owned(), stand_in.clone()));
        }
        if original.len() > 2 {
            names.push((original, stand_in));
        }
    }
    names.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
    names
}

/// The subcommand and the names of the options; values may name hosts, files and people.
pub(crate) fn options_only(arguments: &[String]) -> Vec<String> {
    let options = arguments.iter().enumerate().filter_map(|(at, argument)| {
        let shown = match argument.as_bytes() {
            _ if at == 0 => argument,
            [b'-', b'-', _, ..] => argument.split('=').next()?,
            // A value may follow a short option at once.
            [b'-', _, ..] => argument.get(..2)?,
            _ => return None,
        };
        Some(shown.to_owned())
    });
    options.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_arguments_only_options_are_told() {
        let arguments = [
            "analyze",
            "acme.pcap",
            "--redact",
            "--config=/home/ann/x",
            "-o",
            "out",
            "-oacme",
        ];
        assert_eq!(
            options_only(&arguments.map(str::to_owned)),
            ["analyze", "--redact", "--config", "-o", "-o"]
        );
    }
}
