//! Many nodes.

use super::harness::*;
use crate::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_nodes_find_each_other_and_everybody_has_four_outbound() {
    const N: u8 = 10;
    let mut nodes: Vec<Node> = Vec::new();
    for seed in 1..=N {
        // Each in a /16 of its own, and each told of the first two nodes only.
        let mut config = config(seed, &format!("127.{seed}.0.1:0"));
        config.diversity = DiversityConfig::default();
        config.anti_eclipse = AntiEclipse::default();
        config.asn_table = AsnTable::parse("127.0.0.0/13 64500\n127.8.0.0/13 64501\n").unwrap();
        config.bootstrap = nodes.iter().take(2).map(Node::address).collect();
        nodes.push(Node::start(config));
    }
    let others = usize::from(N) - 1;
    for node in &mut nodes {
        let health =
            node.healthy(|h| h.outbound + h.inbound == others && h.outbound >= others / 2).await;
        assert_eq!(health.distinct_buckets, others);
        assert_eq!(health.distinct_asn, 2);
        assert!(!health.below_diversity && !health.below_min_outbound && !health.below_min_asn);
    }
    for node in &mut nodes {
        while let Ok(event) = node.events.try_recv() {
            assert!(
                matches!(event, NetworkEvent::PeerConnected { .. }),
                "while the mesh formed, {} saw {event:?}",
                node.id()
            );
        }
    }
    for node in &nodes {
        node.handle.broadcast(Channel::Consensus, node.id().0.to_vec());
    }
    for node in &mut nodes {
        let mut heard = std::collections::BTreeSet::new();
        while heard.len() < others {
            let (from, _, bytes) = node.message().await;
            assert_eq!(bytes, from.0);
            heard.insert(from);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_peer_of_one_prefix_is_refused_or_only_counted() {
    for (mode, refused) in [(DiversityMode::Enforce, true), (DiversityMode::Warn, false)] {
        let mut strict = config(1, "127.0.0.1:0");
        strict.diversity.mode = mode;
        let mut hub = Node::start(strict);
        let _first = Node::knowing(2, &[&hub]);
        let _second = Node::knowing(3, &[&hub]);
        hub.connected().await;
        hub.connected().await;
        let mut third = Node::knowing(4, &[&hub]);
        hub.noted(|n| *n == Note::Diversity(DiversityReason::Prefix24, refused)).await;
        if refused {
            third.noted(|n| *n == Note::Refused(RefuseReason::Diversity)).await;
            assert_eq!(hub.handle.peers().len(), 2);
        } else {
            assert_eq!(hub.connected().await.0, id(4));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inbound_slots_end() {
    let mut small = config(1, "127.0.0.1:0");
    small.limits.max_inbound = 1;
    // Else the hub would dial the one it turned away.
    small.limits.max_outbound = 0;
    let mut hub = Node::start(small);
    let _first = Node::knowing(2, &[&hub]);
    hub.connected().await;
    let mut second = Node::knowing(3, &[&hub]);
    hub.noted(|n| *n == Note::Refused(RefuseReason::Full)).await;
    second.noted(|n| *n == Note::Refused(RefuseReason::Full)).await;
    assert_eq!(hub.handle.peers().len(), 1);
}
