//! The plan: immutable, with a digest; no choices left for run time.

use crate::{
    added::AddedGate,
    bounds::Bounds,
    error::{PlanError, Problem, parse},
    fault::PlannedFault,
    manifest::{Form, GateType, Live, Load, Measure, Steps},
};
use qbind_types::{GenesisHash, Network};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// The schema line of a plan.
pub const PLAN_SCHEMA: &str = "qbind.plan/v1";

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Votes.
    Validator,
    /// Serves clients.
    Rpc,
    /// Shields validators.
    Sentry,
}

/// One node of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedNode {
    /// Unique name, such as `eu-west-v1`.
    pub name: String,
    /// Region id.
    pub region: String,
    /// Role.
    pub role: Role,
    /// Validators only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub validator_id: Option<u64>,
    /// Validators only: stake that counts towards a quorum.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub power: Option<u64>,
    /// `ip:port` of its HTTP listener.
    pub http: String,
}

/// One region of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedRegion {
    /// Id.
    pub id: String,
    /// Continent.
    pub continent: String,
}

/// What was asked of one directed link between regions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedLink {
    /// Sending region.
    pub from: String,
    /// Receiving region.
    pub to: String,
    /// One way.
    pub delay_us: u64,
    /// As the topology defines it.
    pub jitter_us: u64,
    /// In ten-thousandths.
    pub loss_bps: u32,
}

/// Which topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopologyRef {
    /// Name inside the file.
    pub name: String,
    /// SHA3-256 of the file, `0x…`.
    pub sha3: String,
}

/// Which genesis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisRef {
    /// SHA3-256 of the file.
    pub sha3: GenesisHash,
    /// Network of every signature.
    pub network: Network,
    /// Such as `qbind-mainnet-v0`.
    pub chain_id: String,
}

/// A program of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinaryRef {
    /// Such as `qbind-node`.
    pub name: String,
    /// SHA3-256 of the file, `0x…`.
    pub sha3: String,
}

/// Everything fixed before the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Always [`PLAN_SCHEMA`].
    pub schema: String,
    /// Name of the manifest.
    pub name: String,
    /// Quick or full.
    pub form: Form,
    /// `lab` or `inventory`.
    pub target: String,
    /// What the verdict is for.
    pub gate_type: GateType,
    /// Seed of everything random.
    pub seed: u64,
    /// Topology.
    pub topology: TopologyRef,
    /// Genesis.
    pub genesis: GenesisRef,
    /// Programs.
    pub binaries: Vec<BinaryRef>,
    /// Regions, in topology order.
    pub regions: Vec<PlannedRegion>,
    /// Nodes, in topology order.
    pub nodes: Vec<PlannedNode>,
    /// Directed links; empty where the network is real.
    pub links: Vec<PlannedLink>,
    /// Probes.
    pub measure: Measure,
    /// Steps.
    pub steps: Steps,
    /// Load.
    pub load: Load,
    /// Live window.
    pub live: Live,
    /// Planned harm, by start.
    pub faults: Vec<PlannedFault>,
    /// Bounds.
    pub bounds: Bounds,
    /// Gates beside the guide's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added_gates: Vec<AddedGate>,
    /// Sentences the operator reads before the run.
    pub notes: Vec<String>,
}

impl Plan {
    /// The bytes of `plan.yaml`.
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(self).expect("strings, numbers and lists always serialise")
    }

    /// SHA3-256 of the bytes of `plan.yaml`, `0x…`: `openssl dgst -sha3-256 plan.yaml` agrees.
    pub fn digest(&self) -> String {
        digest_of(self.to_yaml().as_bytes())
    }

    /// Writes `plan.yaml` and returns its digest.
    ///
    /// # Errors
    /// The world's fault: the file cannot be written.
    pub fn store(&self, path: &Path) -> Result<String, PlanError> {
        let text = self.to_yaml();
        fs::write(path, &text)
            .map_err(|source| PlanError::Write { path: path.to_owned(), source })?;
        Ok(digest_of(text.as_bytes()))
    }

    /// Reads `plan.yaml`.
    ///
    /// # Errors
    /// Unreadable, not a plan, an unknown key.
    pub fn load(path: &Path) -> Result<Self, PlanError> {
        let text = fs::read_to_string(path)
            .map_err(|source| PlanError::Read { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads a plan from text; `file` is the name errors use.
    ///
    /// # Errors
    /// Not a plan, an unknown key, another schema, a number outside its limits.
    pub fn parse(file: &str, text: &str) -> Result<Self, PlanError> {
        let plan: Self = parse(file, text)?;
        if plan.schema != PLAN_SCHEMA {
            let message = format!("is {:?}, expected {PLAN_SCHEMA:?}", plan.schema);
            let problem =
                Problem { file: file.to_owned(), line: None, key: "schema".into(), message };
            return Err(PlanError::Problems { problems: vec![problem] });
        }
        if let Some((key, message)) = crate::limits::broken(&plan) {
            let problem = Problem { file: file.to_owned(), line: None, key, message };
            return Err(PlanError::Problems { problems: vec![problem] });
        }
        Ok(plan)
    }

    /// Fails unless the plan's digest is `expected`.
    ///
    /// # Errors
    /// The plan was changed after it was fixed.
    pub fn expect_digest(&self, expected: &str) -> Result<(), PlanError> {
        let got = self.digest();
        if got == expected {
            Ok(())
        } else {
            Err(PlanError::Digest { got, expected: expected.to_owned() })
        }
    }

    /// The validators among the nodes.
    pub fn validators(&self) -> impl Iterator<Item = &PlannedNode> {
        self.nodes.iter().filter(|n| n.role == Role::Validator)
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&PlannedNode> {
        self.nodes.iter().find(|n| n.name == name)
    }
}

/// `0x…` SHA3-256 of a file's bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(qbind_crypto::sha3_256(&[bytes])))
}
