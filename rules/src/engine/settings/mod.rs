//! Reads which rules run, with which limits, and what is known beforehand about the network.
//!
//! It comes from command line lists and from `pcapdoc.toml`; every unknown name is an error that
//! says where it stands and what was probably meant.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::engine::Engine;
use crate::model::meta::RuleMeta;
use crate::model::nearest::hint;
pub use crate::model::nearest::suggestion;
use crate::model::settings::pattern_matches;
pub use crate::model::settings::{IgnoreEntry, RuleSettings};
use crate::own;
pub use crate::own::{OwnRule, OwnRuleError};

/// The name of a file, for messages, and its text.
pub type NamedText = (String, String);

/// What is wrong with the configuration: always the user's to mend.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is not TOML.
    #[error("{file}: not valid TOML: {message}")]
    Syntax {
        /// Which file.
        file: String,
        /// The parser's words, on one line.
        message: String,
    },
    /// A key that means nothing here.
    #[error("{file}: unknown key `{key}`{hint}")]
    UnknownKey {
        /// Which file.
        file: String,
        /// Full path of the key.
        key: String,
        /// What was probably meant.
        hint: String,
    },
    /// A value of the wrong kind or out of range.
    #[error("{file}: `{key}` must be {expected}, found {found}")]
    BadValue {
        /// Which file.
        file: String,
        /// Full path of the key.
        key: String,
        /// What would be right.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A rule of the user's own that cannot be understood.
    #[error(transparent)]
    OwnRule(#[from] OwnRuleError),
    /// A rule name that no rule bears.
    #[error("{place}: no rule is called `{name}`{hint}")]
    UnknownRule {
        /// `--select`, `--ignore` or the file.
        place: String,
        /// The name.
        name: String,
        /// What was probably meant.
        hint: String,
    },
}

impl RuleSettings {
    /// Reads the text of a `pcapdoc.toml`; `file` is its name for messages.
    ///
    /// # Errors
    /// As [`Self::from_files`].
    pub fn from_toml(text: &str, file: &str) -> Result<Self, SettingsError> {
        Self::from_files(Some(&(file.to_owned(), text.to_owned())), &[])
    }

    /// Reads a `pcapdoc.toml`, if there is one, and files that hold rules of the user's own alone.
    ///
    /// # Errors
    /// Fails when a text is not TOML, names a key, rule, column or threshold that does not exist,
    /// or gives a value of the wrong kind.
    pub fn from_files(
        configuration: Option<&NamedText>,
        rule_files: &[NamedText],
    ) -> Result<Self, SettingsError> {
        let table = configuration.map(|(file, text)| parsed(text, file));
        let table = table.transpose()?.unwrap_or_default();
        let ours = Engine::full_catalogue().into_iter().map(|meta| meta.id);
        let mut own = own::Reader::new(ours.collect());
        if let Some((file, text)) = configuration {
            own.read(text, file)?;
        }
        for (file, text) in rule_files {
            own::only_rules(text, file)?;
            own.read(text, file)?;
        }
        let mut settings = Self {
            own: own.rules,
            ..Self::default()
        };
        let file = configuration.map_or("", |(file, _)| file.as_str());
        let reader = Reader { file };
        let known = ["rules", "rule", "ignore", "udp", "framing"];
        for (key, value) in &table {
            match key.as_str() {
                "rules" => reader.rules(value, &mut settings)?,
                "rule" => {}
                "ignore" => reader.ignores(value, &mut settings)?,
                "udp" => reader.udp(value, &mut settings)?,
                "framing" => reader.framings(value, &mut settings)?,
                _ => return Err(reader.unknown(key, key, &known)),
            }
        }
        Ok(settings)
    }

    /// A rule of the user's own.
    #[must_use]
    pub fn own_rule(&self, id: &str) -> Option<&OwnRule> {
        self.own
            .iter()
            .find(|rule| rule.id == id)
            .map(|rule| &**rule)
    }

    /// Runs only the named rules (ids, or prefixes followed by `*`); an empty list means all.
    ///
    /// # Errors
    /// Fails when a name fits no rule.
    pub fn select(&mut self, names: &[String]) -> Result<(), SettingsError> {
        if !names.is_empty() {
            self.selected = Some(resolve(self, names, "--select")?);
        }
        Ok(())
    }

    /// Does not run the named rules (ids, or prefixes followed by `*`).
    ///
    /// # Errors
    /// Fails when a name fits no rule.
    pub fn ignore(&mut self, names: &[String]) -> Result<(), SettingsError> {
        let ignored = resolve(self, names, "--ignore")?;
        self.ignored.extend(ignored);
        Ok(())
    }
}

/// Reads tables, carrying the file name into every error.
struct Reader<'a> {
    file: &'a str,
}

impl Reader<'_> {
    fn rules(&self, value: &Value, settings: &mut RuleSettings) -> Result<(), SettingsError> {
        for (id, limits) in self.table("rules", value)? {
            if let Some(own) = settings.own_rule(id).map(|own| own.id) {
                self.own_rule(own, limits, settings)?;
                continue;
            }
            let meta = rule_named(settings, id, self.file)?;
            for (name, value) in self.table(&format!("rules.{id}"), limits)? {
                self.threshold(meta, name, value, settings)?;
            }
        }
        Ok(())
    }

    /// A rule of the user's own has no limits: it can only be left out.
    fn own_rule(
        &self,
        id: &'static str,
        limits: &Value,
        settings: &mut RuleSettings,
    ) -> Result<(), SettingsError> {
        for (name, value) in self.table(&format!("rules.{id}"), limits)? {
            let key = format!("rules.{id}.{name}");
            if name != "enabled" {
                return Err(self.unknown(&key, name, &["enabled"]));
            }
            let enabled = value.as_bool();
            if !enabled.ok_or_else(|| self.bad(&key, "true or false", value))? {
                settings.ignored.insert(id);
            }
        }
        Ok(())
    }

    fn threshold(
        &self,
        meta: &'static RuleMeta,
        name: &str,
        value: &Value,
        settings: &mut RuleSettings,
    ) -> Result<(), SettingsError> {
        let key = format!("rules.{}.{name}", meta.id);
        if name == "enabled" {
            let enabled = value
                .as_bool()
                .ok_or_else(|| self.bad(&key, "true or false", value))?;
            if !enabled {
                settings.ignored.insert(meta.id);
            }
            return Ok(());
        }
        let Some(spec) = meta.thresholds.iter().find(|spec| spec.name == name) else {
            let mut known: Vec<&str> = meta.thresholds.iter().map(|spec| spec.name).collect();
            known.push("enabled");
            return Err(self.unknown(&key, name, &known));
        };
        #[expect(clippy::cast_precision_loss, reason = "limits are small numbers")]
        let number = value
            .as_float()
            .or_else(|| value.as_integer().map(|whole| whole as f64));
        match number {
            Some(number) if number.is_finite() && number >= 0.0 => {
                settings.thresholds.insert((meta.id, spec.name), number);
                Ok(())
            }
            _ => Err(self.bad(&key, "a number of at least 0", value)),
        }
    }

    fn ignores(&self, value: &Value, settings: &mut RuleSettings) -> Result<(), SettingsError> {
        let entries = value
            .as_array()
            .ok_or_else(|| self.bad("ignore", "a list of tables", value))?;
        for entry in entries {
            let mut ignore = IgnoreEntry {
                rule: String::new(),
                server: None,
                reason: String::new(),
                expires: None,
            };
            for (name, value) in self.table("ignore", entry)? {
                let key = format!("ignore.{name}");
                let text = value.as_str().map(str::to_owned);
                let text = text.or_else(|| value.as_datetime().map(ToString::to_string));
                let text = text.ok_or_else(|| self.bad(&key, "text", value))?;
                match name.as_str() {
                    "rule" => ignore.rule = text,
                    "server" => ignore.server = Some(text),
                    "reason" => ignore.reason = text,
                    "expires" if is_day(&text) => ignore.expires = Some(text),
                    "expires" => return Err(self.bad(&key, "a day such as 2026-12-31", value)),
                    _ => {
                        return Err(self.unknown(
                            &key,
                            name,
                            &["rule", "server", "reason", "expires"],
                        ));
                    }
                }
            }
            if ignore.rule.is_empty() || ignore.reason.trim().is_empty() {
                return Err(self.bad("ignore", "a table with a rule and a reason", entry));
            }
            resolve(settings, std::slice::from_ref(&ignore.rule), self.file)?;
            settings.ignores.push(ignore);
        }
        Ok(())
    }

    fn udp(&self, value: &Value, settings: &mut RuleSettings) -> Result<(), SettingsError> {
        for (name, value) in self.table("udp", value)? {
            if name != "recv_buffer" {
                return Err(self.unknown(&format!("udp.{name}"), name, &["recv_buffer"]));
            }
            for (port, value) in self.table("udp.recv_buffer", value)? {
                let key = format!("udp.recv_buffer.{port}");
                let octets = value
                    .as_integer()
                    .and_then(|octets| u32::try_from(octets).ok());
                let octets = octets.filter(|octets| (1..=65_535).contains(octets));
                let octets =
                    octets.ok_or_else(|| self.bad(&key, "a size from 1 to 65535 bytes", value))?;
                settings
                    .udp_recv_buffers
                    .insert(self.port(&key, port)?, octets);
            }
        }
        Ok(())
    }

    fn framings(&self, value: &Value, settings: &mut RuleSettings) -> Result<(), SettingsError> {
        for (port, value) in self.table("framing", value)? {
            let key = format!("framing.{port}");
            let spec = value
                .as_str()
                .ok_or_else(|| self.bad(&key, "text such as \"u32be\"", value))?;
            settings
                .framings
                .insert(self.port(&key, port)?, spec.to_owned());
        }
        Ok(())
    }

    fn port(&self, key: &str, text: &str) -> Result<u16, SettingsError> {
        text.parse().map_err(|_| SettingsError::BadValue {
            file: self.file.to_owned(),
            key: key.to_owned(),
            expected: "a port from 0 to 65535",
            found: format!("`{text}`"),
        })
    }

    fn table<'v>(&self, key: &str, value: &'v Value) -> Result<&'v Table, SettingsError> {
        value
            .as_table()
            .ok_or_else(|| self.bad(key, "a table", value))
    }

    fn bad(&self, key: &str, expected: &'static str, found: &Value) -> SettingsError {
        SettingsError::BadValue {
            file: self.file.to_owned(),
            key: key.to_owned(),
            expected,
            found: found.to_string().replace('\n', " "),
        }
    }

    fn unknown(&self, key: &str, name: &str, known: &[&str]) -> SettingsError {
        SettingsError::UnknownKey {
            file: self.file.to_owned(),
            key: key.to_owned(),
            hint: hint(name, known.iter().copied()),
        }
    }
}

/// The rule of ours that bears an exact id.
///
/// # Errors
/// Fails when no rule bears the name, and suggests the nearest, the user's own among them.
pub fn rule_named(
    settings: &RuleSettings,
    id: &str,
    place: &str,
) -> Result<&'static RuleMeta, SettingsError> {
    let mut ours = Engine::full_catalogue().into_iter();
    ours.find(|meta| meta.id == id)
        .ok_or_else(|| SettingsError::UnknownRule {
            place: place.to_owned(),
            name: id.to_owned(),
            hint: hint(id, all_ids(settings)),
        })
}

/// Ids of our rules and of the user's own.
fn all_ids(settings: &RuleSettings) -> impl Iterator<Item = &'static str> {
    let ours = Engine::full_catalogue().into_iter().map(|meta| meta.id);
    ours.chain(settings.own.iter().map(|rule| rule.id))
}

/// Rule ids that names or patterns stand for.
fn resolve(
    settings: &RuleSettings,
    names: &[String],
    place: &str,
) -> Result<BTreeSet<&'static str>, SettingsError> {
    let mut found = BTreeSet::new();
    for name in names
        .iter()
        .flat_map(|names| names.split(','))
        .map(str::trim)
    {
        let matched = all_ids(settings).filter(|id| pattern_matches(name, id));
        let matched: Vec<&'static str> = matched.collect();
        found.extend(&matched);
        if matched.is_empty() {
            rule_named(settings, name, place)?;
        }
    }
    Ok(found)
}

fn parsed(text: &str, file: &str) -> Result<Table, SettingsError> {
    text.parse()
        .map_err(|error: toml::de::Error| SettingsError::Syntax {
            file: file.to_owned(),
            message: error
                .to_string()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        })
}

fn is_day(text: &str) -> bool {
    let shape: Vec<bool> = text.bytes().map(|byte| byte.is_ascii_digit()).collect();
    let (yes, no) = (true, false);
    shape == [yes, yes, yes, yes, no, yes, yes, no, yes, yes] && text.matches('-').count() == 2
}

#[cfg(test)]
mod tests;
