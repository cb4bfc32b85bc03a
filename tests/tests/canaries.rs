//! A core broken on purpose, for each invariant, must be caught by T222.
//!
//! The core has no switch for it. A copy of the workspace is broken line by line; one build of it
//! holds every break behind a name, and the environment chooses one per run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A line of the core and what it becomes.
struct Edit {
    file: &'static str,
    sound: &'static str,
    broken: &'static str,
}

/// One broken rule.
struct Canary {
    name: &'static str,
    /// The checks of which one must be the first to fail: another would mean that it was found by
    /// chance.
    trips: &'static [&'static str],
    edits: &'static [Edit],
}

const MACHINE: &str = "node/core/consensus/src/machine.rs";
const SAFETY: &str = "node/core/consensus/src/safety.rs";
const RECEIVE: &str = "node/core/dag/src/receive.rs";
const VERIFIED: &str = "node/core/crypto/src/verified.rs";

const CANARIES: &[Canary] = &[
    Canary {
        name: "votes-twice",
        trips: &["broken_promises", "commit_divergence"],
        edits: &[
            Edit {
                file: SAFETY,
                sound: "&& self.voted.is_none_or(|(v, _)| v < view)",
                broken: "&& (broken(\"votes-twice\") || self.voted.is_none_or(|(v, _)| v < view))",
            },
            Edit {
                file: MACHINE,
                sound: "            if first.block != proposal.block {\n",
                broken: "            if first.block != proposal.block && broken(\"votes-twice\") {\n\
                         self.keep_block(id, &proposal.block, &proposal.justify, out);\n\
                         self.proposals.insert(view, proposal);\n\
                         self.retry(now, out);\n\
                         return;\n\
                         }\n\
                         if first.block != proposal.block {\n",
            },
        ],
    },
    Canary {
        name: "forgets-its-lock-after-a-restart",
        trips: &["broken_promises", "commit_divergence"],
        edits: &[Edit {
            file: MACHINE,
            sound: "        let entry_tc = safety.entered_by.clone();\n",
            broken: "        if broken(\"forgets-its-lock-after-a-restart\") {\n\
                     safety.high_qc = Qc::start(&config.start);\n\
                     safety.commit_voted = None;\n\
                     }\n\
                     let entry_tc = safety.entered_by.clone();\n",
        }],
    },
    Canary {
        name: "goes-on-past-an-epochs-end",
        trips: &["commit_divergence", "block_mismatch"],
        edits: &[Edit {
            file: "node/core/consensus/src/chain.rs",
            sound: "        let last = blocks.iter().position(Block::ends_epoch)",
            broken: "        let last = blocks.iter().position(|b| \
                     b.ends_epoch() && !broken(\"goes-on-past-an-epochs-end\"))",
        }],
    },
    Canary {
        name: "skips-fsync",
        trips: &["broken_promises"],
        edits: &[Edit {
            file: "node/core/replica/src/world.rs",
            sound: "        world.sync()?;\n        for effect in signatures.drain(..) {",
            broken: "        if !broken(\"skips-fsync\") { world.sync()?; }\n\
                     for effect in signatures.drain(..) {",
        }],
    },
    Canary {
        name: "signs-before-it-records",
        trips: &["broken_promises"],
        edits: &[Edit {
            file: MACHINE,
            sound: "                self.safety.commit_voted = Some((qc.view, qc.block));\n\
                    \x20               self.persist(out);\n",
            broken: "                self.safety.commit_voted = Some((qc.view, qc.block));\n\
                     if !broken(\"signs-before-it-records\") { self.persist(out); }\n",
        }],
    },
    Canary {
        name: "accepts-a-certificate-below-quorum",
        trips: &["commit_divergence"],
        edits: &[Edit {
            file: VERIFIED,
            sound: "if self.set.is_quorum(signers) {",
            broken: "if broken(\"accepts-a-certificate-below-quorum\") \
                     || self.set.is_quorum(signers) {",
        }],
    },
    Canary {
        name: "counts-half-as-a-quorum",
        trips: &["commit_divergence"],
        edits: &[Edit {
            file: "node/core/types/src/validator.rs",
            sound: "        VotingPower(u64::try_from(u128::from(self.total.0) * 2 / 3 + 1)",
            broken: "        if broken(\"counts-half-as-a-quorum\") {\n\
                     return VotingPower(self.total.0 / 2);\n\
                     }\n\
                     VotingPower(u64::try_from(u128::from(self.total.0) * 2 / 3 + 1)",
        }],
    },
    Canary {
        name: "counts-a-signer-twice",
        trips: &["commit_divergence"],
        edits: &[
            Edit {
                file: VERIFIED,
                sound: "if previous.is_some_and(|p| p >= index) {",
                broken: "if !broken(\"counts-a-signer-twice\") \
                         && previous.is_some_and(|p| p >= index) {",
            },
            Edit {
                file: "node/core/types/src/validator.rs",
                sound: "        let distinct: alloc::collections::BTreeSet<_> = signers.collect();\n",
                broken: "        if broken(\"counts-a-signer-twice\") {\n\
                         return VotingPower(signers.map(|i| self.power(i).0).sum());\n\
                         }\n\
                         let distinct: alloc::collections::BTreeSet<_> = signers.collect();\n",
            },
        ],
    },
    Canary {
        name: "accepts-another-networks-domain-tag",
        trips: &["commit_divergence"],
        edits: &[Edit {
            file: "node/core/crypto/src/preimage.rs",
            sound: "    format!(\"QBIND:{}:{kind}:v1\", network.tag()).into_bytes()\n",
            broken: "    let tag = if broken(\"accepts-another-networks-domain-tag\") { \"ANY\" } \
                     else { network.tag() };\n\
                     format!(\"QBIND:{tag}:{kind}:v1\").into_bytes()\n",
        }],
    },
    Canary {
        name: "commits-over-a-view-gap",
        trips: &["commit_divergence", "block_mismatch"],
        edits: &[Edit {
            file: MACHINE,
            sound: "        if qc.view > self.safety.high_qc.view {\n",
            broken: "        if broken(\"commits-over-a-view-gap\")\n\
                     && let Some(parent) = self.chain.get(&qc.block).map(|b| b.parent)\n\
                     && let Some((_, view)) = self.chain.position(&parent)\n\
                     {\n\
                     let (epoch, votes) = (qc.epoch, qc.votes.clone());\n\
                     let commit = CommitCertificate { epoch, view, block: parent, votes };\n\
                     self.on_commit_certificate(now, &commit, out);\n\
                     }\n\
                     if qc.view > self.safety.high_qc.view {\n",
        }],
    },
    Canary {
        name: "commit-votes-in-a-view-it-gave-up",
        trips: &["broken_promises", "commit_divergence"],
        edits: &[Edit {
            file: SAFETY,
            sound: "        self.commit_voted.is_none_or(|(v, _)| v < view) && \
                    self.timed_out.is_none_or(|v| v < view)",
            broken: "        self.commit_voted.is_none_or(|(v, _)| v < view) && \
                     (broken(\"commit-votes-in-a-view-it-gave-up\") || \
                     self.timed_out.is_none_or(|v| v < view))",
        }],
    },
    Canary {
        name: "takes-an-uncertified-batch",
        trips: &["first_commit_after_calm", "block_mismatch"],
        edits: &[Edit {
            file: "node/core/replica/src/propose.rs",
            sound: "        if !verdict.permits_vote(mode) {\n",
            broken: "        if !broken(\"takes-an-uncertified-batch\") && \
                     !verdict.permits_vote(mode) {\n",
        }],
    },
    Canary {
        name: "acks-two-batches-of-one-round",
        trips: &["broken_promises"],
        edits: &[
            Edit {
                file: RECEIVE,
                sound: "        if known.is_some_and(|known| known != id) {\n",
                broken: "        if !broken(\"acks-two-batches-of-one-round\") \
                         && known.is_some_and(|known| known != id) {\n",
            },
            Edit {
                file: RECEIVE,
                sound: "            && state.ack.decision().is_none_or(|decided| decided == id)\n",
                broken: "            && (broken(\"acks-two-batches-of-one-round\") \
                         || state.ack.decision().is_none_or(|decided| decided == id))\n",
            },
        ],
    },
];

/// What every broken file gets, and where the name comes from.
const SWITCH: &str = "
extern crate std;

/// Whether the environment asks for this break.
pub fn broken(name: &str) -> bool {
    static NAME: std::sync::OnceLock<Option<std::string::String>> = std::sync::OnceLock::new();
    NAME.get_or_init(|| std::env::var(\"BROKEN\").ok()).as_deref() == Some(name)
}
";

/// Seeds one after the other, every case of T222 with each, until one fails.
const HUNT: &str = r#"
use qbind_steps::{Options, Selection, t222};

fn main() {
    let seeds: u64 = std::env::args().nth(1).and_then(|n| n.parse().ok()).expect("seeds");
    for seed in 0..seeds {
        let selection =
            Selection { validators: Some(4), seeds: Some(1), ..Selection::default() };
        let result = t222::run(&Options { seed, selection, ..Options::default() });
        if let Some((_, check)) = result.failures().next() {
            let failing = result.failures().count();
            println!("{} seeds, {failing} cases: {}", seed + 1, check.got);
            std::process::exit(1);
        }
    }
    println!("{seeds} seeds, nothing found");
}
"#;

/// Most seeds a canary may need; as many must pass when nothing is broken.
const SEEDS: u64 = 10;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory for the copy");
    for entry in fs::read_dir(from).expect("a readable tree") {
        let entry = entry.expect("a readable entry");
        let name = entry.file_name();
        let is_source = !["target", ".git", "out"].iter().any(|skip| name == *skip);
        if is_source && entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to.join(name));
        } else if is_source {
            fs::copy(entry.path(), to.join(name)).expect("a copied file");
        }
    }
}

fn break_everything(copy: &Path) {
    let read = |file: &str| fs::read_to_string(copy.join(file)).expect("a file of the core");
    for edit in CANARIES.iter().flat_map(|c| c.edits) {
        let text = read(edit.file);
        let found = text.matches(edit.sound).count();
        assert_eq!(found, 1, "{}: this text must be there once:\n{}", edit.file, edit.sound);
        fs::write(copy.join(edit.file), text.replace(edit.sound, edit.broken)).expect("written");
    }
    let mut files: Vec<&str> = CANARIES.iter().flat_map(|c| c.edits).map(|e| e.file).collect();
    files.sort_unstable();
    files.dedup();
    for file in files {
        let import = match file {
            _ if file.starts_with("node/core/types") => "\nuse crate::broken;\n",
            _ => "\nuse qbind_types::broken;\n",
        };
        fs::write(copy.join(file), read(file) + import).expect("written");
    }
    // Another version, or cargo would take the broken libraries for the sound ones.
    let manifest = read("Cargo.toml");
    let version = "version = \"0.1.0\"\n";
    assert_eq!(manifest.matches(version).count(), 1, "the workspace's version is there once");
    let manifest = manifest.replace(version, "version = \"0.1.0-broken\"\n");
    fs::write(copy.join("Cargo.toml"), manifest).expect("written");
    let types = "node/core/types/src/lib.rs";
    fs::write(copy.join(types), read(types) + SWITCH).expect("written");
    let examples = copy.join("rehearsal/steps/examples");
    fs::create_dir_all(&examples).expect("a directory");
    fs::write(examples.join("hunt.rs"), HUNT).expect("written");
}

/// Builds the hunt of the copy beside our own build, so that dependencies are shared.
fn build(copy: &Path) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--workspace", "--example", "hunt", "--target-dir"])
        .arg(target)
        .current_dir(copy)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("debug/examples/hunt")
}

/// The seed in what the hunt prints: `N seeds, …`, of which the last failed.
fn seed(text: &str) -> u64 {
    let seeds = text.split(' ').next().and_then(|n| n.parse::<u64>().ok());
    seeds.map_or(0, |n| n.saturating_sub(1))
}

fn hunt(binary: &Path, broken: &str) -> Output {
    let seeds = SEEDS.to_string();
    Command::new(binary).arg(seeds).env("BROKEN", broken).output().expect("the hunt runs")
}

#[test]
fn every_broken_core_is_caught_and_the_sound_one_is_not() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let workspace = dir.path().join("broken");
    copy(&root(), &workspace);
    break_everything(&workspace);
    let binary = build(&workspace);
    let sound = hunt(&binary, "nothing");
    let text = String::from_utf8_lossy(&sound.stdout);
    assert!(sound.status.success(), "the sound core fails: {text}");
    println!("{:40} {}", "nothing broken", text.trim());
    let mut missed = Vec::new();
    for canary in CANARIES {
        let output = hunt(&binary, canary.name);
        let text = String::from_utf8_lossy(&output.stdout);
        println!("{:40} {}", canary.name, text.trim());
        let trips =
            |check: &&str| text.contains(&format!("; seed {}: {check}: expected", seed(&text)));
        if output.status.code() != Some(1) || !canary.trips.iter().any(trips) {
            missed.push(canary.name);
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
