//! The lab's own counters as Prometheus text.

use crate::{EmulatorSnapshot, LATENESS_BOUNDS_US, LinkSnapshot};
use std::fmt::Write;

/// Upper bounds of the exported delay histogram, in microseconds.
const DELAY_BOUNDS_US: [u64; 16] = [
    500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 50_000, 75_000, 100_000, 125_000, 150_000,
    200_000, 300_000, 500_000, 1_000_000,
];

type Field = fn(&LinkSnapshot) -> u64;

const COUNTERS: [(&str, &str, Field); 4] = [
    ("packets_in_total", "Packets that came to the link.", |l| l.packets_in),
    ("bytes_in_total", "Bytes that came to the link.", |l| l.bytes_in),
    ("packets_delivered_total", "Packets handed to the receiver.", |l| l.delivered),
    ("bytes_delivered_total", "Bytes handed to the receiver.", |l| l.bytes_delivered),
];

const LOSSES: [(&str, Field); 4] = [
    ("random", |l| l.lost_random),
    ("queue", |l| l.lost_queue),
    ("partition", |l| l.lost_partition),
    ("device", |l| l.lost_device),
];

const GAUGES: [(&str, &str, Field); 2] = [
    ("packets_in_flight", "Packets under way.", |l| l.in_flight),
    ("cut", "1 while the link is cut.", |l| u64::from(l.is_cut)),
];

/// The text of a scrape.
pub fn prometheus(snapshot: &EmulatorSnapshot, overruns: u64) -> String {
    let mut out = Text(String::new());
    for (name, help, field) in COUNTERS {
        out.family(name, "counter", help);
        for link in &snapshot.links {
            out.sample(name, link, "", field(link));
        }
    }
    out.family("packets_lost_total", "counter", "Packets lost, by cause.");
    for link in &snapshot.links {
        for (cause, field) in LOSSES {
            out.sample("packets_lost_total", link, &format!(",cause=\"{cause}\""), field(link));
        }
    }
    for (name, help, field) in GAUGES {
        out.family(name, "gauge", help);
        for link in &snapshot.links {
            out.sample(name, link, "", field(link));
        }
    }
    out.family("delay_seconds", "histogram", "Achieved one-way delay of delivered packets.");
    for link in &snapshot.links {
        let bins = || link.datagram_delay_bins.iter().chain(&link.ordered_delay_bins);
        let up_to =
            |bound: u64| bins().filter(|(low, _)| *low < bound).map(|(_, n)| n).sum::<u64>();
        let counts: Vec<_> = DELAY_BOUNDS_US.iter().map(|b| (*b, up_to(*b))).collect();
        out.histogram("delay_seconds", link, &counts, link.delay_sum_us);
    }
    out.family("lateness_seconds", "histogram", "How much later than due packets were delivered.");
    for link in &snapshot.links {
        let mut seen = 0;
        let cumulate = |(bound, n): (&u64, &u64)| {
            seen += n;
            (*bound, seen)
        };
        let counts: Vec<_> =
            LATENESS_BOUNDS_US.iter().zip(&link.lateness_counts).map(cumulate).collect();
        out.histogram("lateness_seconds", link, &counts, link.lateness_sum_us);
    }
    for (name, help, value) in [
        ("unroutable_packets_total", "Packets to addresses nobody has.", snapshot.unroutable),
        ("ignored_packets_total", "Packets that are not IPv4.", snapshot.ignored),
        ("overrun_packets_total", "Packets the kernel dropped before the emulator.", overruns),
    ] {
        out.family(name, "counter", help);
        writeln!(out.0, "qbind_lab_{name} {value}").expect("writing to memory cannot fail");
    }
    let name = "emulator_cpu_seconds_total";
    out.family(name, "counter", "Processor time of the emulator.");
    let cpu = micros(snapshot.cpu_ns / 1_000);
    writeln!(out.0, "qbind_lab_{name} {cpu}").expect("writing to memory cannot fail");
    out.0
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let text = format!("# HELP qbind_lab_{name} {help}\n# TYPE qbind_lab_{name} {kind}\n");
        self.0.push_str(&text);
    }

    fn sample(&mut self, name: &str, link: &LinkSnapshot, labels: &str, value: impl ToString) {
        let LinkSnapshot { from, to, .. } = link;
        let value = value.to_string();
        let text = format!("qbind_lab_{name}{{from=\"{from}\",to=\"{to}\"{labels}}} {value}\n");
        self.0.push_str(&text);
    }

    /// Cumulative `counts` by upper bound, and the rest from the link's own total.
    fn histogram(&mut self, name: &str, link: &LinkSnapshot, counts: &[(u64, u64)], sum_us: u64) {
        let bucket = format!("{name}_bucket");
        for (bound_us, count) in counts {
            self.sample(&bucket, link, &format!(",le=\"{}\"", micros(*bound_us)), count);
        }
        self.sample(&bucket, link, ",le=\"+Inf\"", link.delivered);
        self.sample(&format!("{name}_sum"), link, "", micros(sum_us));
        self.sample(&format!("{name}_count"), link, "", link.delivered);
    }
}

/// Microseconds as seconds, exactly.
fn micros(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scheduling;

    #[test]
    fn every_count_is_exported_under_its_link_and_cause() {
        let link = LinkSnapshot {
            from: "eu".into(),
            to: "us".into(),
            packets_in: 10,
            bytes_in: 1_000,
            delivered: 3,
            bytes_delivered: 300,
            lost_random: 1,
            lost_queue: 2,
            lost_partition: 3,
            lost_device: 0,
            in_flight: 1,
            delay_sum_us: 123_400,
            lateness_sum_us: 90,
            lateness_max_us: 60,
            lateness_counts: vec![1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
            datagram_delay_bins: vec![(400, 1), (35_000, 1)],
            ordered_delay_bins: vec![(35_100, 1)],
            is_cut: true,
            degradation: crate::Degradation::default(),
        };
        let snapshot = EmulatorSnapshot {
            links: vec![link],
            unroutable: 4,
            ignored: 5,
            cpu_ns: 1_500_000_000,
            scheduling: Scheduling::Realtime,
        };
        let text = prometheus(&snapshot, 6);
        for line in [
            "qbind_lab_packets_in_total{from=\"eu\",to=\"us\"} 10",
            "qbind_lab_bytes_delivered_total{from=\"eu\",to=\"us\"} 300",
            "qbind_lab_packets_lost_total{from=\"eu\",to=\"us\",cause=\"partition\"} 3",
            "qbind_lab_packets_in_flight{from=\"eu\",to=\"us\"} 1",
            "qbind_lab_cut{from=\"eu\",to=\"us\"} 1",
            "qbind_lab_delay_seconds_bucket{from=\"eu\",to=\"us\",le=\"0.0005\"} 1",
            "qbind_lab_delay_seconds_bucket{from=\"eu\",to=\"us\",le=\"0.05\"} 3",
            "qbind_lab_delay_seconds_bucket{from=\"eu\",to=\"us\",le=\"+Inf\"} 3",
            "qbind_lab_delay_seconds_sum{from=\"eu\",to=\"us\"} 0.1234",
            "qbind_lab_lateness_seconds_bucket{from=\"eu\",to=\"us\",le=\"0.00005\"} 2",
            "qbind_lab_unroutable_packets_total 4",
            "qbind_lab_overrun_packets_total 6",
            "qbind_lab_emulator_cpu_seconds_total 1.5",
            "# TYPE qbind_lab_lateness_seconds histogram",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
