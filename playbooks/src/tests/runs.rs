//! Whole runs against nodes with planted states.

use std::path::Path;

use super::node::{Node, State};
use crate::{
    Consent, Event, HttpClient, Journal, Run, Values, Verdict, parse, plan, verify_journal,
};

struct Says(bool, Vec<String>);

impl Consent for Says {
    fn ask(&mut self, what: &str) -> bool {
        self.1.push(what.to_owned());
        self.0
    }
}

/// The shipped playbook, with the restart replaced by a program that leaves a mark, and shorter waits.
fn playbook(mark: &Path) -> crate::Playbook {
    let text = include_str!("../../validator-down-or-lagging.yaml")
        .replace("[systemctl, is-active, \"${unit}\"]", "[\"true\"]")
        .replace("systemctl, restart, \"${unit}\"", &format!("touch, \"{}\"", mark.display()))
        .replace("every_ms: 1000", "every_ms: 5")
        .replace("timeout_ms: 300000", "timeout_ms: 200");
    parse("p.yaml", &text).expect("sound")
}

struct Ran {
    verdict: Verdict,
    has_restarted: bool,
    asked: Vec<String>,
    outcomes: Vec<String>,
    journal: String,
}

fn run(node: &Node, others: &[Node], agrees: bool) -> Ran {
    let dir = tempfile::tempdir().expect("a directory");
    let (mark, file) = (dir.path().join("restarted"), dir.path().join("journal.jsonl"));
    let playbook = playbook(&mark);
    let urls: Vec<String> = others.iter().map(Node::url).collect();
    let settings =
        [format!("node_url={}", node.url()), format!("other_validators={}", urls.join(","))];
    let values = Values::new(&playbook, &settings, "qbindctl").expect("fine");
    let journal = Journal::create(&file).expect("a new file");
    let mut consent = Says(agrees, Vec::new());
    let mut outcomes = Vec::new();
    let verdict = Run {
        playbook: &playbook,
        values: &values,
        http: &HttpClient::new().expect("a client"),
        consent: &mut consent,
        journal: &journal,
        tell: &mut |event| {
            if let Event::Ended { id, answer, .. } = event {
                outcomes.push(format!("{id} {:?}", answer.outcome));
            }
        },
    }
    .execute()
    .expect("journalled");
    let summary = verify_journal(&file).expect("readable").expect("an unbroken chain");
    assert!(summary.records >= 4);
    let journal = std::fs::read_to_string(&file).expect("readable");
    Ran { verdict, has_restarted: mark.exists(), asked: consent.1, outcomes, journal }
}

fn others(states: &[State]) -> Vec<Node> {
    states.iter().cloned().map(Node::start).collect()
}

fn six_healthy() -> Vec<Node> {
    others(&vec![State::healthy(); 6])
}

#[test]
fn a_node_that_is_down_is_restarted_and_waited_for() {
    let node = Node::start(State { heals_after: Some(12), ..State::down() });
    let ran = run(&node, &six_healthy(), true);
    assert_eq!(ran.verdict, Verdict::Done);
    assert!(ran.has_restarted);
    assert_eq!(ran.asked.len(), 1, "one destructive step, one question");
    assert!(ran.asked[0].contains("[\"touch\", \""), "the question shows what runs");
    let expected = [
        "process-answers Unknown",
        "node-is-ready Unknown",
        "view-lag Unknown",
        "outbound-peers Unknown",
        "process-state-systemd Yes",
        "node-is-healthy Yes",
        "quorum Yes",
        "restart-systemd Yes",
        "caught-up Yes",
    ];
    assert_eq!(ran.outcomes, expected);
    assert!(ran.journal.contains("\"verdict\":\"DONE\""));
}

#[test]
fn a_healthy_node_is_left_alone() {
    let ran = run(&Node::start(State::healthy()), &six_healthy(), true);
    assert!(matches!(&ran.verdict, Verdict::Refused { by, .. } if by == "node-is-healthy"));
    assert_eq!((ran.verdict.exit_code(), ran.has_restarted, ran.asked.len()), (4, false, 0));
    assert!(ran.journal.contains("\"verdict\":\"REFUSED\""));
}

#[test]
fn a_restart_that_would_break_the_quorum_is_refused() {
    let mut states = vec![State::healthy(); 6];
    states[0] = State::down();
    // f = 2 of 7: one other is down, this one makes two.
    let node = Node::start(State { heals_after: Some(30), ..State::lagging() });
    assert_eq!(run(&node, &others(&states), true).verdict, Verdict::Done);
    states[1] = State::down();
    let ran = run(&Node::start(State::lagging()), &others(&states), true);
    assert!(matches!(&ran.verdict, Verdict::Refused { by, why }
        if by == "quorum" && why.contains("2 of 7 validators down besides this one, 2 tolerated")));
    assert_eq!((ran.verdict.exit_code(), ran.has_restarted), (4, false));
}

#[test]
fn a_node_that_is_down_may_be_restarted_whatever_else_is_down() {
    let mut states = vec![State::healthy(); 6];
    states[..3].fill(State::down());
    let node = Node::start(State { heals_after: Some(12), ..State::down() });
    let ran = run(&node, &others(&states), true);
    assert!(ran.has_restarted && ran.verdict == Verdict::Done, "{:?}", ran.verdict);
}

#[test]
fn naming_the_node_among_the_others_does_not_make_the_network_larger() {
    let mut all = others(&[State::down(), State::healthy(), State::healthy()]);
    all.push(Node::start(State::lagging()));
    let dir = tempfile::tempdir().expect("a directory");
    let playbook = playbook(&dir.path().join("restarted"));
    let urls: Vec<String> = all.iter().map(Node::url).collect();
    let settings =
        [format!("node_url={}", urls[3]), format!("other_validators={}", urls.join(","))];
    let values = Values::new(&playbook, &settings, "q").expect("fine");
    let verdict = Run {
        playbook: &playbook,
        values: &values,
        http: &HttpClient::new().expect("a client"),
        consent: &mut Says(true, Vec::new()),
        journal: &Journal::create(&dir.path().join("j")).expect("a new file"),
        tell: &mut |_| {},
    }
    .execute()
    .expect("journalled");
    let refused = matches!(&verdict, Verdict::Refused { by, why }
        if by == "quorum" && why.contains("1 of 4 validators down"));
    assert!(refused, "{verdict:?}");
}

#[test]
fn without_consent_nothing_is_changed() {
    let ran = run(&Node::start(State::lagging()), &six_healthy(), false);
    assert!(matches!(&ran.verdict, Verdict::Refused { by, .. } if by == "restart-systemd"));
    assert_eq!((ran.verdict.exit_code(), ran.has_restarted), (4, false));
    assert!(ran.journal.contains("\"given\":false"));
}

#[test]
fn a_node_that_stays_behind_is_not_done() {
    let ran = run(&Node::start(State::lagging()), &six_healthy(), true);
    assert!(matches!(&ran.verdict, Verdict::NotDone { step, .. } if step == "caught-up"));
    assert_eq!((ran.verdict.exit_code(), ran.has_restarted), (1, true));
}

#[test]
fn a_missing_metric_is_unknown_and_never_done() {
    let metrics = "qbind_p2p_outbound_peers 5\n".to_owned();
    let node = Node::start(State { metrics, ..State::healthy() });
    let ran = run(&node, &six_healthy(), true);
    assert!(ran.outcomes.contains(&"view-lag Unknown".to_owned()));
    let unknown = matches!(&ran.verdict, Verdict::Unknown { step, seen }
        if step == "caught-up" && seen.contains("qbind_consensus_view_lag is missing"));
    assert!(unknown, "{:?}", ran.verdict);
    assert_eq!(ran.verdict.exit_code(), 2);
}

#[test]
fn a_failed_restart_ends_the_run() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = include_str!("../../validator-down-or-lagging.yaml")
        .replace("systemctl, is-active", "\"true\"")
        .replace("systemctl, restart", "\"false\"");
    let playbook = parse("p.yaml", &text).expect("sound");
    let (node, others) = (Node::start(State::lagging()), six_healthy());
    let urls: Vec<String> = others.iter().map(Node::url).collect();
    let settings =
        [format!("node_url={}", node.url()), format!("other_validators={}", urls.join(","))];
    let values = Values::new(&playbook, &settings, "q").expect("fine");
    let verdict = Run {
        playbook: &playbook,
        values: &values,
        http: &HttpClient::new().expect("a client"),
        consent: &mut Says(true, Vec::new()),
        journal: &Journal::create(&dir.path().join("j")).expect("a new file"),
        tell: &mut |_| {},
    }
    .execute()
    .expect("journalled");
    assert!(matches!(verdict, Verdict::NotDone { step, .. } if step == "restart-systemd"));
}

#[test]
fn a_plan_shows_everything_in_order_and_touches_nothing() {
    let playbook = crate::builtin("validator-down-or-lagging").expect("there");
    let settings = [
        "node_url=http://10.0.0.1:1".to_owned(),
        "other_validators=http://10.0.0.2:1".to_owned(),
        "target=lab".to_owned(),
        "lab_dir=/l".to_owned(),
        "node=eu-v1".to_owned(),
    ];
    let values = Values::new(&playbook, &settings, "/bin/qbindctl").expect("fine");
    let lines = plan(&playbook, &values);
    let starts: Vec<&str> =
        lines.iter().map(|line| line.split(&[':', ' ']).nth(1).expect("an id")).collect();
    let expected = [
        "process-answers",
        "node-is-ready",
        "view-lag",
        "outbound-peers",
        "process-state-lab",
        "node-is-healthy",
        "quorum",
        "restart-lab",
        "caught-up",
    ];
    assert_eq!(starts, expected);
    let restart = "act restart-lab (destructive: needs consent): run [\"/bin/qbindctl\", \"lab\", \
        \"restart\", \"--dir\", \"/l\", \"eu-v1\"], at most 120000 ms";
    assert_eq!(lines[7], restart);
}
