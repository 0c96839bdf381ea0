//! The README shows what the program really prints. To write its generated parts again:
//! `PCAPDOC_BLESS=1 cargo test --release --test program -- readme`.

use std::fmt::Write as _;

use crate::common;
use rules::Engine;

/// Replaces what stands between `<!-- name -->` and `<!-- /name -->`.
fn with_part(readme: &str, name: &str, part: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = readme.split_once(&begin).expect("the part begins");
    let (_, after) = rest.split_once(&end).expect("the part ends");
    format!("{before}{begin}{part}{end}{after}")
}

fn excerpt() -> String {
    let capture = "testdata/captures/keepalive-race/late-write.pcap";
    let output = common::pcapdoc(&["analyze", capture, "--format", "terminal"])
        .current_dir(common::root())
        .output()
        .expect("the program starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    format!("\n```text\n{text}```\n\n")
}

fn rules_table() -> String {
    let mut tables = String::new();
    for (group, metas) in rules::meta::grouped(&Engine::full_catalogue()) {
        writeln!(tables, "\n**{}**\n", group.heading()).expect("a String");
        tables += "| rule | severity up to | what it finds |\n| --- | --- | --- |\n";
        for meta in metas {
            let severity = meta.severity.as_str();
            writeln!(tables, "| `{}` | {severity} | {} |", meta.id, meta.title).expect("a String");
        }
    }
    tables + "\n"
}

#[test]
fn the_readme_shows_what_the_program_prints() {
    let file = common::root().join("README.md");
    let readme = std::fs::read_to_string(&file).expect("the README");
    let current = with_part(&readme, "excerpt", &excerpt());
    let current = with_part(&current, "rules", &rules_table());
    if std::env::var_os("PCAPDOC_BLESS").is_some() {
        std::fs::write(&file, current).expect("the README can be written");
    } else {
        assert!(
            readme == current,
            "README.md is out of date: run with PCAPDOC_BLESS=1 and look at the change"
        );
    }
}

#[test]
fn the_configuration_in_the_readme_is_valid() {
    let readme = std::fs::read_to_string(common::root().join("README.md")).expect("the README");
    let (_, rest) = readme.split_once("```toml\n").expect("a configuration");
    let (configuration, _) = rest.split_once("```").expect("its end");
    rules::RuleSettings::from_toml(configuration, "README.md").expect("valid settings");
}
