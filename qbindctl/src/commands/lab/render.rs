//! Tables for people.

use qbind_lab::{EmulatorSnapshot, NodeState, supervisor::Status};
use tabled::{builder::Builder, settings::Style};

pub(super) fn status(status: &Status) -> String {
    let mut table = Builder::new();
    let head = ["NODE", "REGION", "ROLE", "ID", "ADDRESS", "ASN", "PROCESS", "READY"];
    table.push_record(head.into_iter().chain(["HEIGHT", "VIEW", "PEERS"]));
    for node in &status.nodes {
        let info = &node.info;
        let field = |name: &str| {
            let value = node.status.as_ref().and_then(|s| s.get(name));
            value.map_or_else(|| "-".to_owned(), ToString::to_string)
        };
        table.push_record([
            info.name.clone(),
            info.region.clone(),
            info.role.as_str().to_owned(),
            info.validator_id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
            info.ip.to_string(),
            info.asn.to_string(),
            state(&node.process),
            if node.is_ready { "yes" } else { "no" }.to_owned(),
            field("height"),
            field("view"),
            field("peers"),
        ]);
    }
    let mut text = format!(
        "topology {} · supervisor {}\n{}",
        status.topology,
        status.pid,
        table.build().with(Style::blank())
    );
    for harm in &status.harm {
        text += &format!("\nlink {harm}");
    }
    if status.overruns > 0 {
        text += &format!("\nthe emulator missed {} packets: delays are not sound", status.overruns);
    }
    text
}

pub(super) fn state(state: &NodeState) -> String {
    match state {
        NodeState::Created => "not started".to_owned(),
        NodeState::Running { pid } => format!("running ({pid})"),
        NodeState::Killed => "killed".to_owned(),
        NodeState::Stopped { status } => format!("stopped ({status})"),
        NodeState::Exited { status } => format!("ended ({status})"),
    }
}

pub(super) fn counters(snapshot: &EmulatorSnapshot) -> String {
    let mut table = Builder::new();
    table.push_record([
        "LINK",
        "PACKETS",
        "BYTES",
        "DELIVERED",
        "RANDOM",
        "QUEUE",
        "CUT",
        "DEVICE",
        "FLYING",
        "P50 MS",
    ]);
    for link in &snapshot.links {
        let p50 = link.datagram_delay_us(50);
        table.push_record([
            link.id(),
            link.packets_in.to_string(),
            link.bytes_in.to_string(),
            link.delivered.to_string(),
            link.lost_random.to_string(),
            link.lost_queue.to_string(),
            link.lost_partition.to_string(),
            link.lost_device.to_string(),
            link.in_flight.to_string(),
            p50.map_or_else(|| "-".to_owned(), |us| format!("{}.{}", us / 1_000, us % 1_000 / 100)),
        ]);
    }
    format!("{}", table.build().with(Style::blank()))
}
