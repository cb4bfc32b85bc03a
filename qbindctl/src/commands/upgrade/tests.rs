//! Covers: the command lines of a council, from an empty folder to a decision.

use super::*;
use clap::Parser;
use qbind_evidence::create_key;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: EnvelopeCommand,
}

struct Room {
    dir: tempfile::TempDir,
}

impl Room {
    /// Seven members with a key each, and a binary.
    fn new() -> Self {
        let room = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(room.path("pass"), "correct horse\n").unwrap();
        fs::write(room.path("node"), "a binary").unwrap();
        let keys: Vec<_> = (1..=7)
            .map(|n| {
                let key = create_key(Path::new(&room.path(&format!("k{n}"))), "correct horse");
                json!({"member_id": format!("m{n}"), "organisation": format!("o{n}"),
                    "public_key": key.unwrap().public_key})
            })
            .collect();
        let keyset = json!({"keyset_version": "1.0", "network_environment": "mainnet",
            "threshold": 5, "emergency_threshold": 4, "organisations": 3, "keys": keys});
        fs::write(room.path("council.json"), keyset.to_string()).unwrap();
        room
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, args: &[&str]) -> Result<(String, u8), String> {
        let cli = Cli::try_parse_from(["envelope"].iter().chain(args));
        match cli.map_err(|e| e.to_string())?.command {
            EnvelopeCommand::New(args) => new(&args).map(|text| (text, 0)),
            EnvelopeCommand::Sign(args) => sign(&args),
            EnvelopeCommand::Verify(args) => check(&args),
            EnvelopeCommand::Inspect(args) => inspect(&args).map(|text| (text, 0)),
            EnvelopeCommand::Digest(args) => {
                load(&args.envelope).map(|e| (hex::encode(e.digest()), 0))
            }
        }
    }

    fn new_envelope(&self, out: &str, more: &[&str]) -> Result<(String, u8), String> {
        let (out, node) = (self.path(out), format!("linux-x86_64={}", self.path("node")));
        let fixed = ["new", "--out", &out, "--id", "qip-7", "--protocol-version", "1.1.0"];
        self.run(&[&fixed[..], &["--binary", &node], more].concat())
    }

    fn sign(&self, envelope: &str, member: &str, key: &str) -> Result<(String, u8), String> {
        let (envelope, council, pass) =
            (self.path(envelope), self.path("council.json"), self.path("pass"));
        let (key, member) = (self.path(key), ["--member", member]);
        let keys = ["-k", &council, "--key", &key, "--passphrase-file", &pass];
        self.run(&[&["sign", &envelope][..], &keys, &member].concat())
    }

    fn verify(&self, envelope: &str, more: &[&str]) -> (String, u8) {
        let (envelope, council) = (self.path(envelope), self.path("council.json"));
        self.run(&[&["verify", &envelope, "-k", &council][..], more].concat()).unwrap()
    }
}

#[test]
fn a_council_signs_and_an_operator_verifies() {
    let room = Room::new();
    room.new_envelope("e.json", &["--class", "b-consensus-compatible"]).unwrap();
    assert!(room.new_envelope("e.json", &["--class", "b-consensus-compatible"]).is_err());
    for n in 1..=4 {
        room.sign("e.json", &format!("m{n}"), &format!("k{n}")).unwrap();
    }
    let (text, code) = room.verify("e.json", &[]);
    assert!(code == 1 && text.contains("4 of 5 approvals"), "{text}");
    // Again, with another's key, or as a stranger: nothing changes.
    let before = fs::read(room.path("e.json")).unwrap();
    assert!(room.sign("e.json", "m5", "k6").unwrap_err().contains("not that of m5"));
    assert!(room.sign("e.json", "m9", "k6").unwrap_err().contains("the council has no"));
    assert_eq!(fs::read(room.path("e.json")).unwrap(), before);
    room.sign("e.json", "m4", "k4").unwrap();
    assert_eq!(room.verify("e.json", &[]).1, 1, "one member counts once");
    room.sign("e.json", "m5", "k5").unwrap();
    let node = room.path("node");
    let (text, code) = room.verify("e.json", &["-b", &node]);
    assert!(code == 0 && text.starts_with("ACCEPTED"), "{text}");
    assert!(text.contains("the approved one"), "{text}");
    fs::write(&node, "another binary").unwrap();
    assert_eq!(room.verify("e.json", &["-b", &node]).1, 1);
    assert_eq!(room.verify("e.json", &["-b", &node, "-p", "linux-riscv64"]).1, 1);
    let (json, code) = room.verify("e.json", &["--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["valid"], &json["valid_count"]), (0, &json!(true), &json!(5)));
    let digest = room.run(&["digest", &room.path("e.json")]).unwrap().0;
    assert_eq!(json["digest_hex"], digest.trim());
    // One changed word, and nobody has approved it.
    let text = fs::read_to_string(room.path("e.json")).unwrap();
    fs::write(room.path("e.json"), text.replace("qip-7", "qip-8")).unwrap();
    assert!(room.verify("e.json", &[]).0.contains("0 of 5 approvals"));
}

#[test]
fn a_hard_fork_without_evidence_is_neither_written_signed_nor_accepted() {
    let room = Room::new();
    let fork = ["--class", "c-hard-fork", "--activation-height", "9"];
    assert!(room.new_envelope("c.json", &fork).unwrap_err().contains("dress rehearsal"));
    room.new_envelope("c.json", &["--class", "b-consensus-compatible"]).unwrap();
    let text = fs::read_to_string(room.path("c.json")).unwrap();
    let fork = text.replace("b_consensus_compatible", "c_hard_fork");
    let fork = fork.replace("\"envelope_id\"", "\"activation_height\": 9, \"envelope_id\"");
    fs::write(room.path("c.json"), &fork).unwrap();
    assert_eq!(room.sign("c.json", "m1", "k1").unwrap().1, 1);
    assert_eq!(fs::read_to_string(room.path("c.json")).unwrap(), fork, "not signed");
    let (text, code) = room.verify("c.json", &[]);
    assert!(code == 1 && text.contains("needs the bundle"), "{text}");
    // A file that is no bundle is no evidence.
    let class = ["--class", "c-hard-fork", "--activation-height", "9"];
    let (node, out) = (room.path("node"), "d.json");
    let wrong = room.new_envelope(out, &[&class[..], &["--evidence", &node]].concat());
    assert!(wrong.unwrap_err().contains("is not sound"));
    assert!(!Path::new(&room.path(out)).exists());
}
