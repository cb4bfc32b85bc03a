use super::*;
use crate::{
    Journal,
    digest::DigestPair,
    facts::{Form, GateType, Subject},
};
use serde_json::json;

pub(crate) fn facts() -> Facts {
    let subject = |name: &str, content: &[u8]| Subject {
        name: name.to_owned(),
        digest: DigestPair::of(content),
    };
    Facts {
        schema: Facts::SCHEMA.to_owned(),
        run_id: "7f3a".to_owned(),
        gate_type: GateType::MainnetLaunch,
        target: "lab".to_owned(),
        form: Form::Quick,
        regions: vec!["eu-west".to_owned(), "us-east".to_owned(), "ap-tokyo".to_owned()],
        started_unix_ms: 1_770_681_600_000,
        finished_unix_ms: 1_770_681_960_500,
        valid_days: 30,
        subjects: vec![subject("qbind-node", b"binary"), subject("genesis.json", b"genesis")],
        producer: "qbindctl 0.1.0".to_owned(),
    }
}

/// A small evidence directory with everything a bundle must have, always the same bytes.
pub(crate) fn evidence() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("plan.yaml", "schema: qbind.plan/v1\nname: example\n");
    let gates = json!({"schema": "qbind.gates/v1", "verdict": "PASS", "gates": [
        {"id": "G1", "severity": "hard", "verdict": "PASS", "title": "commit divergence"},
        {"id": "G9", "severity": "soft", "verdict": "FAIL", "title": "view changes"},
    ]});
    write("gates.json", &gates.to_string());
    write("steps/t222/result.json", "{\"id\":\"T222\",\"verdict\":\"PASS\"}\n");
    write("scrapes/eu-west-v1/0001.txt", "qbind_consensus_view_lag 0\n");
    write("measure/table.json", &"[0,0,0,0]".repeat(100));
    write("genesis.json", "genesis");
    let journal = Journal::create(&dir.path().join("journal.jsonl")).unwrap();
    let plan = Digest::of(&[b"schema: qbind.plan/v1\nname: example\n"]);
    journal.append_at(1, "plan.fixed", json!({"plan_digest": plan.to_string()})).unwrap();
    journal.append_at(2, "stage.started", json!({"stage": "measure"})).unwrap();
    dir
}

pub(crate) fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// A sealed bundle of [`evidence`], signed by key 1.
pub(crate) fn bundle() -> Vec<u8> {
    let dir = evidence();
    let out = dir.path().join("a.qbundle");
    let options = SealOptions { facts: Some(&facts()), signers: &[key(1)] };
    seal(dir.path(), &out, &options).unwrap();
    fs::read(out).unwrap()
}

fn refused(change: impl Fn(&Path)) -> String {
    let dir = evidence();
    change(dir.path());
    let out = dir.path().join("a.qbundle");
    let options = SealOptions { facts: Some(&facts()), signers: &[] };
    let error = seal(dir.path(), &out, &options).unwrap_err();
    assert!(!out.exists(), "nothing half-made");
    let leftovers = children(dir.path()).unwrap();
    assert!(!leftovers.iter().any(|(name, _)| name.starts_with(".tmp")), "{leftovers:?}");
    error.to_string()
}

#[test]
fn the_same_evidence_gives_the_same_bytes() {
    assert_eq!(bundle(), bundle());
    // Sealing again over the manifest and envelopes of the first time changes nothing either.
    let dir = evidence();
    let options = SealOptions { facts: Some(&facts()), signers: &[key(1)] };
    let first = seal(dir.path(), &dir.path().join("a.qbundle"), &options).unwrap();
    let second = seal(dir.path(), &dir.path().join("b.qbundle"), &options).unwrap();
    assert_eq!(first.merkle_root, second.merkle_root);
    assert_eq!(fs::read(first.path).unwrap(), fs::read(second.path).unwrap());
    assert_eq!(second.left_out, ["a.qbundle"]);
}

#[test]
fn ordinary_tools_open_it() {
    let bytes = bundle();
    let tar = zstd::decode_all(&bytes[..]).unwrap();
    let mut archive = tar::Archive::new(&tar[..]);
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().to_str().unwrap().to_owned())
        .collect();
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(names, sorted);
    assert_eq!(names.len(), 11);
}

#[test]
fn secrets_links_bad_names_and_missing_files_are_refused() {
    let secret = |name: &'static str| {
        refused(move |dir| {
            fs::create_dir_all(dir.join("config")).unwrap();
            fs::write(dir.join("config").join(name), "x").unwrap();
        })
    };
    assert!(secret("consensus.key").contains("looks like a secret"));
    assert!(secret("passphrase").contains("looks like a secret"));
    assert!(secret("Upper.json").contains("has a character outside"));
    let link = refused(|dir| {
        std::os::unix::fs::symlink("/etc/passwd", dir.join("steps/t222/log.txt")).unwrap();
    });
    assert!(link.contains("not a regular file"), "{link}");
    let missing = refused(|dir| fs::remove_file(dir.join("plan.yaml")).unwrap());
    assert!(missing.contains("plan.yaml is missing"), "{missing}");
    let gates = refused(|dir| fs::write(dir.join("gates.json"), "{").unwrap());
    assert!(gates.contains("gates.json is not understood"), "{gates}");
}

#[test]
fn an_existing_bundle_is_never_overwritten() {
    let dir = evidence();
    let out = dir.path().join("a.qbundle");
    fs::write(&out, "precious").unwrap();
    let options = SealOptions { facts: Some(&facts()), signers: &[] };
    assert!(matches!(seal(dir.path(), &out, &options), Err(SealError::Exists { .. })));
    assert_eq!(fs::read(out).unwrap(), b"precious");
}

/// The vector in `docs/` and this crate agree, in both directions. `QBIND_WRITE_VECTOR=1` renews it.
#[test]
fn the_published_test_vector_holds() {
    use crate::{
        Envelope, Manifest, VerifyOptions, dsse, dsse::pae, layout, verify, verify_journal,
    };
    use base64::{Engine, engine::general_purpose::STANDARD};
    use qbind_crypto::{AwsLc, Portable, Scheme};

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/evidence-vector.json");
    let dir = evidence();
    let out = dir.path().join("a.qbundle");
    let options = SealOptions { facts: Some(&facts()), signers: &[key(1)] };
    seal(dir.path(), &out, &options).unwrap();
    let text = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let manifest = Manifest::parse(text(layout::MANIFEST).as_bytes()).unwrap();
    let attestation = Envelope::parse(text(layout::ATTESTATION).as_bytes()).unwrap();
    let message = pae("text/plain", b"hello");
    let signature = Portable::sign(&[1; 32], &message);
    let made = json!({
        "about": "Test vector of the QBIND evidence format; see evidence.md",
        "key": {
            "seed": hex::encode([1u8; 32]),
            "public_key": hex::encode(key(1).public_key().as_bytes()),
            "keyid": dsse::key_id(&key(1).public_key()),
        },
        "dsse": {
            "payload_type": "text/plain",
            "payload": "hello",
            "pae": hex::encode(&message),
            "signature": hex::encode(signature.as_bytes()),
        },
        "merkle": { "files": manifest.files, "root": manifest.merkle_root },
        "journal": {
            "lines": text(layout::JOURNAL).lines().collect::<Vec<_>>(),
            "head": verify_journal(&dir.path().join(layout::JOURNAL)).unwrap().unwrap().head,
        },
        "statement": String::from_utf8(attestation.payload()).unwrap(),
        "bundle": STANDARD.encode(fs::read(&out).unwrap()),
    });
    if std::env::var_os("QBIND_WRITE_VECTOR").is_some() {
        fs::write(&path, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let published: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for part in ["key", "dsse", "merkle", "journal", "statement"] {
        assert_eq!(made[part], published[part], "{part}");
    }
    assert!(AwsLc::verify(&key(1).public_key(), &message, &signature));
    // Another zstd release may compress differently; what is inside is the same, and valid.
    let bundle = STANDARD.decode(published["bundle"].as_str().unwrap()).unwrap();
    assert_eq!(
        zstd::decode_all(&bundle[..]).unwrap(),
        zstd::decode_all(&fs::read(&out).unwrap()[..]).unwrap()
    );
    let trust = crate::Trust::new(vec![crate::TrustedKey {
        name: "vector".to_owned(),
        operator: "o".to_owned(),
        organisation: "o".to_owned(),
        public_key: key(1).public_key(),
    }]);
    let options = VerifyOptions { trust: Some(&trust), ..VerifyOptions::default() };
    assert!(verify(&bundle[..], &options).valid);
}
