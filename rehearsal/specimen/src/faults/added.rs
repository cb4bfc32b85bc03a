//! Gates that a plan adds, each with metrics that break it and metrics that do not quite.

use super::*;
use qbind_gates::series::Names;
use qbind_plan::Plan;

/// Lines of `/metrics` of a node, by the number of the scrape: one each five seconds, of which 2 to 20 are judged.
type Lines = fn(&str, u64) -> String;

/// Adds one gate, `X1`, hard if nothing else is said, and what all nodes export of its metrics.
fn add(e: &mut Evidence, gate: &str, lines: Lines) {
    let severity = if gate.contains("severity") { "" } else { "severity: hard, " };
    add_all(e, &format!("  - {{ id: X1, title: added, {severity}{gate} }}\n"), lines);
}

fn add_all(e: &mut Evidence, gates: &str, lines: Lines) {
    let plan = e.plan.as_ref().unwrap().to_yaml() + "added_gates:\n" + gates;
    let plan = Plan::parse("plan.yaml", &plan).unwrap();
    let names = Names::with(&plan.added_gates);
    for (node, scrapes) in &mut e.scrapes {
        for scrape in scrapes.iter_mut().filter(|scrape| scrape.samples.is_some()) {
            let view = 6 + scrape.seq * 5_000 / Shape::SMALL.block_ms;
            let body = metrics(4, view, "0") + &lines(node, scrape.seq);
            scrape.samples = Some(names.parse(&body).unwrap());
        }
    }
    e.plan = Some(plan);
}

/// A sound run whose plan adds a gate for every fact and either bound that it can break, each of a metric of its
/// own: all pass.
pub fn sound_with_added_gates() -> Evidence {
    const FACTS: [(&str, &str); 8] = [
        ("instant", "100"),
        ("delta", "900"),
        ("rate", "10"),
        ("p50", "0.5"),
        ("p90", "0.5"),
        ("p99", "0.5"),
        ("spread", "1"),
        ("without_progress", "5"),
    ];
    fn lines(node: &str, seq: u64) -> String {
        let spread = if node == "eu-v1" { 99 } else { 100 };
        let of = |side: &str| {
            let gauges = format!("instant_{side} 100\nspread_{side} {spread}\n");
            let counters = ["delta", "rate", "without_progress"];
            let counters =
                counters.map(|fact| work(seq).replace("work_total", &format!("{fact}_{side}")));
            let histograms = ["p50", "p90", "p99"];
            // Each quantile lies in the second bucket.
            let counts = [("0.1", 200 * seq), ("0.5", 1_000 * seq), ("+Inf", 1_000 * seq)];
            let histograms = histograms
                .map(|fact| buckets(counts).replace("write_seconds", &format!("{fact}_{side}")));
            gauges + &counters.concat() + &histograms.concat()
        };
        of("at_least") + &of("at_most")
    }
    let mut gates = String::new();
    for (n, (fact, bound)) in (0..).zip(FACTS) {
        for (id, side) in [(2 * n + 1, "at_least"), (2 * n + 2, "at_most")] {
            // What a node has for less than the whole window is less than the bound.
            let bound = match (fact, side) {
                ("delta", "at_least") => "100",
                ("without_progress", "at_most") => "12",
                ("p50" | "p90" | "p99", "at_least") => "0.1",
                _ => bound,
            };
            let metric = format!("{fact}_{side}");
            if metric == "without_progress_at_least" {
                continue; // Nothing could break it.
            }
            gates += &format!(
                "  - {{ id: X{id}, title: {metric}, severity: hard, fact: {fact}, metric: {metric}, {side}: {bound} }}\n"
            );
        }
    }
    let mut evidence = sound();
    add_all(&mut evidence, &gates, lines);
    evidence
}

/// A gauge of one node that differs in these scrapes.
fn gauge(node: &str, seq: u64, (which, seqs): (&str, &[u64]), then: &str, else_: &str) -> String {
    match if node == which && seqs.contains(&seq) { then } else { else_ } {
        "none" => String::new(),
        value => format!("probe {value}\n"),
    }
}

/// A counter that grows by ten each second.
fn work(seq: u64) -> String {
    format!("work_total {}\n", 50 * seq)
}

/// A thousand observations each scrape: 800 of at most 0.1, the others of at most 0.5.
fn writes(seq: u64) -> String {
    buckets([("0.1", 800 * seq), ("0.5", 1_000 * seq), ("+Inf", 1_000 * seq)])
}

fn buckets<const N: usize>(counts: [(&str, u64); N]) -> String {
    let line = |(le, count)| format!("write_seconds_bucket{{le=\"{le}\"}} {count}\n");
    let count = counts.last().map_or(0, |(_, count)| *count);
    let lines: String = counts.into_iter().map(line).collect();
    format!(
        "# TYPE write_seconds histogram\n{lines}write_seconds_count {count}\nwrite_seconds_sum 1\n"
    )
}

const INSTANT: &str = "fact: instant, metric: probe, at_most: 5";

fn instant() -> Cases {
    fn at(e: &mut Evidence, policy: &str, lines: Lines) {
        add(e, &format!("{INSTANT}, policy: {{ {policy} }}"), lines);
    }
    vec![
        ("at its bound", "", |e| add(e, INSTANT, |_, _| "probe 5\n".into())),
        ("above it in one scrape", "X1 FAIL", |e| {
            add(e, INSTANT, |n, s| gauge(n, s, ("ap-v1", &[6]), "5.000001", "5"));
        }),
        ("above it, which is only noted", "X1 FAIL", |e| {
            let gate = format!("severity: informational, {INSTANT}");
            add(e, &gate, |_, _| "probe 6\n".into());
        }),
        ("above it in the warm-up", "", |e| {
            add(e, INSTANT, |n, s| gauge(n, s, ("ap-v1", &[0, 1]), "6", "5"));
        }),
        ("above it in a cut", "", |e| {
            add(e, INSTANT, |n, s| gauge(n, s, ("ap-v1", &[14, 15, 16]), "6", "5"));
        }),
        ("as many breaches as are forgiven", "", |e| {
            at(e, "breaches: 2", |n, s| gauge(n, s, ("ap-v1", &[4, 6]), "6", "5"));
        }),
        ("one breach more", "X1 FAIL", |e| {
            at(e, "breaches: 2", |n, s| gauge(n, s, ("ap-v1", &[4, 6, 8]), "6", "5"));
        }),
        ("a share that is forgiven", "", |e| {
            let policy = "breaches: 5, breaches_max_permille: 200";
            at(e, policy, |n, s| gauge(n, s, ("ap-v1", &[4, 6]), "6", "5"));
        }),
        ("a share alone", "", |e| {
            let policy = "breaches_max_permille: 200";
            at(e, policy, |n, s| gauge(n, s, ("ap-v1", &[4, 6]), "6", "5"));
        }),
        ("a larger share", "X1 FAIL", |e| {
            let policy = "breaches: 5, breaches_max_permille: 199";
            at(e, policy, |n, s| gauge(n, s, ("ap-v1", &[4, 6]), "6", "5"));
        }),
        ("a breach that does not last", "", |e| {
            at(e, "for_s: 10", |n, s| gauge(n, s, ("ap-v1", &[4, 5, 7, 8]), "6", "5"));
        }),
        ("a breach that lasts", "X1 FAIL", |e| {
            at(e, "for_s: 10", |n, s| gauge(n, s, ("ap-v1", &[5, 6, 7]), "6", "5"));
        }),
        ("a forgiven breach at the end", "X1 FAIL", |e| {
            let policy = "breaches: 2, passes_at_end: 2";
            at(e, policy, |n, s| gauge(n, s, ("ap-v1", &[19]), "6", "5"));
        }),
        ("a forgiven breach just before", "", |e| {
            let policy = "breaches: 2, passes_at_end: 2";
            at(e, policy, |n, s| gauge(n, s, ("ap-v1", &[18]), "6", "5"));
        }),
        ("fewer scrapes than must pass at the end", "X1 UNKNOWN", |e| {
            at(e, "passes_at_end: 20", |_, _| "probe 5\n".into());
        }),
        ("no series once", "X1 UNKNOWN", |e| {
            at(e, "", |n, s| gauge(n, s, ("ap-v1", &[7]), "none", "5"));
        }),
        ("no series, which fails", "X1 FAIL", |e| {
            at(e, "no_series: fail", |n, s| gauge(n, s, ("ap-v1", &[7]), "none", "5"));
        }),
        ("not a number", "X1 UNKNOWN", |e| {
            at(e, "", |n, s| gauge(n, s, ("ap-v1", &[7]), "NaN", "5"));
        }),
        ("too large to be exact", "X1 UNKNOWN", |e| {
            at(e, "", |n, s| gauge(n, s, ("ap-v1", &[7]), "1e16", "5"));
        }),
        ("not a number, which fails", "X1 FAIL", |e| {
            at(e, "not_a_number: fail", |n, s| gauge(n, s, ("ap-v1", &[7]), "+Inf", "5"));
        }),
        ("a scrape that failed is no breach", "", |e| {
            at(e, "no_series: fail", |_, _| "probe 5\n".into());
            e.scrapes.get_mut("ap-v1").unwrap()[7].samples = None;
        }),
        ("no scrape at all", "G1 UNKNOWN, G2 UNKNOWN, G6 UNKNOWN, G9 UNKNOWN, X1 UNKNOWN", |e| {
            at(e, "", |_, _| "probe 5\n".into());
            for scrape in e.scrapes.get_mut("ap-v1").unwrap() {
                scrape.samples = None;
            }
        }),
    ]
}

fn selected() -> Cases {
    const TWO: Lines = |_, _| "probe{side=\"a\"} 4\nprobe{side=\"b\"} 3.5\n".into();
    const ROLES: Lines = |node, _| format!("probe {}\n", if node.contains("rpc") { 6 } else { 5 });
    vec![
        ("several series", "X1 UNKNOWN", |e| add(e, INSTANT, TWO)),
        ("their sum", "X1 FAIL", |e| {
            add(e, &format!("{INSTANT}, policy: {{ several: sum }}"), TWO)
        }),
        ("the largest of them", "", |e| {
            add(e, &format!("{INSTANT}, policy: {{ several: largest }}"), TWO);
        }),
        ("the smallest of them", "X1 FAIL", |e| {
            let gate = "fact: instant, metric: probe, at_least: 4, policy: { several: smallest }";
            add(e, gate, TWO);
        }),
        ("the one with a label", "", |e| {
            add(e, "fact: instant, metric: probe, labels: { side: a }, at_least: 4", TWO);
        }),
        ("a label that no series has", "X1 UNKNOWN", |e| {
            add(e, "fact: instant, metric: probe, labels: { side: c }, at_least: 4", TWO);
        }),
        ("a node that is not meant", "", |e| {
            add(e, &format!("{INSTANT}, whose: validators"), ROLES)
        }),
        ("the node that is meant", "X1 FAIL", |e| add(e, &format!("{INSTANT}, whose: rpc"), ROLES)),
        ("a negative bound", "", |e| {
            add(e, "fact: instant, metric: probe, at_least: -2.5", |_, _| "probe -2.5\n".into());
        }),
        ("below a negative bound", "X1 FAIL", |e| {
            add(e, "fact: instant, metric: probe, at_least: -2.5", |_, _| {
                "probe -2.500001\n".into()
            });
        }),
        ("a metric whose name begins like another", "X1 UNKNOWN", |e| {
            add(e, INSTANT, |_, _| "probe_total 5\n".into());
        }),
        ("nodes apart by the bound", "", |e| {
            add(e, "fact: spread, metric: probe, at_most: 3", |n, s| {
                gauge(n, s, ("ap-v1", &[5, 6]), "8", "5")
            });
        }),
        ("nodes further apart", "X1 FAIL", |e| {
            add(e, "fact: spread, metric: probe, at_most: 3", |n, s| {
                gauge(n, s, ("ap-v1", &[5]), "1", "5")
            });
        }),
        ("rounds that count backwards", "X1 FAIL", |e| {
            add(e, "fact: spread, metric: probe, at_most: 3", |n, s| {
                gauge(n, s, ("ap-v1", &[5]), "1", "5")
            });
            for scrape in e.scrapes.values_mut().flatten() {
                scrape.seq = 20 - scrape.seq;
            }
        }),
        ("a node that was asked in other rounds", "X1 UNKNOWN", |e| {
            add(e, "fact: spread, metric: probe, at_most: 3", |n, _| {
                format!("probe {}\n", if n == "ap-v1" { 99 } else { 5 })
            });
            for scrape in e.scrapes.get_mut("ap-v1").unwrap() {
                scrape.seq += 500;
            }
        }),
        ("a node that was asked another time", "X1 UNKNOWN", |e| {
            add(e, "fact: spread, metric: probe, at_most: 3", |_, _| "probe 5\n".into());
            for scrape in e.scrapes.get_mut("ap-v1").unwrap() {
                scrape.at_unix_ms += 5_001;
            }
        }),
        ("one of them says nothing", "X1 UNKNOWN", |e| {
            add(e, "fact: spread, metric: probe, at_most: 3", |n, s| {
                gauge(n, s, ("ap-v1", &[5]), "none", "5")
            });
        }),
    ]
}

fn grown() -> Cases {
    const RESTARTED: Lines = |n, s| match n == "ap-v1" && s >= 8 {
        true => work(s - 8),
        false => work(s),
    };
    const STUCK: Lines = |n, s| match n == "ap-v1" && (3..7).contains(&s) {
        true => work(3),
        false => work(s),
    };
    vec![
        ("grows by the bound", "", |e| {
            add(e, "fact: delta, metric: work_total, at_most: 900", |_, s| work(s));
        }),
        ("grows by more", "X1 FAIL", |e| {
            add(e, "fact: delta, metric: work_total, at_most: 899.999999", |_, s| work(s));
        }),
        ("grows by less", "X1 FAIL", |e| {
            add(e, "fact: delta, metric: work_total, at_least: 901", |_, s| work(s));
        }),
        ("as fast as the bounds", "", |e| {
            let gate = "fact: rate, metric: work_total, at_least: 10, at_most: 10";
            add(e, gate, |_, s| work(s));
        }),
        ("faster", "X1 FAIL", |e| {
            add(e, "fact: rate, metric: work_total, at_most: 9.999999", |_, s| work(s));
        }),
        ("slower", "X1 FAIL", |e| {
            add(e, "fact: rate, metric: work_total, at_least: 10.000001", |_, s| work(s));
        }),
        ("a counter that falls", "X1 UNKNOWN", |e| {
            add(e, "fact: rate, metric: work_total, at_least: 1", RESTARTED);
        }),
        ("a counter that falls, which fails", "X1 FAIL", |e| {
            let gate = "fact: rate, metric: work_total, at_least: 1, policy: { reset: fail }";
            add(e, gate, RESTARTED);
        }),
        ("a counter that began again", "", |e| {
            let gate = "fact: delta, metric: work_total, at_most: 900, policy: { reset: restart }";
            add(e, gate, RESTARTED);
        }),
        ("a series falls while another rises", "X1 UNKNOWN", |e| {
            let gate = "fact: delta, metric: work_total, at_most: 20, policy: { several: sum }";
            add(e, gate, |n, s| match n == "ap-v1" && s >= 8 {
                true => "work_total{of=\"a\"} 0\nwork_total{of=\"b\"} 1005\n".into(),
                false => "work_total{of=\"a\"} 1000\nwork_total{of=\"b\"} 0\n".into(),
            });
        }),
        ("a series comes and goes", "X1 UNKNOWN", |e| {
            let gate = "fact: delta, metric: work_total, at_most: 9, policy: { several: largest }";
            add(e, gate, |n, s| match n == "ap-v1" && s == 7 {
                true => "work_total{of=\"b\"} 0\n".into(),
                false => "work_total{of=\"a\"} 5\nwork_total{of=\"b\"} 0\n".into(),
            });
        }),
        ("the sum of what two series grew", "X1 FAIL", |e| {
            let gate = "fact: delta, metric: work_total, at_most: 900, policy: { several: sum }";
            add(e, gate, |_, s| work(s) + &work(s).replace("total", "total{of=\"b\"}"));
        }),
        ("goes back, which is no progress", "X1 UNKNOWN", |e| {
            let gate = "fact: without_progress, metric: work_total, at_most: 20";
            add(e, gate, |n, s| work(if n == "ap-v1" { 100 - s } else { s }));
        }),
        ("goes back, which fails", "X1 FAIL", |e| {
            let gate =
                "fact: without_progress, metric: work_total, at_most: 20, policy: { reset: fail }";
            add(e, gate, |n, s| work(if n == "ap-v1" { 100 - s } else { s }));
        }),
        ("goes back and begins again", "", |e| {
            let gate = "fact: without_progress, metric: work_total, at_most: 20, policy: { reset: restart }";
            add(e, gate, |n, s| work(if n == "ap-v1" && s > 7 { s - 7 } else { s }));
        }),
        ("stands still for as long as allowed", "", |e| {
            add(e, "fact: without_progress, metric: work_total, at_most: 20", STUCK);
        }),
        ("stands still for longer", "X1 FAIL", |e| {
            add(e, "fact: without_progress, metric: work_total, at_most: 19.999999", STUCK);
        }),
        ("stands still in a cut", "", |e| {
            let gate = "fact: without_progress, metric: work_total, at_most: 12";
            add(e, gate, |n, s| match n == "ap-v1" && (14..17).contains(&s) {
                true => work(13),
                false => work(s),
            });
        }),
    ]
}

fn quantiles() -> Cases {
    const LARGE: Lines = |_, s| buckets([("0.1", 0), ("0.5", 100 * s), ("+Inf", 300 * s)]);
    fn of(e: &mut Evidence, gate: &str, lines: Lines) {
        add(e, &format!("metric: write_seconds, {gate}"), lines);
    }
    vec![
        ("a median in the first bucket", "", |e| {
            of(e, "fact: p50, at_most: 0.1", |_, s| writes(s));
        }),
        ("a bound within its bucket", "X1 UNKNOWN", |e| {
            of(e, "fact: p50, at_most: 0.09", |_, s| writes(s));
        }),
        ("a bound below all that is known", "X1 UNKNOWN", |e| {
            of(e, "fact: p50, at_least: -1", |_, s| writes(s));
        }),
        ("a 90th percentile in the second", "", |e| {
            of(e, "fact: p90, at_least: 0.1, at_most: 0.5", |_, s| writes(s));
        }),
        ("a larger 90th percentile", "X1 FAIL", |e| {
            of(e, "fact: p90, at_most: 0.1", |_, s| writes(s));
        }),
        ("a 99th percentile below the bound", "X1 FAIL", |e| {
            of(e, "fact: p99, at_least: 0.5", |_, s| writes(s));
        }),
        ("a 99th percentile, one observation in a hundred", "", |e| {
            of(e, "fact: p99, at_most: 0.1", |_, s| {
                buckets([("0.1", 990 * s), ("0.5", 1_000 * s), ("+Inf", 1_000 * s)])
            });
        }),
        ("one more than in a hundred", "X1 FAIL", |e| {
            of(e, "fact: p99, at_most: 0.1", |_, s| {
                buckets([("0.1", 989 * s), ("0.5", 1_000 * s), ("+Inf", 1_000 * s)])
            });
        }),
        ("too few observations", "X1 UNKNOWN", |e| {
            of(e, "fact: p99, at_most: 0.1", |_, s| buckets([("0.1", s), ("+Inf", s)]));
        }),
        ("above every edge, and the bound below them", "X1 FAIL", |e| {
            of(e, "fact: p99, at_most: 0.5", LARGE);
        }),
        ("above every edge, and so the bound", "X1 UNKNOWN", |e| {
            of(e, "fact: p99, at_most: 0.6", LARGE);
        }),
        ("above every edge, as is asked", "", |e| of(e, "fact: p99, at_least: 0.5", LARGE)),
        ("no last bucket", "X1 UNKNOWN", |e| {
            of(e, "fact: p50, at_most: 0.1", |_, s| {
                buckets([("0.1", 800 * s), ("0.5", 1_000 * s)])
            });
        }),
        ("a bucket that is not always there", "X1 UNKNOWN", |e| {
            of(e, "fact: p50, at_most: 0.1", |_, s| match s {
                7 => buckets([("0.1", 800 * s), ("+Inf", 1_000 * s)]),
                _ => writes(s),
            });
        }),
        ("a bucket twice", "X1 UNKNOWN", |e| {
            of(e, "fact: p50, at_most: 1", |_, s| {
                buckets([("1", 800 * s), ("1.0", 800 * s), ("+Inf", 1_000 * s)])
            });
        }),
        ("nothing observed", "X1 UNKNOWN", |e| {
            of(e, "fact: p50, at_most: 0.1", |_, _| writes(1));
        }),
        ("buckets that contradict", "X1 UNKNOWN", |e| {
            of(e, "fact: p50, at_most: 0.1", |_, s| {
                buckets([("0.1", 800 * s), ("0.5", 700 * s), ("+Inf", 1_000 * s)])
            });
        }),
        ("an edge that is no number", "X1 FAIL", |e| {
            let gate = "fact: p50, at_most: 1, policy: { not_a_number: fail }";
            of(e, gate, |_, s| buckets([("small", 800 * s), ("+Inf", 1_000 * s)]));
        }),
        ("a wrong edge beside several histograms", "X1 FAIL", |e| {
            let gate = "fact: p50, at_most: 1, policy: { not_a_number: fail }";
            of(e, gate, |_, s| {
                writes(s).replace("le=", "of=\"a\",le=") + &buckets([("1e0", s), ("+Inf", s)])
            });
        }),
        ("counts below nothing", "X1 UNKNOWN", |e| {
            of(e, "fact: p99, at_most: 9007199254, policy: { reset: restart }", |_, s| {
                let n = (1u64 << 53) * (s % 2);
                let body = buckets([("-9007199254", 0), ("9007199254", n), ("+Inf", n)]);
                if s < 8 { body.replace(&format!("}} {n}"), &format!("}} -{n}")) } else { body }
            });
        }),
        ("the largest counts there are, again and again", "", |e| {
            of(e, "fact: p99, at_most: 9007199254, policy: { reset: restart }", |_, s| {
                let n = (1u64 << 53) * (s % 2);
                buckets([("-9007199254", 0), ("9007199254", n), ("+Inf", n)])
            });
        }),
        ("two histograms where one is expected", "X1 UNKNOWN", |e| {
            of(e, "fact: p50, at_most: 0.1", |_, s| {
                writes(s) + &writes(s).replace("le=", "of=\"a\",le=")
            });
        }),
        ("two histograms together", "", |e| {
            let gate = "fact: p50, at_most: 0.1, policy: { several: sum }";
            of(e, gate, |_, s| writes(s) + &writes(s).replace("le=", "of=\"a\",le="));
        }),
        ("two histograms together that differ", "X1 UNKNOWN", |e| {
            let gate = "fact: p50, at_most: 0.1, policy: { several: sum }";
            of(e, gate, |_, s| {
                writes(s)
                    + &writes(s).replace("le=\"0.5\"", "le=\"0.6\"").replace("le=", "of=\"a\",le=")
            });
        }),
        ("its buckets fall", "X1 UNKNOWN", |e| {
            of(e, "fact: p50, at_most: 0.1", |n, s| {
                writes(if n == "ap-v1" && s >= 8 { s - 8 } else { s })
            });
        }),
        ("all buckets begin again where one falls", "X1 FAIL", |e| {
            let gate = "fact: p50, at_most: 0.1, policy: { reset: restart }";
            of(e, gate, |n, s| match (n, s) {
                ("ap-v1", ..8) => buckets([("0.1", 1_000), ("0.5", 1_200), ("+Inf", 1_200)]),
                ("ap-v1", _) => buckets([("0.1", 500), ("0.5", 2_000), ("+Inf", 2_000)]),
                _ => writes(s),
            });
        }),
    ]
}

pub(super) fn added() -> Cases {
    [instant(), selected(), grown(), quantiles()].into_iter().flatten().collect()
}
