//! The emulated network against what was asked of it, with real sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use nix::sys::socket::{setsockopt, sockopt};
use qbind_lab::{Degradation, LinkSelection, Place, Wan};
use qbind_plan::topology::Topology;
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};
use support::{Prober, in_place, namespace_of, needs_lab};

/// Two regions with these figures on each of the two links.
fn pair(delay_us: u64, jitter_us: u64, loss_bps: u32) -> Topology {
    let mut topology = Topology::generated(4, 2).unwrap();
    for link in &mut topology.links {
        (link.delay_us, link.jitter_us, link.loss_bps) = (delay_us, jitter_us, loss_bps);
    }
    topology
}

fn region(id: &str) -> Place {
    Place::Region(id.to_owned())
}

#[test]
fn round_trips_have_the_median_and_jitter_asked_for() {
    if !needs_lab() {
        return;
    }
    let topology = pair(20_000, 5_000, 0);
    let expected = topology.expected_rtt("r1", "r2").unwrap();
    let wan = Wan::up(&topology, None).unwrap();
    let to = wan.address(&region("r2")).unwrap();
    let enter = wan.enter(&region("r1")).unwrap();
    let rtts = in_place(&enter, move || Prober::new(to).run(3_000, Duration::from_millis(1)));
    let mut rtts: Vec<u64> = rtts.into_iter().flatten().collect();
    assert_eq!(rtts.len(), 3_000, "nothing is lost");
    rtts.sort_unstable();
    let p50 = rtts[1_499];
    let jitter = rtts[2_849] - p50;
    println!(
        "p50 {p50} us (asked {}), jitter {jitter} us (asked {})",
        expected.p50_us, expected.jitter_us
    );
    assert!(p50.abs_diff(expected.p50_us) < 1_000, "p50 {p50}");
    assert!(jitter.abs_diff(expected.jitter_us) * 10 < expected.jitter_us, "jitter {jitter}");
}

#[test]
fn loss_is_as_asked_follows_the_seed_and_every_packet_is_accounted_for() {
    if !needs_lab() {
        return;
    }
    // Sent from one place only, so that the order of packets, hence their fates, is fixed.
    let lost = |seed| {
        let topology = Topology { seed, ..pair(1_000, 0, 500) };
        let wan = Wan::up(&topology, None).unwrap();
        let to = wan.address(&region("r2")).unwrap();
        let enter = wan.enter(&region("r1")).unwrap();
        let receiver = in_place(&wan.enter(&region("r2")).unwrap(), move || {
            let socket = UdpSocket::bind((to, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            // All of them wait here until the sender is done.
            setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20)).unwrap();
            socket
        });
        let port = receiver.local_addr().unwrap().port();
        in_place(&enter, move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            for n in 0..4_000u32 {
                socket.send_to(&n.to_be_bytes(), (to, port)).unwrap();
            }
        });
        let mut arrived = Vec::new();
        let mut buffer = [0; 4];
        while receiver.recv(&mut buffer).is_ok() {
            arrived.push(u32::from_be_bytes(buffer));
        }
        let counters = wan.counters();
        let link = counters.links.iter().find(|l| l.id() == "r1>r2").unwrap();
        assert_eq!(link.packets_in, 4_000);
        assert_eq!(link.bytes_in, 4_000 * (20 + 8 + 4));
        assert_eq!(link.delivered, arrived.len() as u64);
        assert_eq!(link.lost(), link.lost_random, "only as asked");
        assert_eq!(link.delivered + link.lost(), link.packets_in);
        assert_eq!(link.in_flight, 0);
        assert_eq!(wan.overruns().unwrap(), 0);
        assert!(arrived.is_sorted(), "without jitter nothing overtakes");
        arrived
    };
    let first = lost(1);
    // 99.99 % interval of a binomial with 4,000 draws at 5 %.
    assert!((4_000 - first.len()).abs_diff(200) < 55, "{}", 4_000 - first.len());
    assert_eq!(lost(1), first, "same seed, same losses");
    assert_ne!(lost(2), first);
}

#[test]
fn a_partition_drops_everything_and_a_heal_restores() {
    if !needs_lab() {
        return;
    }
    let wan = Wan::up(&pair(2_000, 0, 0), None).unwrap();
    let to = wan.address(&region("r2")).unwrap();
    let enter = wan.enter(&region("r1")).unwrap();
    let answered = || {
        let probe = move || Prober::new(to).run(100, Duration::from_millis(1));
        in_place(&enter, probe).into_iter().flatten().count()
    };
    assert_eq!(answered(), 100);
    wan.partition(&LinkSelection::Region("r2".into())).unwrap();
    assert_eq!(answered(), 0);
    let counters = wan.counters();
    let cut = counters.links.iter().find(|l| l.id() == "r1>r2").unwrap();
    assert_eq!((cut.lost_partition, cut.is_cut), (100, true));
    // The operator still sees both sides.
    let ops = wan.enter(&Place::Ops).unwrap();
    let seen = in_place(&ops, move || Prober::new(to).run(20, Duration::from_millis(1)));
    assert_eq!(seen.into_iter().flatten().count(), 20);
    // One direction is enough to lose every echo.
    wan.heal(&LinkSelection::All).unwrap();
    wan.partition(&"r2:r1".parse().unwrap()).unwrap();
    assert_eq!(answered(), 0);
    wan.heal(&LinkSelection::All).unwrap();
    assert_eq!(answered(), 100);
    let journal = wan.journal();
    assert_eq!(journal.len(), 5, "{journal:?}");
    assert!(wan.partition(&LinkSelection::Region("mars".into())).is_err());
}

#[test]
fn a_degraded_link_is_slower_and_worse_until_it_is_healed() {
    if !needs_lab() {
        return;
    }
    let wan = Wan::up(&pair(2_000, 0, 0), None).unwrap();
    let to = wan.address(&region("r2")).unwrap();
    let enter = wan.enter(&region("r1")).unwrap();
    let probe =
        |count| in_place(&enter, move || Prober::new(to).run(count, Duration::from_millis(1)));
    let median = |rtts: Vec<Option<u64>>| {
        let mut rtts: Vec<u64> = rtts.into_iter().flatten().collect();
        rtts.sort_unstable();
        rtts[rtts.len() / 2]
    };
    assert!(median(probe(200)).abs_diff(4_000) < 1_000);
    let harm = Degradation { delay_us: 30_000, jitter_us: 0, loss_bps: 3_000 };
    wan.degrade(&"r1:r2".parse().unwrap(), harm).unwrap();
    let rtts = probe(1_000);
    let lost = rtts.iter().filter(|r| r.is_none()).count();
    assert!(lost.abs_diff(300) < 75, "{lost} of 1000 lost, asked for 30 %");
    assert!(median(rtts).abs_diff(34_000) < 1_000);
    wan.heal(&LinkSelection::All).unwrap();
    assert_eq!(probe(100).into_iter().flatten().count(), 100);
}

#[test]
fn a_byte_stream_arrives_whole_over_a_jittery_lossy_link() {
    if !needs_lab() {
        return;
    }
    let wan = Wan::up(&pair(5_000, 5_000, 50), None).unwrap();
    let nodes = wan.topology().placements();
    let server = nodes.iter().find(|n| n.region == "r2").unwrap().address;
    let client = nodes.iter().find(|n| n.region == "r1").unwrap().address;
    let listener = in_place(&wan.enter(&region("r2")).unwrap(), move || {
        TcpListener::bind((server, 0)).unwrap()
    });
    let to: SocketAddr = listener.local_addr().unwrap();
    let sent: Vec<u8> = (0..2_000_000u32).map(|n| (n ^ n >> 8) as u8).collect();
    let expected = sent.clone();
    let receiver = std::thread::spawn(move || {
        let (mut stream, from) = listener.accept().unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        (received, from)
    });
    in_place(&wan.enter(&region("r1")).unwrap(), move || {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((client, 0)).into()).unwrap();
        socket.connect(&to.into()).unwrap();
        let mut stream: TcpStream = socket.into();
        stream.write_all(&sent).unwrap();
    });
    let (received, from) = receiver.join().unwrap();
    assert_eq!(received.len(), expected.len());
    assert!(received == expected, "the bytes are the same");
    assert_eq!(from.ip(), client, "the sender is seen under its own address");
}

#[test]
fn two_networks_do_not_see_each_other_and_leave_nothing_behind() {
    if !needs_lab() {
        return;
    }
    let (first, second) = (pair(1_000, 0, 0), pair(3_000, 0, 0));
    let first = Wan::up(&first, None).unwrap();
    let second = Wan::up(&second, None).unwrap();
    for (wan, rtt_us) in [(&first, 2_000), (&second, 6_000)] {
        let to = wan.address(&region("r2")).unwrap();
        let enter = wan.enter(&region("r1")).unwrap();
        let rtts = in_place(&enter, move || Prober::new(to).run(50, Duration::from_millis(1)));
        let best = rtts.into_iter().flatten().min().unwrap();
        assert!(best.abs_diff(rtt_us) < 1_000, "{best}");
    }
    let place = |wan: &Wan, place| namespace_of(&wan.enter(&place).unwrap());
    let namespaces = [place(&first, region("r1")), place(&first, Place::Ops)];
    let others = [place(&second, region("r1")), place(&second, Place::Ops)];
    assert!(!namespaces.iter().any(|ns| others.contains(ns)));
    assert!(namespaces.iter().all(|ns| support::own_namespaces().contains(ns)));
    drop((first, second));
    let left = support::own_namespaces();
    assert!(!namespaces.iter().chain(&others).any(|ns| left.contains(ns)), "{left:?}");
}

/// The price of forwarding; printed, and bounded generously because machines differ.
#[test]
fn ten_thousand_packets_a_second_cost_a_fraction_of_a_processor() {
    if !needs_lab() {
        return;
    }
    let wan = Wan::up(&pair(20_000, 1_000, 0), None).unwrap();
    let to = wan.address(&region("r2")).unwrap();
    let sink =
        in_place(&wan.enter(&region("r2")).unwrap(), move || UdpSocket::bind((to, 0)).unwrap());
    let port = sink.local_addr().unwrap().port();
    let enter = wan.enter(&region("r1")).unwrap();
    let seconds = 2u32;
    let (prober, probing) = (wan.enter(&region("r1")).unwrap(), Duration::from_millis(10));
    let probes =
        std::thread::spawn(move || in_place(&prober, move || Prober::new(to).run(150, probing)));
    let took = in_place(&enter, move || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let start = std::time::Instant::now();
        let payload = [7u8; 1_200];
        for n in 0..10_000 * seconds {
            // A grid, so that the emulator meets single packets as well as small bursts.
            let due = start + Duration::from_micros(100) * n;
            std::thread::sleep(due.saturating_duration_since(std::time::Instant::now()));
            socket.send_to(&payload, (to, port)).unwrap();
        }
        start.elapsed()
    });
    support::wait_until(|| wan.counters().links.iter().all(|l| l.in_flight == 0));
    // The processor time is published ten times a second, and only when something happens.
    let idle = in_place(&enter, move || Prober::new(to).run(3, Duration::from_millis(100)));
    assert_eq!(idle.len(), 3);
    let counters = wan.counters();
    let link = counters.links.iter().find(|l| l.id() == "r1>r2").unwrap();
    let share = counters.cpu_ns as f64 / took.as_nanos() as f64 * 100.0;
    println!(
        "{} packets in {took:.1?}: {share:.1} % of a processor, {:.1} us each; lateness mean {} us, \
         max {} us, by bound {:?}; scheduled {:?}",
        link.delivered,
        counters.cpu_ns as f64 / 1_000.0 / link.delivered as f64,
        link.lateness_sum_us / link.delivered,
        link.lateness_max_us,
        link.lateness_counts,
        counters.scheduling,
    );
    assert_eq!(link.lost(), 0);
    assert_eq!(wan.overruns().unwrap(), 0);
    let mut rtts: Vec<u64> = probes.join().unwrap().into_iter().flatten().collect();
    rtts.sort_unstable();
    println!("probes beside it: p50 {} us, asked 40000", rtts[rtts.len() / 2]);
    assert!(rtts[rtts.len() / 2].abs_diff(40_000) < 1_000);
    assert!(share < 60.0, "{share:.1} % of a processor");
}
