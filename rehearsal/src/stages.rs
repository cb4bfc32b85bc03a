//! The stages, in order; each leaves its evidence before the next begins.

use crate::{
    Finished, RehearsalError, faults,
    faults::unix_ms,
    load::{self, Load},
    outcome::Doing,
    purpose::Purpose,
    resume::{Done, Resumed, resume},
};
use qbind_crypto::SecretKey;
use qbind_evidence::{
    Facts, Journal, PLAN_SIGNED_FIELD, PLAN_SIGNED_RECORD, SealOptions, Subject, Trust, TrustedKey,
    VerifyOptions, digest_of_file, seal, sign_plan, verify,
};
use qbind_gates::{
    controls, evaluate_dir, lint, read_dir,
    records::paths,
    series::{self, Sample},
};
use qbind_lab::{
    Lab, LabConfig, Place,
    network::{self, CreateOptions, EPOCH_BLOCKS, NetworkDir, NetworkProfile, Reach},
};
use qbind_links::{Class, PairMeasurement};
use qbind_measure::{
    Measurement, Pair, RawMeasurement, Schedule, Soundness, csv, markdown, measure_pairs,
};
use qbind_plan::{
    BinaryRef, Cluster, Form, GenesisRef, LiveRecord, Manifest, Plan, PlannedNode, StepForm,
    TopologyRef, digest_of, topology::Topology,
};
use qbind_report::{
    ReportInput, render_checklist, render_html, render_json, render_junit, render_markdown,
    render_upgrade_checklist,
};
use qbind_scrape::{Options as ScrapeOptions, Scraper, Target};
use qbind_steps::{Options as StepOptions, StepId, t238};
use qbind_types::Network;
use serde_json::json;
use std::{
    error::Error,
    fs, io,
    net::SocketAddr,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// Days for which the attestation may be relied on.
const VALID_DAYS: u32 = 14;
/// Keys, configurations and data of the nodes, below the output directory.
pub(crate) const NETWORK: &str = "network";
/// How often the network is measured at most.
const MEASUREMENTS: u32 = 3;
/// How long nodes may take to find each other.
const READY: Duration = Duration::from_secs(90);

/// What to rehearse.
#[derive(Debug, Clone)]
pub struct Request {
    /// Gates, load, faults.
    pub manifest: Manifest,
    /// Regions and links.
    pub topology: Topology,
    /// Where the evidence goes; must not exist, or be empty, unless an earlier start is resumed.
    pub out: PathBuf,
    /// The program under rehearsal.
    pub node_binary: PathBuf,
    /// Who runs it, for the report.
    pub operator: String,
    /// Whether `out` holds a rehearsal that was interrupted, to go on with; its own plan and network count
    /// then, not `manifest` and `topology`.
    pub resume: bool,
    /// What it is for.
    pub purpose: Purpose,
    /// Whether to plant a violation for each gate in the evidence, and see it turn red.
    pub controls: bool,
}

/// Runs all stages in the lab, and seals what they found with `key`, or with one made for this run.
///
/// `told` hears each stage as it begins; it is called from several threads.
///
/// # Errors
/// No verdict could be reached. What the operator can mend leaves nothing behind; else the evidence
/// so far stays in `out`.
pub fn rehearse(
    request: &Request,
    key: Option<SecretKey>,
    told: &(dyn Fn(&str) + Sync),
) -> Result<Finished, RehearsalError> {
    let out = request.out.as_path();
    if request.resume {
        return all_stages(request, key, told);
    }
    let existed = out.exists();
    refuse_used(out)?;
    let ended = all_stages(request, key, told);
    if ended.as_ref().is_err_and(|e| e.is_usage) {
        // Best effort: the error that matters is the operator's. Only what was made here goes.
        drop(fs::remove_dir_all(out.join(NETWORK)));
        drop(fs::remove_file(out.join(paths::GENESIS)));
        drop(fs::remove_file(out.join("upgrade-envelope.json")));
        if !existed {
            drop(fs::remove_dir(out));
        }
    }
    ended
}

fn refuse_used(out: &Path) -> Result<(), RehearsalError> {
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(format!("{} is not empty; name another --out", out.display()))
            .usage("use the output directory");
    }
    Ok(())
}

fn all_stages(
    request: &Request,
    key: Option<SecretKey>,
    told: &(dyn Fn(&str) + Sync),
) -> Result<Finished, RehearsalError> {
    let out = request.out.as_path();
    let signer = key.as_ref().map_or("this run's own key", |_| "operator");
    let key = key.unwrap_or_else(SecretKey::generate);
    let Resumed { plan, network, journal, done } = match request.resume {
        true => resume(request)?,
        false => begin(request, &key, signer, told)?,
    };
    let started = done.started_unix_ms.unwrap_or_else(unix_ms);
    let note = |kind: &str, data| journal.append(kind, data).map(drop).doing("write the journal");
    if request.resume {
        let steps = done.steps.len();
        let (measured, live) = (done.measured.is_some(), done.live);
        told(&format!("resume: measured {measured}, {steps} of 7 steps stand, live window {live}"));
    }
    if done.live {
        told("gates: deriving every verdict from the evidence");
        return finish(request, (signer, key), &plan, &journal, started);
    }

    told("lab: the network between the regions");
    let config = LabConfig {
        dir: network.dir().to_owned(),
        node_binary: request.node_binary.clone(),
        env: Vec::new(),
    };
    let lab = Lab::network_up(config).doing("start the lab")?;

    // Before the nodes run: they would take the time that probes and steps are measured in.
    let measured = match done.measured {
        Some(measured) => measured,
        None => {
            told("measure: RTT, jitter and loss of every directed pair of regions");
            let measurement = soundly_measured(&lab, &plan, out, told)?;
            let measured = map(&measurement, &plan, out)?;
            let samples = fs::read(out.join(paths::SAMPLES)).doing("read the samples")?;
            let class = measured.class.name();
            note("network.mapped", json!({ "class": class, "samples_sha3": digest_of(&samples) }))?;
            measured
        }
    };

    for step in StepId::ALL.into_iter().filter(|step| !done.steps.contains(step)) {
        told(&format!("step {step}: {}", step.title()));
        let (verdict, sha3) = run_step(step, request, &plan, &measured, out)?;
        let noted = json!({ "id": step.as_str(), "verdict": verdict, "result_sha3": sha3 });
        note("step.done", noted)?;
    }

    told("lab: starting every node");
    let runtime = lab.ops_runtime(2).doing("start threads in the lab")?;
    let scrape = ScrapeOptions {
        scrape_interval: Duration::from_millis(u64::from(plan.live.scrape_interval_ms)),
        commit_poll: Duration::from_millis(u64::from(plan.live.commit_poll_ms)),
        ..ScrapeOptions::default()
    };
    lab.start_all().doing("start every node")?;
    let scraper = Scraper::start(runtime.handle(), Target::of_plan(&plan), scrape, out.to_owned())
        .doing("start the scraper")?;
    lab.wait_ready(READY, |_, _| true).doing("get every node ready")?;
    note("lab.ready", json!({ "nodes": plan.nodes.len() }))?;
    bind_gates(&lab, &plan)?;

    told("live: load, faults, scrapes");
    note("live.begun", json!({}))?;
    live(&lab, &plan, &network, &runtime, out, told)?;
    let collected = runtime
        .block_on(async { runtime.spawn(scraper.stop()).await })
        .doing("end the scraper")?
        .doing("end the scraper")?;
    note("live.done", json!({ "scrapes": collected.scrapes, "blocks": collected.blocks }))?;
    runtime.shutdown_background();
    lab.down().doing("end the lab")?;

    told("gates: deriving every verdict from the evidence");
    if request.controls {
        told("controls: planting a violation for each gate, and judging again");
    }
    finish(request, (signer, key), &plan, &journal, started)
}

/// Fixes and seals the plan.
fn begin(
    request: &Request,
    key: &SecretKey,
    signer: &str,
    told: &(dyn Fn(&str) + Sync),
) -> Result<Resumed, RehearsalError> {
    let out = request.out.as_path();
    let started = unix_ms();
    told("plan: keys, genesis and configuration of every node");
    let binary = fs::read(&request.node_binary).usage("read the node binary")?;
    fs::create_dir_all(out).usage("create the output directory")?;
    let purpose = request.purpose.begin(request.manifest.gate_type, &binary, out)?;
    let network = prepare_network(request)?;
    let mut plan = fix_plan(request, &network, &binary)?;
    plan.notes.extend(purpose);
    let journal = Journal::create(&out.join(paths::JOURNAL)).doing("create the journal")?;
    let digest = plan.store(&out.join(paths::PLAN)).doing("store the plan")?;
    let note = |kind: &str, data| journal.append(kind, data).map(drop).doing("write the journal");
    note("plan.fixed", json!({ "plan_digest": digest }))?;
    let envelope = sign_plan(out, unix_ms(), std::slice::from_ref(key)).doing("sign the plan")?;
    note(PLAN_SIGNED_RECORD, json!({ (PLAN_SIGNED_FIELD): envelope }))?;
    told(&format!("plan: signed by {signer}; hand out {}", out.join("plan.dsse.json").display()));
    for sentence in &plan.notes {
        told(&format!("note: {sentence}"));
    }
    let done = Done { started_unix_ms: Some(started), ..Done::default() };
    Ok(Resumed { plan, network, journal, done })
}

fn prepare_network(request: &Request) -> Result<NetworkDir, RehearsalError> {
    let out = &request.out;
    let options = CreateOptions {
        topology: request.topology.clone(),
        out: out.join(NETWORK),
        profile: NetworkProfile::Mainnet,
        load_accounts: request.manifest.load.value.accounts,
        epoch_blocks: EPOCH_BLOCKS,
        reach: Reach::Lab,
    };
    network::create(&options).usage("make the network")
}

fn fix_plan(
    request: &Request,
    network: &NetworkDir,
    binary: &[u8],
) -> Result<Plan, RehearsalError> {
    let genesis = fs::read(network.genesis_path()).doing("read the genesis file")?;
    fs::write(request.out.join(paths::GENESIS), &genesis).doing("keep the genesis file")?;
    let file: serde_json::Value =
        serde_json::from_slice(&genesis).doing("read the genesis file")?;
    let chain_id = file["chain_id"].as_str().unwrap_or_default().to_owned();
    let genesis = GenesisRef { sha3: network.genesis_hash(), network: Network::Mainnet, chain_id };
    let binaries = vec![BinaryRef { name: "qbind-node".to_owned(), sha3: digest_of(binary) }];
    let topology = &request.topology;
    let sha3 = digest_of(topology.to_yaml().as_bytes());
    let accounts = request.manifest.load.value.accounts;
    let mut cluster =
        Cluster::from_topology(topology, sha3.clone(), genesis, binaries, accounts, 9090);
    cluster.topology = TopologyRef { name: topology.name.clone(), sha3 };
    for (planned, node) in cluster.nodes.iter_mut().zip(network.nodes()) {
        planned.http = node.http.to_string();
    }
    request.manifest.resolve(&cluster).usage("plan this rehearsal")
}

/// How long a view may take to move.
const MOVES: Duration = Duration::from_secs(10);

/// How long nodes may take to have the outbound peers they look for.
const SETTLES: Duration = Duration::from_secs(30);

/// Whether a node has fewer outbound peers than it must have in the window.
fn is_dialling(metrics: &str, plan: &Plan) -> bool {
    let series = series::parse(metrics).unwrap_or_default();
    let mut outbound = series.of("qbind_p2p_outbound_peers");
    let least = i64::try_from(plan.bounds.outbound_peers_min).unwrap_or(i64::MAX);
    !outbound.any(|value| matches!(value, Sample::Integer(n) if n >= least))
}

/// Sees that every series a gate reads is there on every node: what is missing now would be found missing
/// after the window.
fn bind_gates(lab: &Lab, plan: &Plan) -> Result<(), RehearsalError> {
    let bodies = || -> Result<Vec<String>, RehearsalError> {
        let body = |node: &PlannedNode| {
            let address: SocketAddr = node.http.parse().doing("read a node's address")?;
            let reply = lab.http().get(address, "/metrics", Duration::from_secs(4));
            let reply = reply.doing(&format!("ask {} for its metrics", node.name))?;
            Ok(String::from_utf8_lossy(&reply.body).into_owned())
        };
        plan.nodes.iter().map(body).collect()
    };
    let (begun, first) = (Instant::now(), bodies()?);
    loop {
        let second = bodies()?;
        let each = plan.nodes.iter().zip(first.iter().zip(&second));
        let problem = each.into_iter().find_map(|(node, (first, second))| {
            let wrong =
                lint(first, second, plan.added_gates.iter().filter(|gate| gate.means(node)))
                    .into_iter()
                    .find(|binding| binding.problem.is_some())?;
            let (name, gates) = (&node.name, wrong.gates.join(", "));
            Some(format!("{name}: {} {} ({gates})", wrong.series, wrong.problem?))
        });
        match problem {
            // Nodes that started a moment ago still dial; whether they ever have enough peers is for a gate.
            None if begun.elapsed() < SETTLES
                && second.iter().any(|body| is_dialling(body, plan)) =>
            {
                std::thread::sleep(Duration::from_millis(500));
            }
            None => return Ok(()),
            Some(problem) if begun.elapsed() > MOVES => {
                return Err(problem).doing("bind the gates to live series");
            }
            Some(_) => std::thread::sleep(Duration::from_millis(500)),
        }
    }
}

/// Measures again where our own prober was too late: a table it cannot vouch for decides nothing.
fn soundly_measured(
    lab: &Lab,
    plan: &Plan,
    out: &Path,
    told: &(dyn Fn(&str) + Sync),
) -> Result<Measurement, RehearsalError> {
    let mut measurement = measure(lab, plan, out)?;
    for again in 2..=MEASUREMENTS {
        if measurement.soundness != Soundness::Void {
            break;
        }
        let why = measurement.reasons.join("; ");
        told(&format!("measure: {why} ({again} of at most {MEASUREMENTS})"));
        measurement = measure(lab, plan, out)?;
    }
    Ok(measurement)
}

fn measure(lab: &Lab, plan: &Plan, out: &Path) -> Result<Measurement, RehearsalError> {
    let mut pairs = Vec::new();
    for from in &plan.regions {
        let place = Place::Region(from.id.clone());
        let source = lab.wan().address(&place).doing("find a region's address")?;
        let enter = lab.enter(&place).doing("enter a region")?;
        for to in plan.regions.iter().filter(|to| to.id != from.id) {
            let there = Place::Region(to.id.clone());
            let target = lab.wan().address(&there).doing("find a region's address")?;
            let (from, to) = (from.id.clone(), to.id.clone());
            pairs.push(Pair { from, to, source, target, enter: Some(enter.clone()) });
        }
    }
    let mut schedule = Schedule::quick(plan.seed);
    schedule.probes = u64::from(plan.measure.probes_per_pair);
    schedule.interval_us = 1_000_000 / u64::from(plan.measure.rate_per_second.max(1));
    snapshot(lab, out, 0)?;
    let raw = measure_pairs(&pairs, &schedule, |_| ControlFlow::Continue(()))
        .doing("measure the network")?;
    snapshot(lab, out, 1)?;
    let measurement = raw.evaluate(&Default::default());
    let dir = out.join("measure");
    fs::create_dir_all(&dir).doing("keep the measurement")?;
    store_json(&out.join(paths::MATRIX), &measurement)?;
    store_json(&dir.join("table.json"), &measurement)?;
    fs::write(dir.join("table.md"), markdown(&measurement)).doing("keep the measurement")?;
    fs::write(dir.join("table.csv"), csv(&measurement)).doing("keep the measurement")?;
    let samples = fs::File::create(dir.join("samples.jsonl")).doing("keep the samples")?;
    raw.write_to(std::io::BufWriter::new(samples)).doing("keep the samples")?;
    Ok(measurement)
}

fn snapshot(lab: &Lab, out: &Path, which: usize) -> Result<(), RehearsalError> {
    let path = out.join(paths::LINK_SNAPSHOTS[which]);
    fs::create_dir_all(path.parent().unwrap_or(out)).doing("keep the link counters")?;
    store_json(&path, &lab.link_counters())
}

fn store_json(path: &Path, value: &impl serde::Serialize) -> Result<(), RehearsalError> {
    let text = serde_json::to_string_pretty(value).doing("serialise evidence")? + "\n";
    fs::write(path, text).doing(&format!("write {}", path.display()))
}

/// The class of the measured network, and the network for T238.
#[derive(Debug)]
pub(crate) struct Measured {
    class: Class,
    profile: Option<t238::Measured>,
}

impl Measured {
    /// From the samples of an earlier start.
    pub(crate) fn load(out: &Path, plan: &Plan) -> Result<Self, RehearsalError> {
        let samples = fs::File::open(out.join(paths::SAMPLES)).doing("read the samples")?;
        let samples = RawMeasurement::read_from(std::io::BufReader::new(samples));
        map(&samples.doing("read the samples")?.evaluate(&Default::default()), plan, out)
    }
}

fn map(measurement: &Measurement, plan: &Plan, out: &Path) -> Result<Measured, RehearsalError> {
    let pairs: Vec<PairMeasurement> = measurement.measurements();
    let mapping = qbind_links::map(&pairs);
    let mut answer = serde_json::to_value(&mapping).doing("serialise the mapping")?;
    answer["schema"] = json!("qbindctl.map/v1");
    answer["preset"] = json!(mapping.coverage.as_ref().map(|c| c.preset));
    store_json(&out.join("map.json"), &answer)?;
    let stressed = matches!(mapping.class, Class::Lossy | Class::Mixed);
    // In the order they lead.
    let mut validators: Vec<_> = plan.validators().collect();
    validators.sort_by_key(|v| v.validator_id);
    let validators = validators.into_iter().map(|v| v.region.clone()).collect();
    let height_bound = if stressed { 10 } else { 5 };
    let measured = |profile| t238::Measured { profile, validators, height_bound };
    Ok(Measured { class: mapping.class, profile: mapping.custom_profile.map(measured) })
}

fn run_step(
    step: StepId,
    request: &Request,
    plan: &Plan,
    measured: &Measured,
    out: &Path,
) -> Result<(String, String), RehearsalError> {
    let options = StepOptions {
        seed: plan.seed,
        quick: plan.steps.form == StepForm::Short,
        node_binary: Some(request.node_binary.clone()),
        offered_tps: Some(plan.load.rate_per_second),
        measured: measured.profile.clone(),
        ..StepOptions::default()
    };
    let result = qbind_steps::run(step, &options);
    let path = out.join(paths::step(&step.as_str().to_lowercase()));
    fs::create_dir_all(path.parent().unwrap_or(out)).doing("keep a step's result")?;
    store_json(&path, &result)?;
    let mut log = format!("{} {} {} ms\n", result.id, result.verdict, result.duration_ms);
    for (scenario, check) in result.failures() {
        log += &format!("FAILED {}: {check:?}\n", scenario.name);
    }
    fs::write(path.with_file_name("log.txt"), log).doing("keep a step's log")?;
    let sha3 = digest_of(&fs::read(&path).doing("keep a step's result")?);
    Ok((result.verdict.to_string(), sha3))
}

fn live(
    lab: &Lab,
    plan: &Plan,
    network: &NetworkDir,
    runtime: &tokio::runtime::Runtime,
    out: &Path,
    told: &(dyn Fn(&str) + Sync),
) -> Result<(), RehearsalError> {
    let accounts = network.load_accounts().doing("read the load accounts")?;
    let seeds = accounts.iter().map(|a| a.seed).collect();
    let options = load::Options::of_plan(plan, seeds);
    let load = runtime
        .block_on(async { runtime.spawn(Load::prepare(options)).await })
        .doing("prepare the load")?
        .doing("prepare the load")?;
    snapshot(lab, out, 2)?;
    let window = Duration::from_secs(u64::from(plan.live.window_s));
    let (begun, started_unix_ms) = (Instant::now(), unix_ms());
    let dir: Arc<Path> = Arc::from(out);
    let running = runtime.spawn(async move { load.run(&dir).await });
    let faults = faults::carry_out(lab, plan, begun, told);
    std::thread::sleep((begun + window).saturating_duration_since(Instant::now()));
    let mut record = LiveRecord::new(started_unix_ms, unix_ms());
    record.faults = faults;
    snapshot(lab, out, 3)?;
    let path = out.join(paths::LIVE);
    fs::create_dir_all(path.parent().unwrap_or(out)).doing("keep the live record")?;
    store_json(&path, &record)?;
    let summary = runtime.block_on(running).doing("run the load")?.doing("run the load")?;
    told(&format!("load: {} submitted, {} committed", summary.submitted, summary.committed));
    Ok(())
}

/// Whoever moves the bar while the run goes on does not see it judged by another.
fn unmoved(out: &Path, plan: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    match digest_of(&fs::read(out.join(paths::PLAN))?) == plan {
        true => Ok(()),
        false => Err("plan.yaml was changed since the run began: nothing follows from it".into()),
    }
}

/// Whoever gets a bundle refuses one in which something is wrong; so does who made it.
fn sound(bundle: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
    let file = io::BufReader::new(fs::File::open(bundle)?);
    match verify(file, &VerifyOptions::default()).findings.first() {
        None => Ok(()),
        Some(first) => {
            fs::remove_file(bundle)?;
            Err(format!("{first}; it was removed again").into())
        }
    }
}

fn finish(
    request: &Request,
    (name, key): (&str, SecretKey),
    plan: &Plan,
    journal: &Journal,
    started_unix_ms: u64,
) -> Result<Finished, RehearsalError> {
    let out = request.out.as_path();
    unmoved(out, &plan.digest()).doing("judge the run")?;
    let gates = evaluate_dir(out).doing("evaluate the gates")?;
    fs::write(out.join("gates.json"), gates.to_json()).doing("keep the gates")?;
    let controls = match request.controls {
        true => Some(controls(&read_dir(out).doing("read the evidence")?)),
        false => None,
    };
    if let Some(controls) = &controls {
        fs::write(out.join("controls.json"), controls.to_json()).doing("keep the controls")?;
    }
    let subject = |name: &str, path: &Path| {
        let (digest, _) = digest_of_file(path).doing("digest a subject")?;
        Ok::<_, RehearsalError>(Subject { name: name.to_owned(), digest })
    };
    let compared = request.purpose.compared(out)?;
    let mut subjects = vec![
        subject("qbind-node", &request.node_binary)?,
        subject("genesis.json", &out.join(paths::GENESIS))?,
    ];
    subjects.extend(Purpose::subject(out, plan)?);
    let gate_type = match plan.gate_type {
        qbind_plan::GateType::MainnetLaunch => qbind_evidence::GateType::MainnetLaunch,
        qbind_plan::GateType::ClassCUpgrade => qbind_evidence::GateType::ClassCUpgrade,
        qbind_plan::GateType::PostIncident => qbind_evidence::GateType::PostIncident,
    };
    let facts = Facts {
        schema: Facts::SCHEMA.into(),
        run_id: plan.digest().trim_start_matches("0x").chars().take(8).collect(),
        gate_type,
        target: plan.target.clone(),
        form: match plan.form {
            Form::Quick => qbind_evidence::Form::Quick,
            Form::Full => qbind_evidence::Form::Full,
        },
        regions: plan.regions.iter().map(|r| r.id.clone()).collect(),
        started_unix_ms,
        finished_unix_ms: unix_ms(),
        valid_days: VALID_DAYS,
        subjects,
        producer: concat!("qbindctl ", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    facts.store(out).doing("keep the facts")?;
    let mut input = ReportInput::from_dir(out).doing("read the evidence")?;
    input.run.operator = request.operator.clone().into();
    let report = out.join("report.html");
    fs::write(&report, render_html(&input)).doing("write the report")?;
    fs::write(out.join("checklist.md"), render_checklist(&input)).doing("write the checklist")?;
    fs::write(out.join("upgrade-checklist.md"), render_upgrade_checklist(&input))
        .doing("write the upgrade checklist")?;
    fs::write(out.join("report.json"), render_json(&input)).doing("write the report")?;
    fs::write(out.join("report.md"), render_markdown(&input)).doing("write the report")?;
    fs::write(out.join("junit.xml"), render_junit(&input)).doing("write the report")?;
    let verdict = gates.verdict.to_string();
    journal.append("verdict", json!({ "verdict": verdict })).doing("write the journal")?;
    let trusted = TrustedKey {
        name: name.to_owned(),
        operator: request.operator.clone(),
        organisation: "unnamed".to_owned(),
        public_key: key.public_key(),
    };
    let bundle = out.join(facts.bundle_name());
    seal(out, &bundle, &SealOptions { facts: None, signers: &[key] }).doing("seal the bundle")?;
    sound(&bundle).doing("verify the bundle that was just sealed")?;
    let trust = out.join("trust.yaml");
    fs::write(&trust, Trust::new(vec![trusted]).to_yaml()).doing("write the trust file")?;
    Ok(Finished { gates, controls, compared, report, bundle, trust })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_was_changed_judges_nothing() {
        let dir = tempfile::tempdir().expect("a disk");
        let plan = dir.path().join(paths::PLAN);
        fs::write(&plan, "commit_p99_max_ms: 10000\n").expect("a disk");
        let digest = digest_of(&fs::read(&plan).expect("a disk"));
        unmoved(dir.path(), &digest).expect("it is the same");
        fs::write(&plan, "commit_p99_max_ms: 60000\n").expect("a disk");
        let error = unmoved(dir.path(), &digest).expect_err("the bar was moved");
        assert!(error.to_string().contains("plan.yaml was changed"), "{error}");
    }

    #[test]
    fn a_bundle_that_is_not_sound_does_not_stay() {
        let dir = tempfile::tempdir().expect("a disk");
        let bundle = dir.path().join("a.qbundle");
        fs::write(&bundle, "no bundle").expect("a disk");
        let error = sound(&bundle).expect_err("it is none");
        assert!(error.to_string().contains("it was removed again"), "{error}");
        assert!(!bundle.exists());
    }
}
