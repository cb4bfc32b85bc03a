//! Writes bundles of sound and faulty runs, tampered and hostile ones, and what is to be said of each:
//! `expected.json`, for other verifiers.
//!
//! `bundles OUT` needs about 2 GB of disk.

use qbind_crypto::SecretKey;
use qbind_gates::GatesResult;
use qbind_specimen::{
    Operator, faults, files, hostile, repacked, sealed, sound, sound_with_added_gates,
};
use serde_json::{Map, Value, json};
use std::{error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::args_os().nth(1).ok_or("usage: bundles OUT, a new directory")?;
    let out = Path::new(&out);
    fs::create_dir(out)?;
    let operator =
        Operator { key: SecretKey::from_seed(&[1; 32]), finished_unix_ms: 1_800_000_200_000 };
    let stranger = Operator { key: SecretKey::from_seed(&[2; 32]), ..operator };
    fs::write(out.join("trust.yaml"), operator.trust().to_yaml())?;
    let mut expected = Map::new();

    let bundle = out.join("sound.qbundle");
    let gates = seal(out, &sound(), &operator, &bundle)?;
    expected.insert("sound".into(), said(&gates));
    let bytes = fs::read(&bundle)?;
    seal(out, &sound(), &stranger, &out.join("by-a-stranger.qbundle"))?;
    expected.insert("by-a-stranger".into(), json!({ "valid": false }));

    let added = sound_with_added_gates();
    let gates = seal(out, &added, &operator, &out.join("added-gates.qbundle"))?;
    expected.insert("added-gates".into(), said(&gates));

    for (n, fault) in faults().iter().enumerate() {
        let mut evidence = sound();
        (fault.plant)(&mut evidence);
        let name = format!("fault-{n:03}");
        match seal(out, &evidence, &operator, &out.join(format!("{name}.qbundle"))) {
            Ok(gates) => {
                let mut said = said(&gates);
                said["fault"] = json!(format!("{}: {}", fault.group, fault.name));
                expected.insert(name, said);
            }
            // Facts and plan contradict each other: there is nothing to sign.
            Err(why) => println!("{name} cannot be sealed: {why}"),
        }
    }
    let mut bad = |name: String, bytes: &[u8]| {
        fs::write(out.join(format!("{name}.qbundle")), bytes)?;
        expected.insert(name, json!({ "valid": false }));
        Ok::<_, std::io::Error>(())
    };
    for hostile in hostile(&bytes) {
        bad(format!("hostile-{}", hostile.name), &hostile.bytes)?;
    }
    // One changed byte in one file of each folder.
    let all = files(&bytes);
    let mut folders: Vec<&str> = Vec::new();
    for name in all.keys() {
        let folder = name.split('/').next().unwrap_or(name);
        if !folders.contains(&folder) {
            folders.push(folder);
            let mut changed = all.clone();
            let content = changed.get_mut(name).ok_or("just listed")?;
            let middle = content.len() / 2;
            content[middle] ^= 1;
            bad(format!("changed-{}", folder.replace('.', "-")), &repacked(&changed))?;
        }
    }
    let text = serde_json::to_string_pretty(&Value::Object(expected.clone()))?;
    fs::write(out.join("expected.json"), text + "\n")?;
    println!("{} bundles in {}", expected.len(), out.display());
    Ok(())
}

fn seal(
    out: &Path,
    evidence: &qbind_gates::Evidence,
    operator: &Operator,
    bundle: &Path,
) -> Result<GatesResult, Box<dyn Error>> {
    let dir = out.join("evidence");
    let sealed = sealed(evidence, operator, &dir, bundle);
    fs::remove_dir_all(dir)?;
    sealed
}

fn said(gates: &GatesResult) -> Value {
    let verdicts = gates.gates.iter().map(|g| (g.id.clone(), json!(g.verdict))).collect();
    json!({ "valid": true, "verdict": gates.verdict.to_string(), "gates": Value::Object(verdicts) })
}
