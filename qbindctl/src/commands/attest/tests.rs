use super::*;
use clap::Parser;
use qbind_evidence::{Form, GateType, Journal, Subject};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: AttestCommand,
}

/// Runs a command line; gives exit code and answer, or the failure's message.
fn attest(args: &[&str]) -> Result<(u8, String), String> {
    let cli = Cli::try_parse_from(["attest"].iter().chain(args)).map_err(|e| e.to_string())?;
    let mut answer = String::new();
    let code = execute(cli.command, &mut answer).map_err(|failure| failure.message)?;
    Ok((code, answer))
}

struct Room {
    dir: tempfile::TempDir,
}

impl Room {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let evidence = dir.path().join("out");
        fs::create_dir(&evidence).unwrap();
        fs::write(evidence.join("plan.yaml"), "schema: qbind.plan/v1\n").unwrap();
        fs::write(
            evidence.join("gates.json"),
            r#"{"schema":"qbind.gates/v1","verdict":"PASS","gates":[{"id":"G1","severity":"hard","verdict":"PASS"}]}"#,
        )
        .unwrap();
        Journal::create(&evidence.join("journal.jsonl")).unwrap().append("x", json!({})).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let subject = |name: &str| Subject { name: name.to_owned(), digest: DigestPair::of(b"x") };
        let facts = Facts {
            schema: Facts::SCHEMA.to_owned(),
            run_id: "7f3a".to_owned(),
            gate_type: GateType::MainnetLaunch,
            target: "lab".to_owned(),
            form: Form::Quick,
            regions: vec!["eu".to_owned()],
            started_unix_ms: now - 1000,
            finished_unix_ms: now,
            valid_days: 1,
            subjects: vec![subject("qbind-node")],
            producer: "test".to_owned(),
        };
        facts.store(&evidence).unwrap();
        fs::write(dir.path().join("pass"), "correct horse\n").unwrap();
        fs::write(dir.path().join("wrong"), "battery staple\n").unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn keygen(&self, name: &str) -> String {
        let (key, pass) = (self.path(name), self.path("pass"));
        let args = ["keygen", "--out", &key, "--name", name, "--passphrase-file", &pass];
        let (code, trust) = attest(&args).unwrap();
        assert_eq!(code, VALID);
        trust
    }
}

#[test]
fn from_key_to_verdict() {
    let room = Room::new();
    let (trust, bundle, key, pass) =
        (room.path("trust.yaml"), room.path("a.qbundle"), room.path("k"), room.path("pass"));
    fs::write(&trust, room.keygen("k")).unwrap();
    let out = room.path("out");
    attest(&["sign", &out, "--key", &key, "--out", &bundle, "--passphrase-file", &pass]).unwrap();

    let (code, text) = attest(&["verify", &bundle, "--trust", &trust]).unwrap();
    assert_eq!(code, VALID, "{text}");
    assert!(text.starts_with("VALID: "), "{text}");
    assert!(text.contains("verdict     PASS"), "{text}");
    let (code, text) = attest(&["verify", &bundle, "--trust", &trust, "--output", "json"]).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &value["valid"], &value["verdict"]), (VALID, &json!(true), &json!("PASS")));
    assert!(text.starts_with(r#"{"bundle""#) || text.contains("qbindctl.attest-verify/v1"));

    let late = ["verify", &bundle, "--trust", &trust, "--at", "2200-01-01T00:00:00Z"];
    let (code, text) = attest(&late).unwrap();
    assert_eq!(code, NOT_VALID);
    assert!(text.contains("expired at"), "{text}");

    let (code, text) = attest(&["show", &bundle]).unwrap();
    assert_eq!(code, VALID);
    assert!(text.contains("plan.yaml") && text.contains("G1"), "{text}");

    // A stranger's trust file.
    let other = room.path("other.yaml");
    fs::write(&other, room.keygen("k2")).unwrap();
    let (code, text) = attest(&["verify", &bundle, "--trust", &other]).unwrap();
    assert_eq!(code, NOT_VALID);
    assert!(text.contains("no key of the trust file signed it"), "{text}");
    // A second signature makes it good for that one too.
    let key2 = room.path("k2");
    attest(&["sign", &bundle, "--key", &key2, "--passphrase-file", &pass]).unwrap();
    assert_eq!(attest(&["verify", &bundle, "--trust", &other]).unwrap().0, VALID);
    assert_eq!(attest(&["verify", &bundle, "--trust", &trust]).unwrap().0, VALID);

    let mut bytes = fs::read(&bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    let (code, text) = attest(&["verify", &bundle, "--trust", &trust]).unwrap();
    assert_eq!(code, NOT_VALID);
    assert!(text.starts_with("NOT VALID: "), "{text}");
}

#[test]
fn recomputing_matches_what_was_judged_and_names_the_gate_that_was_edited() {
    let room = Room::new();
    let (trust, key, pass, out) =
        (room.path("trust.yaml"), room.path("k"), room.path("pass"), room.path("out"));
    fs::write(&trust, room.keygen("k")).unwrap();
    let judged = qbind_gates::evaluate_dir(Path::new(&out)).unwrap();
    let sealed = |name: &str, gates: &qbind_gates::GatesResult| {
        fs::write(Path::new(&out).join("gates.json"), gates.to_json()).unwrap();
        let bundle = room.path(name);
        attest(&["sign", &out, "--key", &key, "--out", &bundle, "--passphrase-file", &pass])
            .unwrap();
        attest(&["verify", &bundle, "--trust", &trust, "--recompute"]).unwrap()
    };
    let (code, text) = sealed("honest.qbundle", &judged);
    assert!(text.contains("recompute   MATCH"), "{text}");
    assert_eq!(code, VALID);

    let mut edited = judged.clone();
    let gate = edited.gates.iter_mut().find(|gate| gate.id == "G8").unwrap();
    gate.verdict = qbind_gates::Outcome::Pass;
    let (code, text) = sealed("edited.qbundle", &edited);
    assert_eq!(code, NOT_VALID);
    assert!(text.contains("MISMATCH") && text.contains("G8: the bundle says PASS"), "{text}");
    assert!(!text.contains("G7:"), "{text}");
}

#[test]
fn a_wrong_passphrase_signs_nothing() {
    let room = Room::new();
    room.keygen("k");
    let (bundle, key, wrong) = (room.path("a.qbundle"), room.path("k"), room.path("wrong"));
    let out = room.path("out");
    let error =
        attest(&["sign", &out, "--key", &key, "--out", &bundle, "--passphrase-file", &wrong])
            .unwrap_err();
    assert!(error.contains("wrong passphrase"), "{error}");
    assert!(!Path::new(&bundle).exists());
    assert!(!Path::new(&room.path("out/attestation.dsse.json")).exists());
}

#[test]
fn usage_errors_say_what_is_wrong() {
    let room = Room::new();
    let trust = room.path("trust.yaml");
    fs::write(&trust, room.keygen("k")).unwrap();
    let (bundle, out, pass, key) =
        (room.path("none.qbundle"), room.path("out"), room.path("pass"), room.path("k"));
    for (args, expected) in [
        (&["verify", &bundle, "--trust", &trust][..], "cannot read"),
        (&["verify", &out, "--trust", &trust], "is a directory"),
        (&["verify", &bundle, "--trust", &bundle], "cannot read the trust file"),
        (&["verify", &bundle, "--trust", &pass], "trust file"),
        (&["verify", &bundle], "--trust"),
        (&["verify", &bundle, "--trust", &trust, "--at", "noon"], "--at"),
        (&["keygen", "--out", &key, "--passphrase-file", &pass], "exists"),
        (&["keygen", "--out", &bundle, "--passphrase-env", "QBIND_NO_SUCH"], "no passphrase"),
        (&["sign", &out, "--passphrase-file", &pass], "--key"),
    ] {
        let error = attest(args).unwrap_err();
        assert!(error.contains(expected), "{args:?}: {error}");
    }
}
