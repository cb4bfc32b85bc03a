//! G11: the seven steps.

use crate::{
    catalogue::known, evidence::Evidence, finding::Finding, records::paths, verdict::Gate,
};
use serde_json::Value;

/// In guide order.
pub const STEPS: [&str; 7] = ["t185", "t222", "t221", "t223", "t234", "t236", "t238"];

pub(crate) fn gate(evidence: &Evidence) -> Gate {
    let mut finding = Finding::default();
    finding.bound = "7 of 7 PASS".to_owned();
    let mut passed = 0;
    for id in STEPS {
        let path = paths::step(id);
        finding.evidence.push(path.clone());
        let Some(step) = evidence.steps.get(id) else {
            finding.unknown(evidence.absence(&path));
            continue;
        };
        finding.samples += 1;
        if evidence.noted_steps.is_none() {
            finding.unknown(evidence.absence(paths::JOURNAL));
        }
        if evidence.failed_steps.contains(id) {
            let name = id.to_uppercase();
            finding.fail(format!("{name}: {} notes a run of it that did not pass", paths::JOURNAL));
        }
        let noted = evidence.noted_steps.iter().find_map(|steps| steps.get(id));
        match noted {
            Some(noted) if *noted == step.sha3 => {}
            Some(_) => finding.fail(format!(
                "{path} was changed after the step was done: {} noted another SHA3-256",
                paths::JOURNAL
            )),
            None => finding.unknown(format!("{} does not note {path}", paths::JOURNAL)),
        }
        match judge(id, &step.result) {
            Ok(checks) => {
                passed += 1;
                let name = id.to_uppercase();
                finding.remark(format!("{name}: {checks} checks, SHA3-256 {}", step.sha3));
            }
            Err(Wrong::Failed(why)) => finding.fail(format!("{}: {why}", id.to_uppercase())),
            Err(Wrong::Unreadable(why)) => finding.unknown(format!("{path}: {why}")),
        }
    }
    finding.value = format!("{passed} of 7 PASS");
    finding.into_gate(known("G11"))
}

enum Wrong {
    Failed(String),
    Unreadable(String),
}

/// The number of checks, if the verdict follows from them.
fn judge(id: &str, result: &Value) -> Result<u64, Wrong> {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    if text(result, "schema") != "qbind.step/v1" || !text(result, "id").eq_ignore_ascii_case(id) {
        return Err(Wrong::Unreadable("is not a qbind.step/v1 result of this step".to_owned()));
    }
    let empty = Vec::new();
    let scenarios = result["scenarios"].as_array().unwrap_or(&empty);
    let mut checks = 0;
    for scenario in scenarios {
        let name = text(scenario, "name");
        let list = scenario["checks"].as_array().unwrap_or(&empty);
        for check in list {
            checks += 1;
            if check["ok"] != Value::Bool(true) {
                return Err(Wrong::Failed(format!(
                    "{name}: {} expected {}, got {}",
                    text(check, "name"),
                    text(check, "expected"),
                    text(check, "got")
                )));
            }
        }
        if text(scenario, "verdict") != "PASS" {
            return Err(Wrong::Failed(format!("{name} is {}", text(scenario, "verdict"))));
        }
    }
    if text(result, "verdict") != "PASS" {
        return Err(Wrong::Failed(format!("is {}", text(result, "verdict"))));
    }
    if checks == 0 {
        return Err(Wrong::Unreadable("says PASS and holds no check".to_owned()));
    }
    Ok(checks)
}
