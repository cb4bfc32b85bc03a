//! The planned harm of the live window, carried out at its time.

use qbind_lab::{Degradation, Lab, LinkSelection};
use qbind_plan::{ExecutedFault, FaultKind, Plan, PlannedFault};
use serde::Deserialize;
use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Unix milliseconds.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Carries out all faults of the plan, one after the other; `started` is the window's start.
pub(crate) fn carry_out(
    lab: &Lab,
    plan: &Plan,
    started: Instant,
    told: &(dyn Fn(&str) + Sync),
) -> Vec<ExecutedFault> {
    let mut done = Vec::new();
    for fault in &plan.faults {
        let due = started + Duration::from_millis(fault.at_ms);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        told(&format!("fault {}: {}", fault.id, fault.note));
        // Whom to kill is found out first: the fault begins with the kill.
        let victim = match fault.kind {
            FaultKind::KillLeader => leader(lab, plan).map(Some),
            _ => Ok(None),
        };
        let from_unix_ms = unix_ms();
        let outcome = victim.and_then(|victim| one(lab, fault, victim));
        let (nodes, note) = match outcome {
            Ok(nodes) => (nodes, String::new()),
            Err(note) => (Vec::new(), note),
        };
        done.push(ExecutedFault {
            id: fault.id.clone(),
            nodes,
            from_unix_ms,
            healed_unix_ms: unix_ms(),
            done: note.is_empty(),
            note,
        });
    }
    done
}

fn one(lab: &Lab, fault: &PlannedFault, victim: Option<String>) -> Result<Vec<String>, String> {
    let pause = Duration::from_millis(fault.duration_ms);
    let text = |error: &dyn std::error::Error| error.to_string();
    match fault.kind {
        FaultKind::KillLeader => {
            let victim = victim.ok_or("there is nobody to kill")?;
            lab.kill(&victim).map_err(|e| text(&e))?;
            thread::sleep(pause);
            lab.start(&victim).map_err(|e| text(&e))?;
            Ok(vec![victim])
        }
        FaultKind::CutRegion => {
            let region = fault.region.clone().ok_or("the plan names no region")?;
            let links = LinkSelection::Region(region);
            lab.partition(&links).map_err(|e| text(&e))?;
            thread::sleep(pause);
            lab.heal(&links).map_err(|e| text(&e))?;
            Ok(fault.affected.clone())
        }
        FaultKind::LossBurst => {
            let (from, to) = fault.from.clone().zip(fault.to.clone()).ok_or("no link named")?;
            let both = [(&from, &to), (&to, &from)]
                .map(|(a, b)| LinkSelection::Direction { from: a.clone(), to: b.clone() });
            let loss_bps = fault.loss_bps.unwrap_or(0);
            for links in &both {
                let harm = Degradation { delay_us: 0, jitter_us: 0, loss_bps };
                lab.degrade(links, harm).map_err(|e| text(&e))?;
            }
            thread::sleep(pause);
            for links in &both {
                lab.heal(links).map_err(|e| text(&e))?;
            }
            Ok(fault.affected.clone())
        }
    }
}

#[derive(Deserialize)]
struct Status {
    view: u64,
}

/// The validator that leads the view under way, as far as any node tells.
fn leader(lab: &Lab, plan: &Plan) -> Result<String, String> {
    let views = plan.nodes.iter().filter_map(|node| {
        let address: SocketAddr = node.http.parse().ok()?;
        let reply = lab.http().get(address, "/v1/status", Duration::from_secs(2)).ok()?;
        serde_json::from_slice::<Status>(&reply.body).ok().map(|s| s.view)
    });
    let view = views.max().ok_or("no node tells its view")?;
    // Validators lead in the order of their ids; the block of `view` is executed, the next is
    // certified or about to be, the one after is being proposed.
    let mut validators: Vec<_> = plan.validators().collect();
    validators.sort_by_key(|v| v.validator_id);
    let at = (view + 2) % validators.len() as u64;
    let at = usize::try_from(at).map_err(|e| e.to_string())?;
    Ok(validators[at].name.clone())
}
