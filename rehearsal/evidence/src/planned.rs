//! What `plan.yaml` fixes of what the facts say.

use crate::{
    facts::{Facts, FactsError, Form, GateType},
    layout,
};
use serde::Deserialize;

/// The fields of a plan that the facts repeat. A plan says more; of a plan that says less, what is
/// there is compared.
#[derive(Deserialize)]
struct Planned {
    form: Option<Form>,
    target: Option<String>,
    gate_type: Option<GateType>,
    regions: Option<Vec<Region>>,
    genesis: Option<Genesis>,
    #[serde(default)]
    binaries: Vec<Binary>,
}

#[derive(Deserialize)]
struct Region {
    id: String,
}

#[derive(Deserialize)]
struct Genesis {
    sha3: String,
}

#[derive(Deserialize)]
struct Binary {
    name: String,
    sha3: String,
}

/// Checks that the facts do not claim another run than the one that was planned.
///
/// # Errors
/// The plan is not YAML of its schema, or the facts contradict it.
pub(crate) fn agree(plan: &[u8], facts: &Facts) -> Result<(), FactsError> {
    let malformed = |detail| FactsError::Malformed { file: layout::PLAN, detail };
    let text = std::str::from_utf8(plan).map_err(|e| malformed(e.to_string()))?;
    let planned: Planned = serde_saphyr::from_str(text).map_err(|e| malformed(e.to_string()))?;
    let regions: Option<Vec<String>> =
        planned.regions.map(|regions| regions.into_iter().map(|region| region.id).collect());
    let wrong = if planned.form.is_some_and(|form| form != facts.form) {
        Some("form".to_owned())
    } else if planned.target.is_some_and(|target| target != facts.target) {
        Some("target".to_owned())
    } else if planned.gate_type.is_some_and(|gate_type| gate_type != facts.gate_type) {
        Some("gate_type".to_owned())
    } else if regions.is_some_and(|regions| regions != facts.regions) {
        Some("regions".to_owned())
    } else {
        let genesis = planned
            .genesis
            .map(|genesis| Binary { name: layout::GENESIS.to_owned(), sha3: genesis.sha3 });
        planned
            .binaries
            .into_iter()
            .chain(genesis)
            .find(|artifact| differs(facts, artifact))
            .map(|artifact| format!("the subject {}", artifact.name))
    };
    match wrong {
        None => Ok(()),
        Some(what) => Err(FactsError::Contradiction {
            file: layout::FACTS,
            detail: format!("{what} is not what {} fixed", layout::PLAN),
        }),
    }
}

/// Whether a subject of that name has another digest. A program that is no subject may differ.
fn differs(facts: &Facts, artifact: &Binary) -> bool {
    let planned = artifact.sha3.strip_prefix("0x").unwrap_or(&artifact.sha3);
    facts
        .subjects
        .iter()
        .any(|s| s.name == artifact.name && s.digest.sha3_256.to_string() != planned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::tests::facts;

    #[test]
    fn facts_that_say_other_than_the_plan_are_named() {
        let facts = facts();
        let genesis = facts.subjects[1].digest.sha3_256;
        let plan = format!(
            "schema: qbind.plan/v1\nform: quick\ntarget: lab\ngate_type: mainnet_launch\n\
             regions:\n- id: eu-west\n- id: us-east\n- id: ap-tokyo\n\
             genesis:\n  sha3: 0x{genesis}\nbinaries: []\nmore: 1\n"
        );
        assert!(agree(plan.as_bytes(), &facts).is_ok());
        for (from, to, expected) in [
            ("quick", "full", "form is not"),
            ("target: lab", "target: inventory", "target is not"),
            ("mainnet_launch", "post_incident", "gate_type is not"),
            ("- id: us-east\n", "", "regions is not"),
            (&genesis.to_string()[..8], "00000000", "the subject genesis.json is not"),
            ("binaries: []", "binaries: [{name: qbind-node, sha3: '0x00'}]", "qbind-node is not"),
            ("quick", "[", "not understood"),
        ] {
            let error = agree(plan.replace(from, to).as_bytes(), &facts).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
