//! How long a node that was away takes to catch up with a chain under load, on real nodes in the lab.
//!
//! `catch_up MINUTES RATE one-region|tri-region QBIND_NODE`: four validators take RATE transfers a
//! second; one is stopped for so many minutes and started again.

use qbind_lab::{
    Lab, LabConfig,
    network::{CreateOptions, EPOCH_BLOCKS, NetworkProfile, Reach, create},
};
use qbind_plan::{Role, topology::Topology};
use qbind_rehearsal::load::{Load, Options};
use qbind_scrape::Target;
use qbind_types::Network;
use std::{
    error::Error,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

/// Before the stop and after the start, under the same load.
const AROUND: Duration = Duration::from_secs(20);
/// The longest a node may take.
const LONGEST: Duration = Duration::from_secs(300);
/// Blocks behind the others at which it counts as back.
const CLOSE: u64 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [minutes, rate, place, binary] = args.as_slice() else {
        return Err("usage: catch_up MINUTES RATE one-region|tri-region QBIND_NODE".into());
    };
    let away = Duration::from_secs_f64(60.0 * minutes.parse::<f64>()?);
    let rate: u32 = rate.parse()?;
    let dir = tempfile::tempdir()?;
    let network = create(&CreateOptions {
        topology: topology(place)?,
        out: dir.path().join("network"),
        profile: NetworkProfile::Mainnet,
        load_accounts: 64,
        epoch_blocks: EPOCH_BLOCKS,
        reach: Reach::Lab,
    })?;
    let seeds = network.load_accounts()?.iter().map(|a| a.seed).collect();
    let node_binary = PathBuf::from(binary).canonicalize()?;
    let lab = Lab::up(LabConfig { dir: network.dir().into(), node_binary, env: Vec::new() })?;
    lab.wait_ready(Duration::from_secs(60), |_, _| true)?;
    let targets: Vec<Target> = lab
        .nodes()
        .iter()
        .map(|node| Target {
            name: node.name.clone(),
            region: node.region.clone(),
            role: Role::Validator,
            http: node.http.to_string(),
        })
        .collect();
    let options = Options {
        network: Network::Mainnet,
        rate_per_second: rate,
        window: away + 2 * AROUND + LONGEST,
        drain: Duration::from_secs(30),
        resubmit_after: Duration::from_secs(10),
        timeout: Duration::from_secs(3),
        follow_poll: Duration::from_millis(50),
        accounts: seeds,
        followed: targets[..1].to_vec(),
        targets,
        amount: 1,
        gas_limit: 50_000,
        max_fee_per_gas: 1,
    };
    let runtime = lab.ops_runtime(2)?;
    let load = runtime.block_on(async { runtime.spawn(Load::prepare(options)).await })??;
    let progress = load.progress();
    let out = dir.path().to_owned();
    let running = runtime.spawn(async move { load.run(&out).await });
    let names: Vec<String> = lab.nodes().iter().map(|n| n.name.clone()).collect();
    let (gone, others) = names.split_last().ok_or("no nodes")?;
    let watch = Watch { lab: &lab, others };
    watch.through(AROUND)?;
    let (height, committed) = (watch.highest(), progress().committed);
    lab.stop(gone)?;
    println!("{gone} stopped at height {height}, {rate} transfers a second go on");
    let slowest = watch.through(away)?;
    let (tip, missed) = (watch.highest(), progress().committed - committed);
    println!(
        "others: {} blocks, {missed} transfers committed in {} s, longest pause {:.1} s",
        tip - height,
        away.as_secs(),
        slowest.as_secs_f64()
    );
    let started = Instant::now();
    lab.start(gone)?;
    let mut reached_tip = None;
    loop {
        let (own, tip_now) = (watch.height(gone).unwrap_or(0), watch.highest());
        if own >= tip && reached_tip.is_none() {
            reached_tip = Some(started.elapsed());
        }
        if own + CLOSE >= tip_now {
            break;
        }
        if started.elapsed() > LONGEST {
            println!("{gone} is at {own} of {tip_now} after {} s", LONGEST.as_secs());
            return Err("it does not catch up".into());
        }
        thread::sleep(Duration::from_millis(100));
    }
    let took = started.elapsed().as_secs_f64();
    let first = reached_tip.unwrap_or_default().as_secs_f64();
    println!(
        "{gone} back: everything it missed after {first:.1} s, within {CLOSE} blocks of the others \
         after {took:.1} s"
    );
    let slowest = watch.through(AROUND)?;
    println!("others meanwhile and after: longest pause {:.1} s", slowest.as_secs_f64());
    running.abort();
    lab.down()?;
    Ok(())
}

/// Four validators: more would leave no room on two cores for what is measured.
fn topology(place: &str) -> Result<Topology, Box<dyn Error>> {
    if place == "one-region" {
        return Ok(Topology::generated(4, 1)?);
    }
    let mut topology = Topology::load("standard-tri-region")?;
    for (region, validators) in topology.regions.iter_mut().zip([2, 1, 1]) {
        (region.validators, region.rpc) = (validators, 0);
    }
    Ok(topology)
}

struct Watch<'a> {
    lab: &'a Lab,
    others: &'a [String],
}

impl Watch<'_> {
    fn height(&self, node: &str) -> Option<u64> {
        let http = self.lab.node(node).ok()?.http;
        let reply = self.lab.http().get(http, "/v1/status", Duration::from_secs(2)).ok()?;
        reply.json()?["height"].as_u64()
    }

    fn highest(&self) -> u64 {
        self.others.iter().filter_map(|n| self.height(n)).max().unwrap_or(0)
    }

    /// The longest time the others' chain stood still.
    fn through(&self, time: Duration) -> Result<Duration, Box<dyn Error>> {
        let until = Instant::now() + time;
        let (mut last, mut since, mut longest) = (self.highest(), Instant::now(), Duration::ZERO);
        while Instant::now() < until {
            thread::sleep(Duration::from_millis(100));
            let now = self.highest();
            if now > last {
                longest = longest.max(since.elapsed());
                (last, since) = (now, Instant::now());
            }
            if since.elapsed() > Duration::from_secs(30) {
                return Err("the others stand still".into());
            }
        }
        Ok(longest)
    }
}
