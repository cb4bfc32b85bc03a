//! The directed pairs of a running lab: each prober lives in the namespace of its region.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};
use qbind_lab::Privilege;
use qbind_lab::supervisor::{Client, ControlError, PlaceStatus};
use qbind_measure::{Enter, Pair};

use super::{Failure, UNKNOWN, USAGE};

/// One region, and the address of a node in it.
struct Region {
    name: String,
    address: Ipv4Addr,
    enter: Enter,
}

pub(super) fn pairs(dir: &Path) -> Result<Vec<Pair>, Failure> {
    let mut client = Client::connect(dir).map_err(|error| failed(&error))?;
    let status = client.status().map_err(|error| failed(&error))?;
    let mut addresses = BTreeMap::new();
    for node in &status.nodes {
        if let IpAddr::V4(address) = node.info.ip {
            addresses.entry(node.info.region.clone()).or_insert(address);
        }
    }
    let mut regions = Vec::new();
    let mut is_inside = false;
    for (name, address) in addresses {
        let place = client.place(&name).map_err(|error| failed(&error))?;
        if place.privilege == Privilege::UserNamespace && !is_inside {
            enter_user_namespace(&place)?;
            is_inside = true;
        }
        regions.push(Region { enter: enter(&place)?, name, address });
    }
    let mut pairs = Vec::new();
    for from in &regions {
        for to in regions.iter().filter(|to| to.name != from.name) {
            pairs.push(Pair {
                from: from.name.clone(),
                to: to.name.clone(),
                source: from.address,
                target: to.address,
                enter: Some(Arc::clone(&from.enter)),
            });
        }
    }
    Ok(pairs)
}

/// Every thread of this process follows: none runs yet, those that read a bundle have ended.
fn enter_user_namespace(place: &PlaceStatus) -> Result<(), Failure> {
    let path = format!("/proc/{}/ns/user", place.pid);
    let enter =
        || -> std::io::Result<()> { Ok(setns(File::open(&path)?, CloneFlags::CLONE_NEWUSER)?) };
    enter().map_err(|error| Failure {
        message: format!("cannot enter the lab's user namespace {path}: {error}"),
        code: USAGE,
    })
}

fn enter(place: &PlaceStatus) -> Result<Enter, Failure> {
    let path = format!("/proc/{}/fd/{}", place.pid, place.fd);
    let namespace = File::open(&path).map_err(|error| Failure {
        message: format!("cannot open the lab's namespace {path}: {error}; run as who started it"),
        code: USAGE,
    })?;
    Ok(Arc::new(move || Ok(setns(&namespace, CloneFlags::CLONE_NEWNET)?)))
}

fn failed(error: &ControlError) -> Failure {
    let code = match error {
        ControlError::NotUp { .. } => USAGE,
        _ => UNKNOWN,
    };
    Failure::caused(error, code)
}
