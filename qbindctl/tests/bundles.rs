//! What `qbindctl` says of bundles of liars and attackers: the right thing, in bounded memory and time, and
//! nothing is written but where it was asked to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use qbind_crypto::SecretKey;
use qbind_gates::{GatesResult, Outcome, evaluate};
use qbind_specimen::{
    Lies, Operator, faults, files, hostile, repacked, sealed, sealed_with, sound,
};
use std::{
    fs,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Address space and processor time of one command.
const MEMORY: u64 = 2 << 30;
const CPU_S: u64 = 60;

fn operator(seed: u8) -> Operator {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let finished_unix_ms = u64::try_from(now.as_millis()).unwrap();
    Operator { key: SecretKey::from_seed(&[seed; 32]), finished_unix_ms }
}

/// A directory with the trust file of operator 1, and an empty one to work in.
struct Room {
    dir: tempfile::TempDir,
    desk: PathBuf,
}

impl Room {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let desk = dir.path().join("desk");
        fs::create_dir(&desk).unwrap();
        fs::write(dir.path().join("trust.yaml"), operator(1).trust().to_yaml()).unwrap();
        Self { dir, desk }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A bundle under this name; the evidence directory is gone again.
    fn sealed(
        &self,
        name: &str,
        by: &Operator,
        lies: &Lies<'_>,
        plant: impl Fn(&mut qbind_gates::Evidence),
    ) -> PathBuf {
        let mut evidence = sound();
        plant(&mut evidence);
        let (dir, bundle) = (self.path("evidence"), self.path(name));
        sealed_with(&evidence, by, lies, &dir, &bundle).unwrap();
        fs::remove_dir_all(dir).unwrap();
        bundle
    }

    fn run(&self, args: &[&str]) -> Output {
        self.run_with_room_in(&self.desk, args)
    }

    fn run_with_room_in(&self, tmpdir: &Path, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qbindctl"));
        command.args(args).current_dir(&self.desk).env("TMPDIR", tmpdir);
        // SAFETY: setrlimit is safe between fork and exec.
        unsafe {
            command.pre_exec(|| {
                let limit = |most| libc::rlimit { rlim_cur: most, rlim_max: most };
                libc::setrlimit(libc::RLIMIT_AS, &limit(MEMORY));
                libc::setrlimit(libc::RLIMIT_CPU, &limit(CPU_S));
                Ok(())
            });
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), None, "{args:?}: {said}");
        assert!(!said.contains("panicked"), "{args:?}: {said}");
        assert_eq!(fs::read_dir(&self.desk).unwrap().count(), 0, "{args:?} left files");
        output
    }

    fn verify(&self, bundle: &Path) -> (i32, String) {
        let (bundle, trust) = (bundle.to_str().unwrap(), self.path("trust.yaml"));
        let args = ["attest", "verify", bundle, "--trust", trust.to_str().unwrap(), "--recompute"];
        let output = self.run(&args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap(), text)
    }
}

fn claimed(room: &Room) -> GatesResult {
    let (dir, bundle) = (room.path("sound"), room.path("sound.qbundle"));
    sealed(&sound(), &operator(1), &dir, &bundle).unwrap()
}

#[test]
fn raw_files_that_do_not_bear_the_verdict_out_are_named_by_gate_whoever_signed() {
    let room = Room::new();
    let passed = claimed(&room);
    let (code, text) = room.verify(&room.path("sound.qbundle"));
    assert!(code == 0 && text.contains("recompute   MATCH"), "{text}");
    // One fault of each group that turns a gate, claimed to have passed.
    let mut groups = Vec::new();
    for fault in faults().iter().filter(|fault| fault.expected.starts_with(fault.group)) {
        if groups.contains(&fault.group) {
            continue;
        }
        groups.push(fault.group);
        // A plan may have gates of its own, which a liar would not forget.
        let mut planted = sound();
        (fault.plant)(&mut planted);
        let mut claimed = evaluate(&planted);
        for gate in &mut claimed.gates {
            match passed.gate(&gate.id) {
                Some(sound) => *gate = sound.clone(),
                None => gate.verdict = Outcome::Pass,
            }
        }
        claimed.verdict = passed.verdict;
        let lies = Lies { gates: Some(&claimed), edit: None };
        let bundle = room.sealed("liar.qbundle", &operator(1), &lies, fault.plant);
        let (code, text) = room.verify(&bundle);
        let gate = fault.expected.split([' ', ',']).next().unwrap();
        assert_eq!(code, 1, "{}: {text}", fault.name);
        let named = format!("{gate}: the bundle says PASS");
        assert!(text.contains("MISMATCH") && text.contains(&named), "{}: {text}", fault.name);
        fs::remove_file(bundle).unwrap();
    }
    assert!(groups.len() >= 9, "{groups:?}");
}

#[test]
fn a_raw_file_edited_with_its_digest_breaks_the_signature_and_a_stranger_cannot_mend_it() {
    let room = Room::new();
    claimed(&room);
    let all = files(&fs::read(room.path("sound.qbundle")).unwrap());
    let mut folders: Vec<&str> = Vec::new();
    for name in all.keys().filter(|name| name.contains('/')) {
        let folder = name.split('/').next().unwrap();
        if folders.contains(&folder) {
            continue;
        }
        folders.push(folder);
        let mut edited = all.clone();
        let content = edited.get_mut(name).unwrap();
        content.push(b'\n');
        let (size, digest) = (content.len(), hex::encode(qbind_crypto::sha3_256(&[content])));
        let manifest = String::from_utf8(edited["manifest.json"].clone()).unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        let files = value["files"].as_array_mut().unwrap();
        let file = files.iter_mut().find(|file| file["path"] == name.as_str()).unwrap();
        (file["size"], file["sha3_256"]) = (size.into(), digest.into());
        let manifest = serde_json::to_string_pretty(&value).unwrap() + "\n";
        edited.insert("manifest.json".to_owned(), manifest.into_bytes());
        let bundle = room.path("edited.qbundle");
        fs::write(&bundle, repacked(&edited)).unwrap();
        let (code, text) = room.verify(&bundle);
        assert!(code == 1 && text.starts_with("NOT VALID"), "{name}: {text}");
    }
    assert!(folders.len() >= 10, "{folders:?}");
    // Sealed anew by somebody nobody trusts.
    let bundle = room.sealed("stranger.qbundle", &operator(2), &Lies::default(), |_| {});
    let (code, text) = room.verify(&bundle);
    assert!(code == 1 && text.contains("no key of the trust file signed it"), "{text}");
}

#[test]
fn hostile_bundles_are_refused_by_every_command_that_reads_one() {
    let room = Room::new();
    claimed(&room);
    let trust = room.path("trust.yaml").to_str().unwrap().to_owned();
    let sound = room.path("sound.qbundle").to_str().unwrap().to_owned();
    for bad in hostile(&fs::read(&sound).unwrap()) {
        let path = room.path("bad.qbundle");
        fs::write(&path, &bad.bytes).unwrap();
        let path = path.to_str().unwrap();
        for args in [
            &["attest", "verify", path, "--trust", &trust, "--recompute"][..],
            &["gates", "evaluate", path],
            &["report", path, "--format", "json"],
            &["compare", &sound, path],
            &["drift", path, "--trust", &trust, "--samples", "none"],
        ] {
            let output = room.run(args);
            assert_ne!(output.status.code(), Some(0), "{}: {args:?}", bad.name);
            let said = [output.stdout, output.stderr].concat();
            let is_plain = said.iter().all(|b| *b == b'\n' || *b >= b' ');
            assert!(is_plain, "{}: {args:?} hands on control characters", bad.name);
        }
    }
}

#[test]
fn without_room_for_its_files_a_bundle_is_not_judged_and_its_faults_are_told_all_the_same() {
    let room = Room::new();
    claimed(&room);
    let (sound, trust) = (room.path("sound.qbundle"), room.path("trust.yaml"));
    let nowhere = room.path("nowhere");
    let verify = |bundle: &Path| {
        let (bundle, trust) = (bundle.to_str().unwrap(), trust.to_str().unwrap());
        let args = ["attest", "verify", bundle, "--trust", trust, "--recompute"];
        let output = room.run_with_room_in(&nowhere, &args);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = verify(&sound);
    assert!(code == Some(2) && said.contains("VALID: "), "{said}");
    assert!(said.contains("UNVERIFIABLE") && said.contains("set TMPDIR to"), "{said}");
    let output = room.run_with_room_in(&nowhere, &["gates", "evaluate", sound.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(64) && said.contains("set TMPDIR to"), "{said}");
    let mut bytes = fs::read(&sound).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&sound, bytes).unwrap();
    let (code, said) = verify(&sound);
    assert!(code == Some(1) && said.contains("altered after it was sealed"), "{said}");
}

#[test]
fn drift_tells_the_same_network_from_another_and_from_the_same_measurement() {
    let room = Room::new();
    claimed(&room);
    let bundle = room.path("sound.qbundle").to_str().unwrap().to_owned();
    let trust = room.path("trust.yaml").to_str().unwrap().to_owned();
    let drift = |later_ms: u64, slower_ns: i64| {
        let mut samples = sound().samples.unwrap();
        samples.started_unix_ms += later_ms;
        for rtt in &mut samples.pairs[0].rtt_ns {
            *rtt += slower_ns;
        }
        let path = room.path("samples.jsonl");
        samples.write_to(fs::File::create(&path).unwrap()).unwrap();
        let path = path.to_str().unwrap();
        let output = room.run(&["drift", &bundle, "--trust", &trust, "--samples", path]);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = drift(60_000, 0);
    assert!(code == Some(0) && said.starts_with("STILL-VALID"), "{said}");
    let (code, said) = drift(60_000, 30_000_000);
    assert!(code == Some(1) && said.starts_with("STALE") && said.contains("RTT p50"), "{said}");
    let (code, said) = drift(0, 0);
    assert!(code == Some(2) && said.contains("not newer"), "{said}");
}

/// Evidence that a trusted operator signed, made to harm who judges it again.
#[test]
fn signed_evidence_cannot_make_judging_unbounded() {
    let room = Room::new();
    let passed = claimed(&room);
    let put = |dir: &Path, path: &str, bytes: Vec<u8>| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let lines = |line: String| line.repeat(200_000).into_bytes();
    let commit = |height: u64| {
        let id = "0x".to_owned() + &"11".repeat(32);
        format!(
            "{{\"kind\":\"commit\",\"height\":{height},\"view\":1,\"block_id\":\"{id}\",\"state_root\":\
             \"{id}\",\"system_root\":\"{id}\",\"committed_unix_ms\":{},\"transactions\":0,\
             \"seen_unix_ms\":{}}}\n",
            u64::MAX,
            u64::MAX
        )
    };
    let huge = u64::MAX;
    let plan = |from: &'static str, to: &'static str| {
        move |dir: &Path| {
            let path = dir.join("plan.yaml");
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(path, text.replace(from, to)).unwrap();
        }
    };
    type Edit<'a> = Box<dyn Fn(&Path) + 'a>;
    let cases: Vec<(&str, Edit<'_>)> = vec![
        (
            "heights at the end of numbers",
            Box::new(|d| put(d, "commits/eu-v1.jsonl", commit(huge).into())),
        ),
        (
            "a block at the last height",
            Box::new(|d| {
                let block = fs::read(d.join("blocks/0000000001.borsh")).unwrap();
                put(d, &format!("blocks/{huge}.borsh"), block);
            }),
        ),
        (
            "lists that claim four billion items",
            Box::new(|d| {
                put(d, "blocks/0000000050.borsh", vec![0xff; 4096]);
                for entry in fs::read_dir(d.join("batches")).unwrap().take(3) {
                    fs::write(entry.unwrap().path(), vec![0xff; 4096]).unwrap();
                }
                put(d, "validators/0000000001.borsh", vec![0xff; 4096]);
            }),
        ),
        ("deep JSON", Box::new(|d| put(d, "steps/t222/result.json", vec![b'['; 1 << 20]))),
        (
            "polls without end",
            Box::new(|d| {
                put(
                    d,
                    "commits/eu-v1.jsonl",
                    lines(format!(
                        "{{\"kind\":\"poll\",\"at_unix_ms\":{huge},\"duration_ms\":1,\"tip\":{huge}}}\n"
                    )),
                );
            }),
        ),
        (
            "a line of metrics without end",
            Box::new(|d| {
                let name = "qbind_consensus_validator_equivocations_total";
                let labels: String = (0..100_000).map(|n| format!("l{n}=\"{n}\",")).collect();
                put(d, "scrapes/us-v1/000003.txt", format!("{name}{{{labels}}} 1\n").into());
            }),
        ),
        (
            "a live window of an age",
            Box::new(move |d| {
                put(d, "faults/live.json", format!("{{\"schema\":\"qbind.live/v1\",\"started_unix_ms\":0,\"ended_unix_ms\":{huge},\"faults\":[]}}").into());
            }),
        ),
        (
            "four billion resamples",
            Box::new(plan("bootstrap_resamples: 60", "bootstrap_resamples: 4294967295")),
        ),
        ("an instant a nanosecond", Box::new(plan("align_ms: 1000", "align_ms: 0"))),
        (
            "a plan that doubles itself",
            Box::new(|d| {
                let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
                for n in 1..30 {
                    let item = format!("*a{}", n - 1);
                    text += &format!("a{n}: &a{n} [{}]\n", [item.as_str(); 10].join(","));
                }
                put(d, "plan.yaml", text.into());
            }),
        ),
        (
            "bins at the end of numbers",
            Box::new(move |d| {
                let path = d.join("links/live-end.json");
                let text = fs::read_to_string(&path).unwrap();
                let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
                for link in value["links"].as_array_mut().unwrap() {
                    link["ordered_delay_bins"] = serde_json::json!([[huge, huge], [1, huge]]);
                    link["packets_in"] = huge.into();
                    link["lost_random"] = (huge / 2).into();
                }
                fs::write(path, value.to_string()).unwrap();
            }),
        ),
        (
            "commits at the end of numbers",
            Box::new(move |d| {
                let path = d.join("load/transactions.jsonl");
                let text = fs::read_to_string(&path).unwrap();
                let lines = text.lines().enumerate().map(|(n, line)| {
                    let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
                    if n % 90 == 0 {
                        value["committed_us"] = huge.into();
                    }
                    value.to_string() + "\n"
                });
                let text: String = lines.collect();
                fs::write(path, text).unwrap();
            }),
        ),
        (
            "views that jump up and down",
            Box::new(move |d| {
                for n in 0..20 {
                    let path = d.join(format!("scrapes/us-v1/{n:06}.txt"));
                    let view = if n % 2 == 0 { 0u64 } else { 1 << 53 };
                    let text = fs::read_to_string(&path).unwrap();
                    let name = "qbind_consensus_current_view ";
                    let lines = text.lines().map(|line| match line.starts_with(name) {
                        true => format!("{name}{view}\n"),
                        false => format!("{line}\n"),
                    });
                    let text: String = lines.collect();
                    fs::write(path, text).unwrap();
                }
            }),
        ),
        (
            "samples without end",
            Box::new(|d| {
                put(d, "measure/samples.jsonl", lines("0,".repeat(100)));
            }),
        ),
        (
            "times at the end of numbers",
            Box::new(move |d| {
                let path = d.join("load/transactions.jsonl");
                let text = fs::read_to_string(&path).unwrap();
                let line = text
                    .lines()
                    .next()
                    .unwrap()
                    .replace("\"scheduled_us\":0", &format!("\"scheduled_us\":{huge}"));
                fs::write(path, text.replacen(text.lines().next().unwrap(), &line, 1)).unwrap();
            }),
        ),
    ];
    for (name, edit) in &cases {
        let lies = Lies { gates: Some(&passed), edit: Some(edit.as_ref()) };
        let bundle = room.path("harm.qbundle");
        let dir = room.path("evidence");
        // Sealing refuses some of it, which is as good.
        let made = sealed_with(&sound(), &operator(1), &lies, &dir, &bundle);
        fs::remove_dir_all(&dir).unwrap();
        if let Err(why) = made {
            println!("{name}: not sealed: {why}");
            continue;
        }
        let (code, text) = room.verify(&bundle);
        assert!([1, 2].contains(&code), "{name}: {code} {text}");
        assert!(!text.contains("recompute   MATCH"), "{name}: {text}");
        fs::remove_file(bundle).unwrap();
    }
}

/// A member of the policy with a key of their own.
fn member(room: &Room, name: &str, organisation: &str) -> String {
    let (key, pass) = (room.path(name), room.path("pass"));
    let (key, pass) = (key.to_str().unwrap(), pass.to_str().unwrap());
    let made =
        room.run(&["attest", "keygen", "--out", key, "--name", name, "--passphrase-file", pass]);
    let text = String::from_utf8(made.stdout).unwrap();
    let public_key = text.split(['"', ' ', '\n']).find(|word| word.len() == 2_624).expect("a key");
    entry(name, organisation, public_key)
}

fn entry(name: &str, organisation: &str, public_key: &str) -> String {
    format!(
        "  - {{name: {name}, operator: {name}, organisation: {organisation}, roles: [council], public_key: \"{public_key}\", \
         valid_from: 2026-01-01T00:00:00Z, valid_until: 2100-01-01T00:00:00Z}}\n"
    )
}

#[test]
fn who_was_not_there_signs_and_the_report_says_who_did() {
    let room = Room::new();
    fs::write(room.path("pass"), "correct horse\n").unwrap();
    claimed(&room);
    let key = hex::encode(operator(1).key.public_key().as_bytes());
    let members = entry("olga", "lab", &key)
        + &member(&room, "ada", "north")
        + &member(&room, "bob", "south")
        + &member(&room, "eve", "south");
    let policy = "schema: qbind.policy/v1\nname: launch\nthreshold: 2\norganisations: 2\nlooser_bounds: [bootstrap_resamples]\nmembers:\n";
    fs::write(room.path("policy.yaml"), policy.to_owned() + &members).unwrap();
    let paths = ["sound.qbundle", "policy.yaml", "pass"].map(|name| room.path(name));
    let [bundle, policy, pass] = paths.each_ref().map(|path| path.to_str().unwrap());
    let cosign_in = |tmpdir: &Path, who: &str, decision: &str, more: &[&str]| {
        let key = room.path(who);
        let mut args = vec!["attest", "cosign", bundle, "--policy", policy, "--role", "council"];
        args.extend(["--key", key.to_str().unwrap(), "--passphrase-file", pass]);
        args.extend(["--decision", decision]);
        args.extend(more);
        let output = room.run_with_room_in(tmpdir, &args);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    };
    let cosign =
        |who: &str, decision: &str, more: &[&str]| cosign_in(&room.desk, who, decision, more);
    let report = |format: &str, more: &[&str]| {
        let args = ["report", bundle, "--format", format, "--policy", policy];
        let output = room.run(&[&args, more].concat());
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let status = || room.run(&["attest", "status", bundle, "--policy", policy]).status.code();

    assert!(report("html", &[]).1.contains("Nobody has decided yet."));
    let first = room.run(&["attest", "status", bundle, "--policy", policy]);
    assert_eq!(first.status.code(), Some(2), "{}", String::from_utf8_lossy(&first.stdout));
    for decision in ["approve", "reject"] {
        // A disk that is full says nothing about the bundle, and nobody is led to sign that it does.
        let (code, said) = cosign_in(&room.path("nowhere"), "ada", decision, &["--reason", "r"]);
        assert!(code == 64 && said.contains("set TMPDIR to"), "{said}");
        assert!(said.contains("nothing was decided or signed"), "{said}");
    }
    let (code, said) = cosign("ada", "approve", &[]);
    assert!(code == 0 && said.contains("MATCH") && said.contains("PENDING"), "{said}");
    let (code, said) = cosign("bob", "reject", &[]);
    assert!(code != 0 && said.contains("reason"), "a rejection says why: {said}");
    let (code, said) = cosign("bob", "reject", &["--reason", "too near <the edge>"]);
    assert!(code == 0 && said.contains("REJECTS"), "{said}");
    let (code, page) = report("html", &[]);
    assert_eq!(code, 0);
    for part in ["</i>PENDING</span>", "<b>ada (ada, north)</b>", "too near &lt;the edge&gt;"] {
        assert!(page.contains(part), "{part}");
    }
    let junit = report("junit", &[]).1;
    let suite = junit.split("<testsuite name=\"sign-offs\"").nth(1).expect("a suite");
    assert!(suite.starts_with(" tests=\"3\" failures=\"1\" errors=\"1\""), "{suite}");

    let (code, said) = cosign("eve", "approve", &[]);
    assert!(code == 0 && said.contains("APPROVED"), "{said}");
    assert_eq!(status(), Some(0));
    let page = report("markdown", &[]).1;
    assert!(page.contains("**APPROVED** under launch: 2 of 2 approvals"), "{page}");
    assert!(page.contains("REJECTS"), "dissent stays: {page}");
    // Long afterwards, the same bundle is approved no more.
    let page = report("markdown", &["--at", "2099-01-01T00:00:00Z"]).1;
    assert!(page.contains("**REFUSED**"), "{page}");
    // Wrong input: no such form, no policy, no time.
    assert_eq!(report("checklist", &[]).0, 64);
    assert_eq!(report("html", &["--at", "tomorrow"]).0, 64);
    let bad = room.run(&["report", bundle, "--format", "html", "--policy", bundle]);
    assert_eq!(bad.status.code(), Some(64));
    // What nobody asked about is not shown.
    let plain = room.run(&["report", bundle, "--format", "html"]);
    assert!(!String::from_utf8(plain.stdout).unwrap().contains("id=\"sign-offs\""));
}

#[test]
fn prometheus_takes_the_metrics_of_a_run() {
    let room = Room::new();
    claimed(&room);
    let (bundle, export) = (room.path("sound.qbundle"), room.path("run.om"));
    let args = ["report", bundle.to_str().unwrap(), "--format", "openmetrics", "--out"];
    let output = room.run(&[&args[..], &[export.to_str().unwrap()]].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("left out"), "{said}");
    let promtool = |export: &Path, blocks: &Path| {
        let mut command = Command::new("promtool");
        command.args(["tsdb", "create-blocks-from", "openmetrics"]).args([export, blocks]);
        command.output().expect("promtool, which `make setup` installs")
    };
    let blocks = room.path("blocks");
    let taken = promtool(&export, &blocks);
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    assert!(fs::read_dir(&blocks).unwrap().any(|e| e.unwrap().path().join("chunks").is_dir()));
    // A database has one, and `dump` insists.
    fs::create_dir(blocks.join("wal")).unwrap();
    let dump = Command::new("promtool")
        .args(["tsdb", "dump", "--match={__name__=\"qbind_p2p_outbound_peers\"}"])
        .arg(&blocks)
        .output()
        .unwrap();
    let dump = String::from_utf8(dump.stdout).unwrap();
    // A scrape every five seconds for 100, of ten nodes, one of which was down for one.
    let nodes = sound().plan.unwrap().nodes.len();
    assert_eq!(dump.lines().count(), nodes * 21 - 1, "{dump:.300}");
    // It would have said so: an export cut short is refused.
    let text = fs::read_to_string(&export).unwrap();
    fs::write(&export, text.trim_end().strip_suffix("# EOF").unwrap()).unwrap();
    assert!(!promtool(&export, &room.path("other")).status.success());
}
