//! What an operator writes: the manifest, before topology and digests are known.

use crate::{
    added::{self, AddedGate},
    bounds::Bounds,
    error::{PlanError, Problem, parse},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;
use std::{fs, path::Path};

/// The schema line of a manifest.
pub const MANIFEST_SCHEMA: &str = "qbind.manifest/v1";

const QUICK: &str = include_str!("../presets/quick.yaml");
const FULL: &str = include_str!("../presets/full.yaml");

/// How long the rehearsal takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// About six minutes.
    Quick,
    /// The guide's sample sizes.
    Full,
}

/// What the verdict is for (guide, section 1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateType {
    /// Before genesis block production.
    MainnetLaunch,
    /// Before a hard-fork envelope is signed.
    ClassCUpgrade,
    /// After a major network event.
    PostIncident,
}

/// Form of the seven steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepForm {
    /// Fewer seeds and blocks.
    Short,
    /// As the guide's commands.
    Long,
}

/// Probes between regions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// Probes kept for each directed pair.
    pub probes_per_pair: u32,
    /// Probes per second for each directed pair.
    pub rate_per_second: u32,
    /// Probes sent first and thrown away.
    pub warmup_probes: u32,
    /// Bytes of payload: 64 or 1,200.
    pub payload_bytes: u32,
}

/// Which form the steps take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    /// Short or long.
    pub form: StepForm,
}

/// The offered load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Transfers offered per second.
    pub rate_per_second: u32,
    /// Accounts that send them in turn.
    pub accounts: u32,
    /// How long to wait for the last commits after the window.
    pub drain_s: u32,
    /// An accepted transfer not committed by then is submitted again, to another node.
    pub resubmit_after_s: u32,
}

/// The live window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Live {
    /// Length; the load runs for all of it.
    pub window_s: u32,
    /// First part, left out of the performance gates.
    pub warmup_s: u32,
    /// Distance of scrapes.
    pub scrape_interval_ms: u32,
    /// Distance of polls of each commit feed.
    pub commit_poll_ms: u32,
}

/// Kinds of planned harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// `kill -9` of the validator that leads at that moment; restarted after `duration_s`.
    KillLeader,
    /// All links between one region and the others cut; healed after `duration_s`.
    CutRegion,
    /// Loss added to the links between two regions, both ways, for `duration_s`.
    LossBurst,
}

/// One planned fault, as written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// A name, unique in the manifest.
    pub id: String,
    /// What is done.
    pub kind: FaultKind,
    /// When, counted from the start of the live window.
    pub at_s: u32,
    /// For how long.
    pub duration_s: u32,
    /// How long recovery may take afterwards; default 30 after a kill, 10 after a heal.
    pub recovery_s: Option<u32>,
    /// `cut_region` only: a region id, or `@n` for the n-th of the topology.
    pub region: Option<String>,
    /// `loss_burst` only.
    pub from: Option<String>,
    /// `loss_burst` only.
    pub to: Option<String>,
    /// `loss_burst` only: loss added, in ten-thousandths.
    pub loss_bps: Option<u32>,
}

/// Digests the operator insists on; a run with others is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// SHA3-256 of the node binary.
    pub node_binary_sha3: Option<String>,
    /// SHA3-256 of the genesis file.
    pub genesis_sha3: Option<String>,
    /// SHA3-256 of the topology file.
    pub topology_sha3: Option<String>,
}

/// A manifest as read.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`MANIFEST_SCHEMA`].
    #[schemars(with = "String", extend("const" = MANIFEST_SCHEMA))]
    pub schema: Spanned<String>,
    /// A name for reports.
    pub name: String,
    /// Quick or full.
    pub form: Form,
    /// What the verdict is for.
    pub gate_type: GateType,
    /// Seed of everything random: emulator, simulator, bootstrap.
    pub seed: u64,
    /// Probes.
    #[schemars(with = "Measure")]
    pub measure: Spanned<Measure>,
    /// Steps.
    pub steps: Steps,
    /// Load.
    #[schemars(with = "Load")]
    pub load: Spanned<Load>,
    /// Live window.
    #[schemars(with = "Live")]
    pub live: Spanned<Live>,
    /// Planned harm.
    #[serde(default)]
    #[schemars(with = "Vec<FaultSpec>")]
    pub faults: Vec<Spanned<FaultSpec>>,
    /// Bounds, where they differ from the guide's.
    #[serde(default)]
    #[schemars(with = "Option<Bounds>")]
    pub gates: Option<Spanned<Bounds>>,
    /// Gates beside the guide's.
    #[serde(default)]
    #[schemars(with = "Vec<AddedGate>", length(max = added::MOST))]
    pub added_gates: Vec<Spanned<AddedGate>>,
    /// Digests insisted on.
    #[serde(default)]
    pub expect: Expect,
    /// The name errors use.
    #[serde(skip)]
    pub file: String,
}

/// The JSON Schema of a manifest (draft 2020-12), for editors: two spaces of indentation and a final newline.
pub fn manifest_schema() -> String {
    let schema = schemars::schema_for!(Manifest);
    serde_json::to_string_pretty(&schema).expect("keys are texts") + "\n"
}

impl Manifest {
    /// The built-in manifest of `rehearse --quick`.
    pub fn quick() -> Self {
        Self::parse("quick.yaml (built in)", QUICK).expect("a test parses it")
    }

    /// The built-in manifest of the full form.
    pub fn full() -> Self {
        Self::parse("full.yaml (built in)", FULL).expect("a test parses it")
    }

    /// Reads a manifest file.
    ///
    /// # Errors
    /// The operator's fault: unreadable, not YAML, unknown key, impossible value.
    pub fn load(path: &Path) -> Result<Self, PlanError> {
        let text = fs::read_to_string(path)
            .map_err(|source| PlanError::Read { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads a manifest from text; `file` is the name errors use.
    ///
    /// # Errors
    /// The author's fault: not YAML, unknown key, impossible value.
    pub fn parse(file: &str, text: &str) -> Result<Self, PlanError> {
        let mut manifest: Self = parse(file, text)?;
        manifest.file = file.to_owned();
        let problems = manifest.problems();
        if problems.is_empty() { Ok(manifest) } else { Err(PlanError::Problems { problems }) }
    }

    /// Effective bounds.
    pub fn bounds(&self) -> Bounds {
        self.gates.as_ref().map(|g| g.value.clone()).unwrap_or_default()
    }

    /// Gates beside the guide's.
    pub(crate) fn added(&self) -> Vec<AddedGate> {
        self.added_gates.iter().map(|gate| gate.value.clone()).collect()
    }

    pub(crate) fn problem(&self, line: Option<u64>, key: &str, message: String) -> Problem {
        Problem { file: self.file.clone(), line, key: key.to_owned(), message }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut need = |ok: bool, line: u64, key: &str, message: String| {
            if !ok {
                found.push(self.problem(Some(line), key, message));
            }
        };
        need(
            self.schema.value == MANIFEST_SCHEMA,
            self.schema.referenced.line(),
            "schema",
            format!("is {:?}, expected {MANIFEST_SCHEMA:?}", self.schema.value),
        );
        let (m, at) = (&self.measure.value, self.measure.referenced.line());
        let count = m.probes_per_pair;
        need(
            (1000..=100_000).contains(&count),
            at,
            "measure.probes_per_pair",
            format!("is {count}; fewer than 1000 yield no preset, more than 100000 are refused"),
        );
        need(
            (1..=100).contains(&m.rate_per_second),
            at,
            "measure.rate_per_second",
            format!("is {}, expected 1 to 100", m.rate_per_second),
        );
        need(
            m.payload_bytes == 64 || m.payload_bytes == 1200,
            at,
            "measure.payload_bytes",
            format!("is {}, expected 64 or 1200", m.payload_bytes),
        );
        let (l, at) = (&self.load.value, self.load.referenced.line());
        need(
            (1..=5000).contains(&l.rate_per_second),
            at,
            "load.rate_per_second",
            format!("is {}, expected 1 to 5000", l.rate_per_second),
        );
        need(
            (1..=100_000).contains(&l.accounts),
            at,
            "load.accounts",
            format!("is {}, expected 1 to 100000", l.accounts),
        );
        need(
            l.resubmit_after_s > 0,
            at,
            "load.resubmit_after_s",
            "is 0; an accepted transfer needs time to commit".to_owned(),
        );
        let (v, at) = (&self.live.value, self.live.referenced.line());
        need(
            (30..=86_400).contains(&v.window_s),
            at,
            "live.window_s",
            format!("is {}, expected 30 to 86400", v.window_s),
        );
        need(
            v.warmup_s < v.window_s,
            at,
            "live.warmup_s",
            format!("is {}, which leaves nothing of a window of {} s", v.warmup_s, v.window_s),
        );
        need(
            (1000..=60_000).contains(&v.scrape_interval_ms),
            at,
            "live.scrape_interval_ms",
            format!("is {}, expected 1000 to 60000", v.scrape_interval_ms),
        );
        need(
            (100..=5000).contains(&v.commit_poll_ms),
            at,
            "live.commit_poll_ms",
            format!("is {}, expected 100 to 5000", v.commit_poll_ms),
        );
        if let Some(gates) = &self.gates {
            let (g, at) = (&gates.value, gates.referenced.line());
            for (key, value) in [
                ("align_ms", g.align_ms),
                ("latency_samples_min", g.latency_samples_min),
                ("tps_seconds_min", g.tps_seconds_min),
                ("bootstrap_resamples", u64::from(g.bootstrap_resamples)),
                ("bootstrap_block_s", u64::from(g.bootstrap_block_s)),
                ("scrape_gap_max_ms", g.scrape_gap_max_ms),
            ] {
                need(value > 0, at, &format!("gates.{key}"), "is 0; nothing decides then".into());
            }
        }
        for (n, key, why) in added::problems(&self.added()) {
            let line = self.added_gates.get(n).map(|gate| gate.referenced.line());
            found.push(self.problem(line, &format!("added_gates[{n}].{key}"), why));
        }
        found
    }
}
