//! What a rule may ask about the configuration while it judges.

use crate::model::meta::RuleMeta;
use crate::model::settings::RuleSettings;

/// The thresholds and settings that hold for one rule.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub(crate) meta: &'static RuleMeta,
    pub(crate) settings: &'a RuleSettings,
}

impl<'a> Context<'a> {
    /// The value in force of one of the rule's declared thresholds.
    ///
    /// # Panics
    /// When the rule did not declare it, which the habits test rules out.
    #[must_use]
    pub fn threshold(&self, name: &str) -> f64 {
        let spec = self.meta.thresholds.iter().find(|spec| spec.name == name);
        let spec = spec.expect("a rule reads only thresholds it declares");
        self.settings
            .threshold(self.meta.id, name)
            .unwrap_or(spec.default)
    }

    /// All settings.
    #[must_use]
    pub fn settings(&self) -> &'a RuleSettings {
        self.settings
    }
}
