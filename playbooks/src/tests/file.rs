//! What a playbook file may say, and what a variable's value may be.

use crate::{PlaybookError, Values, builtin, builtins, parse};

const TEXT: &str = include_str!("../../validator-down-or-lagging.yaml");

fn refused(from: &str, to: &str) -> PlaybookError {
    let damaged = TEXT.replacen(from, to, 1);
    assert_ne!(damaged, TEXT, "`{from}` stands in the file");
    parse("p.yaml", &damaged).expect_err("must be refused")
}

fn check(from: &str, to: &str, expected: &str) {
    let text = refused(from, to).to_string();
    assert!(text.contains(expected), "{text}");
}

#[test]
fn every_playbook_that_comes_along_is_sound() {
    for playbook in builtins() {
        assert!(!playbook.interlocks.is_empty(), "{} acts without an interlock", playbook.id);
        assert!(playbook.act.iter().any(|step| step.is_destructive));
        assert_eq!(builtin(&playbook.id), Ok(playbook));
    }
    assert!(builtin("nothing").is_err());
}

#[test]
fn mistakes_are_named_with_their_place() {
    let error = refused("severity: high", "severity: high\ncolour: red");
    assert!(matches!(&error, PlaybookError::Syntax { line: 5, .. }), "{error}");
    check("severity: high", "severity: odd", "p.yaml:4:");
    check("playbook/v1", "playbook/v7", "schema: qbind.playbook/v7 is not");
    check("id: view-lag", "id: process-answers", "process-answers: ids are names");
    check("\"${unit}\"]", "\"x${unit}\"]", "mixes text and a variable");
    check("\"${unit}\"]", "\"${unti}\"]", "no variable is named unti");
    check("\"${unit}\"]", "\"${other_validators}\"]", "of the kind Urls");
    check("[systemctl, is-active, \"${unit}\"]", "[]", "the program comes first");
    check("timeout_ms: 3000 }", "timeout_ms: 0 }", "process-answers: 0 ms");
    check("path: /healthz", "path: healthz", "is no path");
    check("    http: { base", "    confirm: Sure?\n    http: { base", "a step has one of");
    check("default: systemd", "default: docker", "none of systemd, lab");
    check("when: { target: systemd }", "when: { target: docker }", "none of systemd, lab");
    check(
        "    title: The node's process",
        "    destructive: true\n    title: Th",
        "only a program",
    );
    let alias = refused("title: Validator down or lagging", "title: &a Validator");
    assert!(matches!(alias, PlaybookError::Syntax { .. }), "anchors are not needed: {alias}");
    assert!(parse("p.yaml", &"a".repeat(300_000)).is_err());
}

#[test]
fn a_bomb_of_aliases_is_refused_before_it_grows() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..9 {
        let before = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 9].join(",")));
    }
    assert!(matches!(parse("p.yaml", &bomb), Err(PlaybookError::Syntax { .. })));
}

#[test]
fn values_are_of_their_kind_and_never_options() {
    let playbook = builtin("validator-down-or-lagging").expect("there");
    let fine = ["node_url=http://10.0.0.1:9090", "other_validators=http://a:1,http://b:2"];
    let with = |more: &[&str]| {
        let settings: Vec<String> = fine.iter().chain(more).map(|s| (*s).to_owned()).collect();
        Values::new(&playbook, &settings, "/bin/qbindctl")
    };
    assert!(with(&["unit=qbind@1.service"]).is_ok());
    let refused = |setting: &str, expected: &str| {
        let text = with(&[setting]).expect_err("must be refused").to_string();
        assert!(text.contains(expected), "{text}");
    };
    refused("unit=--force", "begins with a dash");
    refused("unit=a b", "more than letters");
    refused("unit=a;reboot", "more than letters");
    refused("unit=", "1 to 4096 bytes");
    refused("unit", "name=value");
    refused("lab_dir=a\nb", "control characters");
    refused("target=docker", "none of systemd, lab");
    refused("colour=red", "no such variable; there are lab_dir");
    refused("node_url=http://a:1", "given twice");
    refused("qbindctl=/tmp/evil", "no such variable");
    // Only the lab's steps need its directory.
    refused("target=lab", "missing: lab: its directory");
    assert!(with(&["target=lab", "lab_dir=/tmp/l", "node=eu-v1"]).is_ok());
    for url in ["https://a:1", "http://a:1/", "http://a:1/x", "http://u@a:1", "ftp://a:1", "a:1"] {
        let settings = [format!("node_url={url}"), fine[1].to_owned()];
        assert!(Values::new(&playbook, &settings, "q").is_err(), "{url}");
    }
    let missing = Values::new(&playbook, &[fine[0].to_owned()], "q").expect_err("one is missing");
    assert!(missing.to_string().starts_with("--set other_validators: missing"));
}
