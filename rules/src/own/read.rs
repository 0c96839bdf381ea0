//! `[[rule]]` in TOML, with the line of everything that can be wrong.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::Fault;
use super::expression::Formula;
use super::rule::{Compiled, Cost, OwnRule, interned};
use super::tables::{ColumnInfo, Source, find};
use super::title::Title;
use crate::model::nearest::hint;
use crate::model::severity::Severity;

/// What is wrong with a rule of the user's own.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file}:{line}: {reason}")]
pub struct OwnRuleError {
    /// Which file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong, with the nearest right name.
    pub reason: String,
}

const KEYS: [&str; 9] = [
    "id", "title", "on", "when", "group_by", "at_least", "severity", "cost", "remedy",
];

const SEVERITIES: [Severity; 5] = [
    Severity::Info,
    Severity::Low,
    Severity::Medium,
    Severity::High,
    Severity::Critical,
];

/// Refuses a file of rules that holds anything else.
pub(crate) fn only_rules(text: &str, file: &str) -> Result<(), OwnRuleError> {
    let of = Text { text, file };
    for key in of.parse()?.get_ref().keys() {
        if key.get_ref() != "rule" {
            let meant = hint(key.get_ref(), ["rule"].into_iter());
            let reason = format!("unknown key `{}`{meant}", key.get_ref());
            return Err(of.error(key.span().start, reason));
        }
    }
    Ok(())
}

/// Reads rules file by file.
pub(crate) struct Reader {
    pub(crate) rules: Vec<Arc<OwnRule>>,
    /// Ids of our rules.
    taken: Vec<&'static str>,
}

impl Reader {
    /// A reader that accepts no rule of a name in `taken`.
    pub(crate) const fn new(taken: Vec<&'static str>) -> Self {
        Self {
            rules: Vec::new(),
            taken,
        }
    }

    /// Reads every `[[rule]]` of a file.
    ///
    /// # Errors
    /// When a rule cannot be understood, names what does not exist, has no end of groups, or bears
    /// the name of another.
    pub(crate) fn read(&mut self, text: &str, file: &str) -> Result<(), OwnRuleError> {
        let of = Text { text, file };
        let document = of.parse()?;
        let Some(rules) = document.get_ref().get("rule") else {
            return Ok(());
        };
        let Some(list) = rules.get_ref().as_array() else {
            let reason = "`rule` must be a list of tables: write `[[rule]]`".to_owned();
            return Err(of.error(rules.span().start, reason));
        };
        for entry in list.iter() {
            let rule = of.rule(entry)?;
            if self.taken.contains(&rule.id) {
                let reason = format!("`{}` is a rule of pcapdoc; choose another id", rule.id);
                return Err(of.error(entry.span().start, reason));
            }
            let known = self.rules.iter().find(|known| known.id == rule.id);
            if let Some(known) = known {
                let reason = format!("rule `{}` is already in {}", rule.id, known.place);
                return Err(of.error(entry.span().start, reason));
            }
            self.rules.push(Arc::new(rule));
        }
        Ok(())
    }
}

/// A file, for the places of what stands in it.
#[derive(Clone, Copy)]
struct Text<'a> {
    text: &'a str,
    file: &'a str,
}

impl<'a> Text<'a> {
    fn parse(self) -> Result<Spanned<DeTable<'a>>, OwnRuleError> {
        DeTable::parse(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let words: Vec<&str> = error.message().split_whitespace().collect();
            self.error(at, format!("not valid TOML: {}", words.join(" ")))
        })
    }

    fn line(self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        1 + before.iter().filter(|octet| **octet == b'\n').count()
    }

    fn error(self, at: usize, reason: String) -> OwnRuleError {
        OwnRuleError {
            file: self.file.to_owned(),
            line: self.line(at),
            reason,
        }
    }

    fn rule(self, entry: &Spanned<DeValue<'_>>) -> Result<OwnRule, OwnRuleError> {
        let start = entry.span().start;
        let Some(table) = entry.get_ref().as_table() else {
            return Err(self.error(start, "a rule must be a table".to_owned()));
        };
        let id = table.get("id").and_then(|id| id.get_ref().as_str());
        let entry = Entry {
            of: self,
            table,
            start,
            id: id.unwrap_or_default(),
        };
        entry.rule()
    }
}

/// One `[[rule]]`.
struct Entry<'t, 'a> {
    of: Text<'a>,
    table: &'t DeTable<'t>,
    start: usize,
    id: &'t str,
}

type Value<'t> = Spanned<DeValue<'t>>;

impl<'t> Entry<'t, '_> {
    fn rule(&self) -> Result<OwnRule, OwnRuleError> {
        for key in self.table.keys() {
            if !KEYS.contains(&&**key.get_ref()) {
                let meant = hint(key.get_ref(), KEYS.into_iter());
                let reason = format!("unknown key `{}`{meant}", key.get_ref());
                return Err(self.error(key.span().start, &reason));
            }
        }
        let id = self.id()?;
        let on = self.source()?;
        let columns = on.columns();
        let when = self.needed("when")?;
        let title = self.needed("title")?;
        let pieces = Title::new(self.text("title", title)?, &columns)
            .map_err(|reason| self.error_of("title", title, &reason))?;
        let group = self.group(&columns)?;
        let (cost, costs) = self.cost(&columns)?;
        Ok(OwnRule {
            id: interned(id),
            title: interned(self.text("title", title)?),
            on,
            when: self.text("when", when)?.trim().to_owned(),
            group_by: group.iter().map(|&at| columns[at].name).collect(),
            at_least: self.at_least()?,
            severity: self.severity()?,
            cost,
            remedy: match self.table.get("remedy") {
                Some(value) => Some(self.text("remedy", value)?.to_owned()),
                None => None,
            },
            place: format!("{}:{}", self.of.file, self.of.line(self.start)),
            compiled: Compiled {
                when: self.formula("when", when, &columns)?,
                group,
                cost: costs,
                title: pieces,
            },
        })
    }

    fn id(&self) -> Result<&'t str, OwnRuleError> {
        let value = self.needed("id")?;
        let id = self.text("id", value)?;
        let mut letters = id.bytes();
        let is_name = letters
            .next()
            .is_some_and(|letter| letter.is_ascii_lowercase())
            && letters.all(|letter| {
                letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-'
            });
        if !is_name {
            let reason = "must be lower-case letters, digits and hyphens, such as `house-slow`";
            return Err(self.error_of("id", value, reason));
        }
        Ok(id)
    }

    fn source(&self) -> Result<Source, OwnRuleError> {
        let value = self.needed("on")?;
        let name = self.text("on", value)?;
        Source::named(name).ok_or_else(|| {
            let meant = hint(name, Source::NAMES.into_iter());
            self.error_of("on", value, &format!("no table is called `{name}`{meant}"))
        })
    }

    fn group(&self, columns: &[ColumnInfo]) -> Result<Vec<usize>, OwnRuleError> {
        let Some(value) = self.table.get("group_by") else {
            return Ok(Vec::new());
        };
        let names: Vec<&Value<'_>> = match value.get_ref() {
            DeValue::Array(list) => list.iter().collect(),
            _ => vec![value],
        };
        let mut group = Vec::new();
        for name in names {
            let text = self.text("group_by", name)?;
            let at =
                find(columns, text).map_err(|reason| self.error_of("group_by", name, &reason))?;
            if let Some(why) = columns[at].endless() {
                let reason = format!("`{text}` {why}: there would be no end of groups");
                return Err(self.error_of("group_by", name, &reason));
            }
            if group.contains(&at) {
                let reason = format!("`{text}` is named twice");
                return Err(self.error_of("group_by", name, &reason));
            }
            group.push(at);
        }
        Ok(group)
    }

    fn at_least(&self) -> Result<u64, OwnRuleError> {
        let Some(value) = self.table.get("at_least") else {
            return Ok(1);
        };
        let number = value.get_ref().as_integer().and_then(|number| {
            let digits = number.as_str().replace('_', "");
            u64::from_str_radix(&digits, number.radix()).ok()
        });
        number
            .filter(|number| *number > 0)
            .ok_or_else(|| self.error_of("at_least", value, "must be a whole number of at least 1"))
    }

    fn severity(&self) -> Result<Severity, OwnRuleError> {
        let Some(value) = self.table.get("severity") else {
            return Ok(Severity::Low);
        };
        let name = self.text("severity", value)?;
        let mut known = SEVERITIES.into_iter();
        known.find(|one| one.as_str() == name).ok_or_else(|| {
            let meant = hint(name, SEVERITIES.iter().map(|one| one.as_str()));
            self.error_of(
                "severity",
                value,
                &format!("no severity is called `{name}`{meant}"),
            )
        })
    }

    #[expect(
        clippy::type_complexity,
        reason = "what is written, and what it compiles to"
    )]
    fn cost(
        &self,
        columns: &[ColumnInfo],
    ) -> Result<(Vec<(&'static str, String)>, Vec<Cost>), OwnRuleError> {
        let Some(value) = self.table.get("cost") else {
            return Ok((Vec::new(), Vec::new()));
        };
        let Some(table) = value.get_ref().as_table() else {
            let reason = "must be a table such as { requests_failed = \"count\" }";
            return Err(self.error_of("cost", value, reason));
        };
        let (mut written, mut compiled) = (Vec::new(), Vec::new());
        for (name, value) in table {
            let is_name = |letter: u8| letter.is_ascii_lowercase() || letter == b'_';
            if !name.get_ref().bytes().all(is_name) {
                let reason = "a cost is named in lower-case letters, such as `time_lost_ms`";
                return Err(self.error_of("cost", value, reason));
            }
            let text = self.text("cost", value)?;
            compiled.push(match text.trim() {
                "count" => Cost::Count,
                _ => Cost::Of(self.formula("cost", value, columns)?),
            });
            written.push((interned(name.get_ref()), text.trim().to_owned()));
        }
        Ok((written, compiled))
    }

    fn formula(
        &self,
        key: &str,
        value: &Value<'_>,
        columns: &[ColumnInfo],
    ) -> Result<Formula, OwnRuleError> {
        let source = self.text(key, value)?;
        Formula::new(source, columns).map_err(|fault: Fault| {
            let mut error = self.error_of(key, value, &fault.reason);
            // A line break right after the opening quotes is no part of the text.
            let written = &self.of.text[value.span()];
            let breaks = ["\"\"\"\n", "'''\n", "\"\"\"\r\n", "'''\r\n"];
            let skipped = breaks.iter().any(|open| written.starts_with(open));
            error.line += fault.line.saturating_sub(1) + usize::from(skipped);
            error
        })
    }

    fn needed(&self, key: &str) -> Result<&'t Value<'t>, OwnRuleError> {
        self.table
            .get(key)
            .ok_or_else(|| self.error(self.start, &format!("`{key}` is missing")))
    }

    fn text<'v>(&self, key: &str, value: &'v Value<'_>) -> Result<&'v str, OwnRuleError> {
        let text = value.get_ref().as_str();
        text.filter(|text| !text.trim().is_empty())
            .ok_or_else(|| self.error_of(key, value, "must be text in quotes"))
    }

    fn error_of(&self, key: &str, value: &Value<'_>, reason: &str) -> OwnRuleError {
        self.error(value.span().start, &format!("`{key}`: {reason}"))
    }

    fn error(&self, at: usize, reason: &str) -> OwnRuleError {
        let whose = match self.id {
            "" => "rule without an id".to_owned(),
            id => format!("rule `{}`", id.escape_debug()),
        };
        self.of.error(at, format!("{whose}: {reason}"))
    }
}
