//! What the arguments and the configuration file mean: resolved, checked, immutable.

use std::fs;
use std::path::{Path, PathBuf};

use analyzer::PacketFilter;
use analyzer::capture::Input;
use analyzer::pipeline::Memory;
use rules::settings::RuleSettings;

use crate::cli::{AnalysisArguments, HostArguments, RuleFiles};
use crate::failure::Failure;
use crate::inputs::inputs;

/// Everything an analysis is told.
#[derive(Clone)]
pub struct Settings {
    /// Inputs in the order given.
    pub inputs: Vec<Input>,
    /// For the analyzer.
    pub analysis: analyzer::pipeline::Settings,
    /// For the rule engine.
    pub rules: RuleSettings,
    /// What was collected on the hosts.
    pub hosts: HostArguments,
    /// The configuration file that was read.
    pub configuration_file: Option<PathBuf>,
    /// What it says, by full name.
    pub configuration: Vec<(String, String)>,
    /// Threads; 0 for all cores.
    pub threads: usize,
}

impl Settings {
    /// Resolves how `captures` are to be analysed.
    pub fn resolve(captures: &[PathBuf], arguments: &AnalysisArguments) -> Result<Self, Failure> {
        let Configured {
            mut rules,
            file: configuration_file,
            values: configuration,
        } = rule_settings(&arguments.files)?;
        let usage = |error: rules::settings::SettingsError| Failure::Usage(error.to_string());
        rules.select(&arguments.select).map_err(usage)?;
        rules.ignore(&arguments.ignore).map_err(usage)?;
        for &(port, bytes) in &arguments.udp_recv_buffer {
            rules.udp_recv_buffers.insert(port, bytes);
        }
        let mut analysis = analyzer::pipeline::Settings::default();
        let configured = rules
            .framings
            .iter()
            .map(|(port, spec)| (*port, spec.clone()));
        for (port, spec) in arguments.framing.iter().cloned().chain(configured) {
            let spec = spec
                .parse()
                .map_err(|error: analyzer::app::FramingSpecError| {
                    Failure::Usage(format!("framing of port {port}: {error}"))
                })?;
            analysis.tcp.app.framings.push((port, spec));
        }
        analysis.filter = PacketFilter {
            from: arguments.from,
            to: arguments.to,
            hosts: arguments.host.clone(),
            ports: arguments.port.clone(),
            connections: arguments.connection.clone(),
        };
        analysis.memory = Memory(arguments.max_memory.unwrap_or_else(default_memory));
        Ok(Self {
            inputs: inputs(captures)?,
            analysis,
            rules,
            hosts: HostArguments::default(),
            configuration_file,
            configuration,
            threads: arguments.threads.map_or(0, usize::from),
        })
    }
}

/// 1 GiB, or a quarter of the machine's memory if that is less.
fn default_memory() -> u64 {
    const USUAL: u64 = 1 << 30;
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| {
        let kibibytes = line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?;
        kibibytes.trim().parse::<u64>().ok()
    });
    total.map_or(USUAL, |kibibytes| USUAL.min(kibibytes * 1024 / 4))
}

/// What configuration files say.
pub struct Configured {
    /// For the rule engine.
    pub rules: RuleSettings,
    /// The configuration file that was read.
    pub file: Option<PathBuf>,
    /// Everything it says, by full name, for the report.
    pub values: Vec<(String, String)>,
}

/// Reads the configuration file, if there is one, and the files of the user's own rules.
pub fn rule_settings(files: &RuleFiles) -> Result<Configured, Failure> {
    let file = files.config.clone();
    let file = file.or_else(|| find_upwards("pcapdoc.toml"));
    let configuration = file.as_deref().map(named_text).transpose()?;
    let own = files.rules.iter().map(|file| named_text(file));
    let own: Vec<(String, String)> = own.collect::<Result<_, _>>()?;
    let rules = RuleSettings::from_files(configuration.as_ref(), &own)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let values = configuration.map(|(_, text)| flat(&text));
    Ok(Configured {
        rules,
        file,
        values: values.unwrap_or_default(),
    })
}

/// The name of a file, and its text.
fn named_text(file: &Path) -> Result<(String, String), Failure> {
    let name = file.display().to_string();
    match fs::read_to_string(file) {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(Failure::Usage(format!("could not read {name}: {error}"))),
    }
}

/// The settings of a valid configuration, each with its full name, in the order of names.
fn flat(text: &str) -> Vec<(String, String)> {
    fn walk(name: &str, value: &toml::Value, all: &mut Vec<(String, String)>) {
        let toml::Value::Table(table) = value else {
            let text = value.as_str().map(str::to_owned);
            all.push((name.to_owned(), text.unwrap_or_else(|| value.to_string())));
            return;
        };
        for (key, value) in table {
            let separator = if name.is_empty() { "" } else { "." };
            walk(&format!("{name}{separator}{key}"), value, all);
        }
    }
    let mut all = Vec::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        walk("", &toml::Value::Table(table), &mut all);
    }
    all.sort();
    all
}

/// The nearest file of that name in the current folder or one above.
fn find_upwards(name: &str) -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    here.ancestors()
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
