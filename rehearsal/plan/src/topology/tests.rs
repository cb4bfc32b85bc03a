use super::*;
use std::path::Path;

fn parse(text: &str) -> Result<Topology, String> {
    Topology::parse(text, Path::new("net.yaml")).map_err(|error| error.to_string())
}

fn standard() -> String {
    builtin("standard-tri-region").unwrap().to_owned()
}

/// Parses the standard topology with one piece of text replaced, and returns the complaint.
fn broken(from: &str, to: &str) -> String {
    let text = standard();
    assert!(text.contains(from), "nothing to replace: {from}");
    parse(&text.replacen(from, to, 1)).unwrap_err()
}

#[test]
fn every_shipped_file_is_built_in_and_parses() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../topologies");
    let mut files: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    let mut names: Vec<&str> = builtin_names().collect();
    names.sort_unstable();
    assert_eq!(files, names);
    for name in names {
        let topology = Topology::load(name).unwrap();
        assert_eq!(topology.name, name);
        let again = parse(&topology.to_yaml()).unwrap();
        assert_eq!(again, topology, "{name} survives being written");
    }
}

/// Regions whose links stand out, and the other facts from which a class follows.
struct Shape {
    spread_us: u64,
    max_jitter_us: u64,
    max_loss_bps: u32,
    max_rtt_us: u64,
}

fn shape(name: &str) -> Shape {
    let topology = Topology::load(name).unwrap();
    let rtts: Vec<ExpectedRtt> =
        topology.links.iter().map(|l| topology.expected_rtt(&l.from, &l.to).unwrap()).collect();
    let max = rtts.iter().map(|r| r.p50_us).max().unwrap();
    Shape {
        spread_us: max - rtts.iter().map(|r| r.p50_us).min().unwrap(),
        max_jitter_us: rtts.iter().map(|r| r.jitter_us).max().unwrap(),
        max_loss_bps: rtts.iter().map(|r| r.loss_bps).max().unwrap(),
        max_rtt_us: max,
    }
}

/// Spread 50 ms or more, jitter above 30 ms, loss of half a percent or more; with room for
/// sampling error on the side where the file must stay.
#[test]
fn each_preset_file_has_exactly_the_traits_of_its_class() {
    for (name, spread, jitter, loss) in [
        ("uniform", false, false, false),
        ("asymmetric", true, false, false),
        ("high-jitter", false, true, false),
        ("lossy", false, false, true),
        ("mixed", true, true, true),
        ("standard-tri-region", true, false, false),
        ("global-spread", true, false, false),
    ] {
        let shape = shape(name);
        assert_eq!(shape.spread_us >= 50_000, spread, "{name}");
        assert!(shape.spread_us >= 50_000 || shape.spread_us < 45_000, "{name}");
        if jitter {
            assert!(shape.max_jitter_us > 33_000, "{name}: {}", shape.max_jitter_us);
        } else {
            assert!(shape.max_jitter_us < 25_000, "{name}: {}", shape.max_jitter_us);
        }
        assert_eq!(shape.max_loss_bps > 0, loss, "{name}");
    }
}

#[test]
fn the_standard_network_has_the_published_round_trips() {
    let topology = Topology::load("standard-tri-region").unwrap();
    for (a, b, p50_ms) in [("eu", "us", 70), ("us", "jp", 150), ("eu", "jp", 202)] {
        let rtt = topology.expected_rtt(a, b).unwrap();
        assert_eq!((rtt.p50_us + 500) / 1_000, p50_ms);
    }
    assert_eq!(topology.validator_count(), 7);
    assert_eq!(topology.node_count(), 10);
    assert!(shape("global-spread").max_rtt_us > 250_000);
}

#[test]
fn nodes_spread_over_prefixes_and_systems() {
    for name in builtin_names() {
        let topology = Topology::load(name).unwrap();
        let nodes = topology.placements();
        let mut sixteens: Vec<_> = nodes.iter().map(|n| Prefix::of(n.address, 16)).collect();
        sixteens.sort_unstable();
        sixteens.dedup();
        assert_eq!(sixteens.len(), nodes.len(), "{name}: a /16 each");
        let mut systems: Vec<_> = nodes.iter().map(|n| n.asn).collect();
        systems.sort_unstable();
        systems.dedup();
        assert!(systems.len() >= 3, "{name}");
        let without_table = Topology { asn: Vec::new(), ..topology };
        assert_eq!(without_table.placements(), nodes, "{name}: the table says what is derived");
    }
}

#[test]
fn names_ids_and_addresses_follow_from_the_order_of_regions() {
    let nodes = Topology::load("standard-tri-region").unwrap().placements();
    let lines: Vec<String> = nodes
        .iter()
        .map(|n| format!("{} {:?} {} {}", n.name, n.validator_id, n.address, n.asn))
        .collect();
    assert_eq!(
        lines,
        [
            "eu-v1 Some(1) 10.11.0.1 64512",
            "eu-v2 Some(4) 10.12.0.1 64513",
            "eu-v3 Some(7) 10.13.0.1 64514",
            "eu-rpc1 None 10.14.0.1 64515",
            "us-v1 Some(2) 10.15.0.1 64516",
            "us-v2 Some(5) 10.16.0.1 64512",
            "us-rpc1 None 10.17.0.1 64513",
            "jp-v1 Some(3) 10.18.0.1 64514",
            "jp-v2 Some(6) 10.19.0.1 64515",
            "jp-rpc1 None 10.20.0.1 64516",
        ]
    );
}

#[test]
fn one_node_can_be_put_elsewhere() {
    let text =
        standard() + "nodes:\n  - { name: us-v2, address: 10.15.0.2, asn: 64999, stake: 5 }\n";
    let topology = parse(&text).unwrap();
    let nodes = topology.placements();
    let moved = nodes.iter().find(|n| n.name == "us-v2").unwrap();
    assert_eq!((moved.address.to_string().as_str(), moved.asn), ("10.15.0.2", 64_999));
    assert_eq!(moved.stake, Some(5));
    let neighbour = nodes.iter().find(|n| n.name == "us-v1").unwrap();
    assert_eq!(neighbour.asn, 64_516, "only the one address changed its origin");
}

#[test]
fn a_fault_in_the_file_is_named_with_its_line_and_key() {
    for (from, to, complaint) in [
        ("schema: qbind.topology/v1", "schema: qbind.topology/v2", "schema: is qbind.topology/v2"),
        ("    validators: 3", "    validators: 3\n    sentries: 1", "unknown field"),
        ("to: us, delay_us", "to: mars, delay_us", "net.yaml:34: links[0].to: no region mars"),
        ("from: us, to: eu", "from: eu, to: us", "links[2]: eu to us appears twice"),
        ("from: eu, to: us", "from: eu, to: eu", "links[0].to: eu to itself"),
        ("- id: jp", "- id: eu", "regions[2].id: eu appears twice"),
        ("- id: jp", "- id: ops", "kept for the operator"),
        ("- id: jp", "- id: J P", "\"J P\" is not a name"),
        ("latitude: 53.14", "latitude: 153.14", "net.yaml:12: regions[0]: latitude"),
        ("loss_bps: 0", "loss_bps: 10001", "links[0].loss_bps: is 10001, expected 0 to 10000"),
        ("jitter_us: 3600", "jitter_us: 34841", "no packet arrives early"),
        ("rate_mbit: 1000", "rate_mbit: 0", "links[0].rate_mbit: is 0"),
        ("delay_us: 34840", "delay_us: -1", "net.yaml"),
        ("10.11.0.0/16", "10.11.0.1/16", "bits are set beyond the length"),
        ("10.11.0.0/16", "10.11.0.0/33", "above 32"),
        ("10.12.0.0/16", "10.11.0.0/16", "asn[1].prefix: 10.11.0.0/16 appears twice"),
        ("asn: 64512", "asn: 0", "asn[0].asn: is 0"),
        ("name: standard-tri-region", "name: \"\"", "is not a name"),
        (
            "rate_mbit: 1000",
            "rate_mbit: 1000, burst: { mean_packets: 0 }",
            "links[0].burst.mean_packets: is 0",
        ),
        (
            "loss_bps: 0, rate_mbit: 1000",
            "loss_bps: 9000, rate_mbit: 1000, burst: { mean_packets: 2 }",
            "runs this short cannot lose so much",
        ),
    ] {
        let got = broken(from, to);
        assert!(got.contains(complaint), "{from} -> {to}\n  got {got}\n  not {complaint}");
        assert!(got.starts_with("net.yaml"), "{got}");
    }
}

#[test]
fn a_missing_direction_is_named() {
    let text = standard();
    let line = text.lines().find(|l| l.contains("from: jp, to: us")).unwrap();
    let error = parse(&text.replace(line, "")).unwrap_err();
    assert!(error.contains("jp to us is missing"), "{error}");
}

#[test]
fn overrides_must_make_sense() {
    for (node, complaint) in [
        ("{ name: eu-v9 }", "no node eu-v9"),
        ("{ name: eu-v1, address: 192.0.2.1 }", "outside 10.0.0.0/8"),
        ("{ name: eu-v1, address: 10.255.0.1 }", "which the lab itself uses"),
        ("{ name: eu-v1, address: 10.12.0.1 }", "nodes[0].address: 10.12.0.1 is already"),
        ("{ name: eu-v1, stake: 0 }", "nodes[0].stake"),
    ] {
        let error = parse(&format!("{}nodes:\n  - {node}\n", standard())).unwrap_err();
        assert!(error.contains(complaint), "{node}: {error}");
    }
}

#[test]
fn four_validators_are_the_fewest() {
    let sentence = "2 validators: n >= 3f+1 needs at least 4";
    assert_eq!(Topology::generated(2, 1).unwrap_err().to_string(), sentence);
    let mut text = standard();
    for (from, to) in [
        ("validators: 3", "validators: 2"),
        ("validators: 2\n    rpc: 1\n  - id: j", "validators: 0\n    rpc: 1\n  - id: j"),
    ] {
        text = text.replacen(from, to, 1);
    }
    let text = text.replacen(
        "longitude: 139.69\n    validators: 2",
        "longitude: 139.69\n    validators: 0",
        1,
    );
    assert!(parse(&text).unwrap_err().ends_with(sentence));
}

#[test]
fn generated_networks_spread_validators_evenly() {
    let topology = Topology::generated(7, 3).unwrap();
    let counts: Vec<u32> = topology.regions.iter().map(|r| r.validators).collect();
    assert_eq!(counts, [3, 2, 2]);
    assert_eq!(parse(&topology.to_yaml()).unwrap(), topology);
    assert!(Topology::generated(4, 5).unwrap_err().to_string().contains("5 regions for 4"));
    assert!(Topology::generated(4, 0).is_err());
    assert!(Topology::generated(400, 4).unwrap_err().to_string().contains("at most 200"));
    assert!(Topology::generated(100, 1).unwrap().links.is_empty());
}

/// The closed form against the exact distribution of two discrete uniform offsets.
#[test]
fn expected_jitter_is_the_percentile_of_the_sum() {
    for (a, b) in [(100u64, 100u64), (100, 50), (100, 12), (100, 5), (100, 0), (0, 100), (0, 0)] {
        let link = |jitter_us| Link {
            from: "x".into(),
            to: "y".into(),
            delay_us: 1_000,
            jitter_us,
            loss_bps: 0,
            rate_mbit: 1,
            queue_ms: 1,
            burst: None,
            reorder: false,
        };
        let mut sums: Vec<i64> = (-(a as i64)..=a as i64)
            .flat_map(|x| (-(b as i64)..=b as i64).map(move |y| x + y))
            .collect();
        sums.sort_unstable();
        let rank = (sums.len() * 95).div_ceil(100) - 1;
        let expected = ExpectedRtt::of(&link(a), &link(b));
        let error = (expected.jitter_us as i64 - sums[rank]).abs();
        assert!(error <= 2, "{a} {b}: {} not {}", expected.jitter_us, sums[rank]);
        assert_eq!(expected.p50_us, 2_000);
    }
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let error = Topology::load("no-such-net").unwrap_err().to_string();
    assert!(error.contains("standard-tri-region"), "{error}");
}
