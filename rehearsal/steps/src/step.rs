//! The seven steps by name: in the guide's order, behind one call.

use crate::{
    result::{Check, Scenario, StepResult, Verdict},
    sweep::Selection,
    t185, t221, t222, t223, t234, t236, t238,
};
use serde::{Deserialize, Serialize};
use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    str::FromStr,
    time::Instant,
};

/// Schema of several steps' results.
pub const STEPS_SCHEMA: &str = "qbindctl.steps/v1";

/// One of the seven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepId {
    /// Configuration invariants.
    T185,
    /// Crashes, loss and partitions.
    T222,
    /// Votes depend on data.
    T221,
    /// Parallel equals serial execution.
    T223,
    /// Real processes, real signatures, real time.
    T234,
    /// Attacks on the fee market.
    T236,
    /// Networks that span continents.
    T238,
}

impl StepId {
    /// In the guide's order.
    pub const ALL: [Self; 7] =
        [Self::T185, Self::T222, Self::T221, Self::T223, Self::T234, Self::T236, Self::T238];

    /// The cases that can be chosen by name.
    fn cases(self) -> Vec<&'static str> {
        match self {
            Self::T221 => t221::case_names(),
            Self::T222 => t222::case_names(),
            Self::T238 => t238::case_names(),
            Self::T223 => t223::case_names(),
            Self::T185 | Self::T234 | Self::T236 => Vec::new(),
        }
    }

    /// Why this step cannot run what is selected: who asks for a case that does not exist, or for
    /// seeds of a step that has none, must not get a PASS for something else.
    pub fn misfit(self, selection: &Selection) -> Option<String> {
        let cases = self.cases();
        if let Some(case) = &selection.case
            && !cases.contains(&case.as_str())
        {
            let known = if cases.is_empty() { "none".to_owned() } else { cases.join(", ") };
            return Some(format!("{self} has no case {case}; its cases: {known}"));
        }
        if selection.seeds.is_some() && cases.is_empty() {
            return Some(format!("{self} takes no --seeds; T221, T222, T223 and T238 do"));
        }
        if selection.validators.is_some() && !matches!(self, Self::T222 | Self::T238) {
            return Some(format!("{self} takes no --validators; T222 and T238 do"));
        }
        (selection.floor && self != Self::T238)
            .then(|| format!("{self} takes no --floor; T238 does"))
    }

    /// Such as `T185`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::T185 => "T185",
            Self::T222 => "T222",
            Self::T221 => "T221",
            Self::T223 => "T223",
            Self::T234 => "T234",
            Self::T236 => "T236",
            Self::T238 => "T238",
        }
    }

    /// What it is about.
    pub fn title(self) -> &'static str {
        match self {
            Self::T185 => "Basic health and invariants",
            Self::T222 => "Consensus chaos",
            Self::T221 => "DAG-consensus coupling",
            Self::T223 => "Stage B soak",
            Self::T234 => "PQC performance, end to end",
            Self::T236 => "Fee market under attack",
            Self::T238 => "Multi-region invariants",
        }
    }

    /// The name of its test target in `node/tests`.
    pub fn test_target(self) -> &'static str {
        match self {
            Self::T185 => "t185_mainnet_profile_tests",
            Self::T222 => "t222_consensus_chaos_harness",
            Self::T221 => "t221_dag_coupling_cluster_tests",
            Self::T223 => "t223_stage_b_soak_harness",
            Self::T234 => "t234_pqc_end_to_end_perf_tests",
            Self::T236 => "t236_fee_market_adversarial_tests",
            Self::T238 => "t238_multi_region_latency_harness",
        }
    }

    /// The command the dress rehearsal guide gives for it.
    pub fn guide_command(self) -> String {
        let arguments = match self {
            Self::T222 | Self::T223 | Self::T236 => " -- --test-threads=1",
            Self::T234 => " -- --ignored --nocapture",
            Self::T185 | Self::T221 | Self::T238 => "",
        };
        format!("cargo test -p qbind-node --test {}{arguments}", self.test_target())
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names none of the seven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownStep {
    /// The text.
    pub got: String,
}

impl fmt::Display for UnknownStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<&str> = StepId::ALL.map(StepId::as_str).to_vec();
        write!(f, "no step is called `{}`; there are {}", self.got, known.join(", "))
    }
}

impl std::error::Error for UnknownStep {}

impl FromStr for StepId {
    type Err = UnknownStep;
    fn from_str(text: &str) -> Result<Self, UnknownStep> {
        let found = Self::ALL.into_iter().find(|id| id.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| UnknownStep { got: text.to_owned() })
    }
}

/// What the steps run with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What every random choice comes from.
    pub seed: u64,
    /// Fewer repetitions and a shorter load.
    pub quick: bool,
    /// The `qbind-node` that T234 starts; see [`t234::find_node_binary`].
    pub node_binary: Option<PathBuf>,
    /// What T234 offers per second, if not what its form says: a baseline counts at the same load only.
    pub offered_tps: Option<u32>,
    /// A measured network that T238 runs beside its presets.
    pub measured: Option<t238::Measured>,
    /// What of T221, T222 and T238 is run instead of the usual form.
    pub selection: Selection,
}

/// Runs one step. A panic inside it is a failure of the step, with the panic's message.
pub fn run(step: StepId, options: &Options) -> StepResult {
    let Options { seed, quick, .. } = *options;
    guarded(step, seed, || match step {
        StepId::T185 => t185::run(seed),
        StepId::T222 => t222::run(options),
        StepId::T221 => t221::run(options),
        StepId::T223 => t223::run(options),
        StepId::T234 => t234::run(seed, options),
        StepId::T236 => t236::run(seed, quick),
        StepId::T238 => t238::run(options),
    })
}

fn guarded(step: StepId, seed: u64, work: impl FnOnce() -> StepResult) -> StepResult {
    let started = Instant::now();
    let mut result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let check = Check::that("completes", "a result", message(&*panic), false);
        let scenario = Scenario::new("panic", vec![check]);
        let replay = format!("qbindctl steps run {step} --seed {seed}");
        StepResult::new(step.as_str(), step.title(), seed, vec![scenario], replay)
    });
    result.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    result
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", text.unwrap_or_else(|| "without a message".to_owned()))
}

/// What several steps found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepsResult {
    /// `qbindctl.steps/v1`.
    pub schema: String,
    /// `PASS` iff there are steps and all pass.
    pub verdict: Verdict,
    /// In the order they ran.
    pub steps: Vec<StepResult>,
}

impl StepsResult {
    /// Derives the verdict.
    pub fn new(steps: Vec<StepResult>) -> Self {
        let ok = !steps.is_empty() && steps.iter().all(|s| s.verdict.is_pass());
        Self { schema: STEPS_SCHEMA.to_owned(), verdict: Verdict::of(ok), steps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for id in StepId::ALL {
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.as_str().to_lowercase().parse(), Ok(id));
        }
        let error = "T237".parse::<StepId>().unwrap_err();
        assert!(error.to_string().contains("T185"), "{error}");
    }

    #[test]
    fn a_panic_is_a_failure_with_its_message() {
        let result = guarded(StepId::T222, 7, || panic!("the oracle saw {}", 2));
        assert_eq!((result.id.as_str(), result.verdict), ("T222", Verdict::Fail));
        let (_, check) = result.failures().next().expect("one check failed");
        assert_eq!(check.got, "panic: the oracle saw 2");
        assert_eq!(result.replay, "qbindctl steps run T222 --seed 7");
    }

    #[test]
    fn nothing_run_is_no_pass_and_one_failure_fails_all() {
        assert_eq!(StepsResult::new(vec![]).verdict, Verdict::Fail);
        let pass = run(StepId::T185, &Options::default());
        assert_eq!(StepsResult::new(vec![pass.clone()]).verdict, Verdict::Pass);
        let fail = guarded(StepId::T221, 0, || panic!("on purpose"));
        assert_eq!(StepsResult::new(vec![pass, fail]).verdict, Verdict::Fail);
    }
}
