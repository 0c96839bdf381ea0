//! One self-contained page: no request leaves it, and it is readable without scripts.
//!
//! `page` turns the document into texts ready to be shown, templates give them their places.
//! Every string passes [`escape::html`] in the formatter below, unless a template calls it
//! `safe`, which only our own style, script and SVG are.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Output, State, UndefinedBehavior, Value, context};
use sha2::{Digest, Sha256};

use crate::document::Document;
use crate::error::Error;
use crate::words::{escape, format};

mod actions;
mod fact;
mod finding;
mod ladder;
mod page;
mod table;
mod timeline;

pub(crate) const STYLE: &str = include_str!("style.css");
pub(crate) const SCRIPT: &str = include_str!("script.js");

const TEMPLATES: [(&str, &str); 6] = [
    ("page.html", include_str!("templates/page.html")),
    ("finding.html", include_str!("templates/finding.html")),
    ("advice.html", include_str!("templates/advice.html")),
    ("chart.html", include_str!("templates/chart.html")),
    ("table.html", include_str!("templates/table.html")),
    ("method.html", include_str!("templates/method.html")),
];

/// Parsed once: an archive has thousands of pages.
static ENVIRONMENT: LazyLock<Environment<'static>> =
    LazyLock::new(|| environment().expect("the templates are ours, and tests render them"));

static POLICY: LazyLock<String> = LazyLock::new(|| policy(STYLE, SCRIPT));

/// Renders the page.
///
/// # Errors
/// Fails only if a template does not fit the view model or a chart cannot be drawn, which are
/// defects of ours.
pub fn render(document: &Document) -> Result<String, Error> {
    let page = page::Page::new(document)?;
    Ok(ENVIRONMENT.get_template("page.html")?.render(context! {
        page => Serde(&page),
        style => STYLE,
        script => SCRIPT,
        policy => POLICY.as_str(),
    })?)
}

/// Nothing may be loaded, and of inline code only ours may run.
pub(crate) fn policy(style: &str, script: &str) -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; \
         base-uri 'none'; form-action 'none'",
        hash(style),
        hash(script)
    )
}

/// Templates with our own escaping.
pub(crate) fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    environment.set_formatter(write_escaped);
    environment.add_filter("confidence", format::confidence);
    environment.add_filter("counted", format::counted);
    environment.add_filter("unbroken", format::unbroken);
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    Ok(environment)
}

/// Escapes strings by our own rules, which also make control characters harmless.
fn write_escaped(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    match value.as_str() {
        Some(text) if !value.is_safe() => out
            .write_str(&escape::html(text))
            .map_err(minijinja::Error::from),
        _ => minijinja::escape_formatter(out, state, value),
    }
}
