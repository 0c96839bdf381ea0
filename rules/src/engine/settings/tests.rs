//! Settings as users write them, rightly and wrongly.

use analyzer::Endpoint;

use super::*;

fn error(text: &str) -> String {
    RuleSettings::from_toml(text, "pcapdoc.toml")
        .unwrap_err()
        .to_string()
}

#[test]
fn a_full_file_is_read() {
    let text = r#"
        [rules.keepalive-race]
        min_idle_ms = 400
        [rules.retransmit-hol]
        enabled = false
        [[ignore]]
        rule = "linger-zero-reset"
        server = "192.0.2.7:80"
        reason = "the balancer's health check"
        expires = "2026-12-31"
        [udp]
        recv_buffer = { "9000" = 2048 }
        [framing]
        "9001" = "u32be"
    "#;
    let settings = RuleSettings::from_toml(text, "pcapdoc.toml").unwrap();
    assert_eq!(
        settings.threshold("keepalive-race", "min_idle_ms"),
        Some(400.0)
    );
    assert!(!settings.is_enabled("retransmit-hol"));
    assert_eq!(settings.udp_recv_buffers[&9000], 2048);
    assert_eq!(settings.framings[&9001], "u32be");
    let ignore = &settings.ignores[0];
    assert!(!ignore.is_expired("2026-12-31T23:00:00Z"));
    assert!(ignore.is_expired("2027-01-01T00:00:00Z"));
    let server = Endpoint::new("192.0.2.7".parse().unwrap(), 80);
    assert!(ignore.matches("linger-zero-reset", &BTreeSet::from([server])));
    assert!(!ignore.matches(
        "linger-zero-reset",
        &BTreeSet::from([Endpoint::new(server.ip, 81)])
    ));
}

#[test]
fn errors_name_the_key_and_the_file() {
    assert_eq!(
        error("[rules.keepalive-rase]\n"),
        "pcapdoc.toml: no rule is called `keepalive-rase`; did you mean `keepalive-race`?"
    );
    assert_eq!(
        error("[rules.keepalive-race]\nmin_idel_ms = 1\n"),
        "pcapdoc.toml: unknown key `rules.keepalive-race.min_idel_ms`; did you mean `min_idle_ms`?"
    );
    assert!(error("[rules.keepalive-race]\nmin_idle_ms = \"a\"\n").contains("must be a number"));
    assert!(error("[udp]\nrecv_buffer = { x = 1 }\n").contains("`x`"));
    assert!(error("[[ignore]]\nrule = \"udp-truncation\"\n").contains("a reason"));
    assert!(error("colour = 1\n").contains("unknown key `colour`"));
    assert!(error("= 1").starts_with("pcapdoc.toml: not valid TOML"));
}

#[test]
fn names_and_patterns() {
    let mut settings = RuleSettings::default();
    settings
        .select(&["keepalive-*".to_owned(), "retransmit-hol".to_owned()])
        .unwrap();
    assert!(settings.is_enabled("keepalive-race") && settings.is_enabled("retransmit-hol"));
    assert!(!settings.is_enabled("udp-truncation"));
    settings.ignore(&["keepalive-race".to_owned()]).unwrap();
    assert!(!settings.is_enabled("keepalive-race"));
    let error = settings
        .select(&["retransmit-holl".to_owned()])
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "--select: no rule is called `retransmit-holl`; did you mean `retransmit-hol`?"
    );
    assert!(settings.select(&["zzz*".to_owned()]).is_err());
}
