use super::*;
use crate::{
    Instant, Policy, judge as stand,
    upgrade::{
        Backing, Class, Envelope, Evidence, Keyset, MERKLE_KIND, Question, ReleaseManifest,
        VERSION, VERSION_OLD, judge, platform_of,
    },
};
use std::collections::BTreeMap;

fn digest(bytes: &[u8]) -> String {
    Digest::of(&[bytes]).to_string()
}

fn envelope(class: Class, version: &str) -> Envelope {
    Envelope {
        envelope_version: version.to_owned(),
        envelope_id: "qip-7".to_owned(),
        protocol_version: "1.1.0".to_owned(),
        network_environment: "mainnet".to_owned(),
        class,
        version: String::new(),
        activation_height: (class == Class::CHardFork).then_some(1_000_000),
        binary_hashes: BTreeMap::from([("linux-x86_64".to_owned(), digest(b"the binary"))]),
        notes: String::new(),
        emergency: false,
        evidence: Vec::new(),
        council_approvals: Vec::new(),
    }
}

/// Member n has key n; organisations 0, 1, 2 in turn.
fn council() -> serde_json::Value {
    let keys: Vec<_> = (1..=7u8)
        .map(|n| {
            json!({
                "member_id": format!("m{n}"), "name": format!("Member {n}"),
                "organisation": format!("org {}", n % 3), "algorithm": "ml-dsa-44",
                "public_key": hex::encode(key(n).public_key().as_bytes()),
            })
        })
        .collect();
    json!({
        "keyset_version": "1.0", "network_environment": "mainnet", "threshold": 5,
        "emergency_threshold": 4, "organisations": 3, "keys": keys,
    })
}

fn keyset() -> Keyset {
    Keyset::parse(council().to_string().as_bytes()).unwrap()
}

fn approve(envelope: &mut Envelope, members: &[u8]) {
    for n in members {
        envelope.approve(&format!("m{n}"), Instant(END + HOUR), &key(*n));
    }
}

fn now() -> Question<'static> {
    Question { now: NOW, ..Question::default() }
}

#[test]
fn the_digest_is_that_of_the_published_form() {
    let old = envelope(Class::BConsensusCompatible, VERSION_OLD);
    // python3 -c 'import hashlib,json; d={...}; print(hashlib.sha3_256(b"QBIND-ENVELOPE-v1:" +
    //   json.dumps(d, sort_keys=True, separators=(",",":")).encode()).hexdigest())'
    assert_eq!(
        hex::encode(old.digest()),
        "29540c7e476599c8a9c0c3f5f644953cf9b4cd83d45904fd951285b5d8165bf6"
    );
    let mut new = envelope(Class::CHardFork, VERSION);
    new.evidence =
        vec![Evidence { kind: MERKLE_KIND.into(), sha3_256: "ab".repeat(32), uri: "u".into() }];
    new.emergency = true;
    new.notes = "n".into();
    assert_eq!(
        hex::encode(new.digest()),
        "08d055a0b7405e20310dab6359aee284258335198e1d44f2396e46ea3e52a77c"
    );
}

#[test]
fn five_of_seven_or_four_in_an_emergency() {
    for version in [VERSION_OLD, VERSION] {
        let mut upgrade = envelope(Class::BConsensusCompatible, version);
        approve(&mut upgrade, &[1, 2, 3, 4]);
        let four = judge(&upgrade, &keyset(), &now());
        assert_eq!(four.lacking, ["4 of 5 approvals"], "{version}");
        approve(&mut upgrade, &[5]);
        let five = judge(&upgrade, &keyset(), &now());
        assert!(five.valid && five.valid_count == 5, "{version}: {:?}", five.problems);
        let read = Envelope::parse(upgrade.to_json().as_bytes()).unwrap();
        assert_eq!(read, upgrade);
    }
    let mut harmless = envelope(Class::ANonConsensus, VERSION);
    approve(&mut harmless, &[1, 2, 3, 4, 5]);
    let judged = judge(&harmless, &keyset(), &now());
    assert!(!judged.valid && judged.problems[0].contains("class A"), "{judged:?}");
    let mut urgent = envelope(Class::BConsensusCompatible, VERSION);
    urgent.emergency = true;
    approve(&mut urgent, &[1, 2, 3, 4]);
    assert!(judge(&urgent, &keyset(), &now()).valid);
    // What four approved as an emergency is nothing when it is called none.
    urgent.emergency = false;
    let judged = judge(&urgent, &keyset(), &now());
    assert_eq!(judged.valid_count, 0, "{:?}", judged.signatures);
}

#[test]
fn one_member_and_one_key_count_once() {
    let mut upgrade = envelope(Class::BConsensusCompatible, VERSION_OLD);
    approve(&mut upgrade, &[1]);
    let one = upgrade.council_approvals[0].clone();
    upgrade.council_approvals = vec![one.clone(); 5];
    let judged = judge(&upgrade, &keyset(), &now());
    assert_eq!(judged.valid_count, 1);
    assert_eq!(judged.signatures[1].error.as_deref(), Some("counted already"));
    // Under another's name it is not that member's key.
    upgrade.council_approvals[1].member_id = "m2".to_owned();
    let judged = judge(&upgrade, &keyset(), &now());
    assert_eq!(judged.signatures[1].error.as_deref(), Some("not the member's key"));
    let mut twice = council();
    twice["keys"][1]["public_key"] = twice["keys"][0]["public_key"].clone();
    assert!(Keyset::parse(twice.to_string().as_bytes()).unwrap_err().contains("appears twice"));
    let mut same = council();
    same["keys"][1]["member_id"] = json!("m1");
    assert!(Keyset::parse(same.to_string().as_bytes()).unwrap_err().contains("appears twice"));
}

#[test]
fn approvals_are_for_these_words_by_these_keys_in_their_term() {
    let mut upgrade = envelope(Class::BConsensusCompatible, VERSION);
    approve(&mut upgrade, &[1, 2, 3, 4, 5]);
    for change in [
        |e: &mut Envelope| e.notes = "and more".into(),
        |e: &mut Envelope| e.protocol_version = "2.0.0".into(),
        |e: &mut Envelope| e.envelope_id = "qip-8".into(),
        |e: &mut Envelope| e.binary_hashes = BTreeMap::from([("a-b".into(), "00".repeat(32))]),
        |e: &mut Envelope| e.activation_height = Some(5),
        |e: &mut Envelope| {
            e.council_approvals.iter_mut().for_each(|a| a.timestamp = "2026-02-11T00:00:00Z".into())
        },
    ] {
        let mut changed = upgrade.clone();
        change(&mut changed);
        assert_eq!(judge(&changed, &keyset(), &now()).valid_count, 0);
    }
    let dated = |field: &str, at: &str| {
        let mut council = council();
        council["keys"][0][field] = json!(at);
        Keyset::parse(council.to_string().as_bytes()).unwrap()
    };
    for keyset in [
        dated("valid_from", "2026-02-20T00:00:00Z"),
        dated("valid_until", "2026-02-01T00:00:00Z"),
        dated("revoked_at", "2026-03-01T00:00:00Z"),
    ] {
        assert_eq!(judge(&upgrade, &keyset, &now()).valid_count, 4);
    }
    let early = Question { now: END - 24 * HOUR, ..Question::default() };
    assert_eq!(judge(&upgrade, &keyset(), &early).valid_count, 0, "from the future");
    let mut narrow = upgrade.clone();
    narrow.council_approvals.clear();
    approve(&mut narrow, &[1, 4, 7, 2, 5]);
    let judged = judge(&narrow, &keyset(), &now());
    assert_eq!(judged.lacking, ["2 of 3 organisations"]);
    let mut elsewhere = council();
    elsewhere["network_environment"] = json!("testnet");
    let elsewhere = Keyset::parse(elsewhere.to_string().as_bytes()).unwrap();
    assert!(judge(&upgrade, &elsewhere, &now()).problems[0].contains("is for mainnet"));
}

#[test]
fn the_binary_is_the_approved_one_for_its_platform() {
    let mut upgrade = envelope(Class::BConsensusCompatible, VERSION);
    approve(&mut upgrade, &[1, 2, 3, 4, 5]);
    for (platform, content, ok) in [
        ("linux-x86_64", &b"the binary"[..], true),
        ("linux-x86_64", b"another", false),
        ("linux-aarch64", b"the binary", false),
    ] {
        let found = digest(content);
        let question = Question { binary: Some((platform, &found)), ..now() };
        let judged = judge(&upgrade, &keyset(), &question);
        assert_eq!((judged.valid, judged.binary_hash_ok), (ok, Some(ok)), "{platform}");
    }
}

fn policy() -> Policy {
    let mut text = "schema: qbind.policy/v1\nname: c\nthreshold: 2\nmembers:\n".to_owned();
    for n in 1..=3u8 {
        let public = hex::encode(key(n).public_key().as_bytes());
        text += &format!(
            "  - {{name: k{n}, operator: p{n}, organisation: o{n}, roles: [council], \
             public_key: \"{public}\"}}\n"
        );
    }
    Policy::parse(&text).unwrap()
}

fn backing(bundle: &Bundle, now: u64) -> Backing {
    let policy = policy();
    let verified = bundle.verified(&policy, now);
    let standing = stand(&policy, &verified, now);
    Backing { name: "run".to_owned(), bundle: verified, standing, recomputed: true }
}

#[test]
fn a_hard_fork_needs_an_approved_fresh_rehearsal_of_its_binaries() {
    let good = bundle(GateType::ClassCUpgrade, "PASS", "PASS");
    good.approve(&[1, 2]);
    let back = backing(&good, NOW);
    let mut fork = envelope(Class::CHardFork, VERSION);
    let root = back.bundle.merkle_root.unwrap().to_string();
    let named = Evidence { kind: MERKLE_KIND.into(), sha3_256: root, uri: String::new() };
    fork.evidence = vec![named];
    let judged = |fork: &Envelope, backing: &[Backing], now| {
        let mut fork = fork.clone();
        approve(&mut fork, &[1, 2, 3, 4, 5]);
        judge(&fork, &keyset(), &Question { now, backing, binary: None }).problems
    };
    let one = std::slice::from_ref;
    assert_eq!(judged(&fork, one(&back), NOW), Vec::<String>::new());
    let problem = |fork: &Envelope, backing: &[Backing], now, expected: &str| {
        let found = judged(fork, backing, now);
        assert!(found.iter().any(|p| p.contains(expected)), "{expected}: {found:?}");
    };
    problem(&fork, &[], NOW, "needs the bundle");
    let mut two = fork.clone();
    two.binary_hashes.insert("linux-aarch64".to_owned(), digest(b"another"));
    problem(&two, one(&back), NOW, "no accepted rehearsal ran the binary for linux-aarch64");
    let mut other = fork.clone();
    other.evidence[0].sha3_256 = "00".repeat(32);
    problem(&other, one(&back), NOW, "names other evidence");
    let stale = backing(&good, NOW + 31 * 24 * HOUR);
    problem(&fork, one(&stale), NOW + 31 * 24 * HOUR, "expired");
    let unread = Backing { recomputed: false, ..back.clone() };
    problem(&fork, one(&unread), NOW, "raw files");
    let launch = bundle(GateType::MainnetLaunch, "PASS", "PASS");
    launch.approve(&[1, 2]);
    problem(&fork, one(&backing(&launch, NOW)), NOW, "not rehearsed for a class C upgrade");
    let failed = bundle(GateType::ClassCUpgrade, "FAIL", "PASS");
    failed.approve(&[1, 2]);
    problem(&fork, one(&backing(&failed, NOW)), NOW, "verdict of the run is FAIL");
    let lonely = bundle(GateType::ClassCUpgrade, "PASS", "PASS");
    lonely.approve(&[1]);
    problem(&fork, one(&backing(&lonely, NOW)), NOW, "1 of 2 approvals");
    let mut old = envelope(Class::CHardFork, VERSION_OLD);
    old.binary_hashes = fork.binary_hashes.clone();
    problem(&old, one(&back), NOW, "version 1.0 names no evidence");
}

#[test]
fn what_is_no_envelope_is_refused() {
    let good = envelope(Class::CHardFork, VERSION);
    let text = good.to_json();
    for (from, to, expected) in [
        ("\"1.1\"", "\"2.0\"", "envelope_version"),
        ("1000000", "0", "activation_height"),
        ("\"mainnet\"", "\"moonnet\"", "network_environment"),
        ("c_hard_fork", "d_free_lunch", "d_free_lunch"),
        ("\"qip-7\"", "\" \"", "envelope_id is empty"),
        ("\"envelope_id\"", "\"surprise\": 1, \"envelope_id\"", "surprise"),
        ("\"linux-x86_64\": \"", "\"linux-x86_64\": \"0x", "64 lowercase hexadecimal digits"),
        ("\"linux-x86_64\": \"", "\"linux-x86_64\": \"00\", \"linux-x86_64\": \"", "twice"),
        ("\"linux-x86_64\": \"", "\"2 of 2 approvals\": \"", "no platform"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = Envelope::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let mut old = envelope(Class::BConsensusCompatible, VERSION_OLD);
    old.emergency = true;
    assert!(old.check().unwrap_err().contains("use 1.1"));
}

#[test]
fn a_release_manifest_gives_an_envelope_its_hashes() {
    let hash = digest(b"the binary");
    let text = json!({
        "chain_id": "qbind-mainnet-v0", "protocol_version": "1.1.0",
        "git": {"commit": "a".repeat(40), "tag": "v1.1.0", "tree_state": "clean"},
        "genesis": {"path_hint": "genesis.json", "sha3_256": format!("0x{hash}"),
            "chain_id": "qbind-mainnet-v0"},
        "binaries": [
            {"name": "qbind-node", "target": "x86_64-unknown-linux-gnu",
             "sha3_256": format!("0x{hash}")},
            {"name": "qbindctl", "target": "x86_64-unknown-linux-gnu",
             "sha3_256": format!("0x{}", "11".repeat(32))},
        ],
        "build": {"rust_toolchain": "1.95.0", "cargo_profile": "release"},
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("release.json");
    let read = |value: &serde_json::Value| {
        fs::write(&path, value.to_string()).unwrap();
        ReleaseManifest::load(&path)
    };
    let manifest = read(&text).unwrap();
    let expected = BTreeMap::from([("linux-x86_64".to_owned(), hash)]);
    assert_eq!(manifest.hashes_of("qbind-node"), expected);
    fs::write(&path, manifest.to_json()).unwrap();
    assert_eq!(ReleaseManifest::load(&path).unwrap(), manifest);
    assert_eq!(platform_of("aarch64-unknown-linux-gnu").as_deref(), Some("linux-aarch64"));
    for (pointer, bad) in [
        ("/git/commit", json!("HEAD")),
        ("/git/tree_state", json!("tidy")),
        ("/genesis/sha3_256", json!("00")),
        ("/binaries/0/target", json!("linux")),
        ("/binaries/1/name", json!("qbind-node")),
    ] {
        let mut wrong = text.clone();
        *wrong.pointer_mut(pointer).unwrap() = bad;
        assert!(read(&wrong).is_err(), "{pointer}");
    }
}
