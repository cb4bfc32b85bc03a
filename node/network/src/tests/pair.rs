//! Two or three nodes.

use super::harness::*;
use crate::*;
use qbind_types::{GenesisHash, Network};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_prove_who_they_are_and_talk_on_every_channel() {
    let mut a = Node::knowing(1, &[]);
    let mut b = Node::knowing(2, &[&a]);
    assert_eq!(a.connected().await, (id(2), Direction::Inbound));
    assert_eq!(b.connected().await, (id(1), Direction::Outbound));
    for channel in Channel::ALL {
        a.handle.send(b.id(), channel, &b"ping"[..]).unwrap();
        assert_eq!(b.message().await, (a.id(), channel, b"ping".to_vec()));
        assert_eq!(b.handle.broadcast(channel, &b"pong"[..]), 1);
        assert_eq!(a.message().await, (b.id(), channel, b"pong".to_vec()));
    }
    let peers = a.handle.peers();
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0].public_key, secret(2).public_key());
    assert_eq!(peers[0].advertised, b.address());
    b.handle.shutdown();
    assert_eq!(a.disconnected().await, id(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_sees_the_address_a_node_listens_on() {
    let mut table = config(1, "127.0.0.1:0");
    table.asn_table = AsnTable::parse("127.9.0.0/16 64500").unwrap();
    let mut a = Node::start(table);
    let mut b_config = config(2, "127.9.3.1:0");
    b_config.bootstrap = vec![a.address()];
    let b = Node::start(b_config);
    a.connected().await;
    let peers = a.handle.peers();
    assert_eq!(peers[0].remote.ip(), b.handle.local_addr().ip());
    assert_eq!(peers[0].asn, Some(64500));
    assert_eq!(a.handle.health().distinct_asn, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_genesis_or_network_is_refused_and_counted() {
    let mut a = Node::knowing(1, &[]);
    let mut other = config(2, "127.0.0.1:0");
    other.bootstrap = vec![a.address()];
    other.genesis_hash = GenesisHash([9; 32]);
    let _b = Node::start(other);
    a.noted(|n| *n == Note::Refused(RefuseReason::Genesis)).await;
    let mut other = config(3, "127.0.0.1:0");
    other.bootstrap = vec![a.address()];
    other.network = Network::Mainnet;
    let mut c = Node::start(other);
    a.noted(|n| *n == Note::Refused(RefuseReason::Network)).await;
    c.noted(|n| *n == Note::Dial(DialStep::Failure)).await;
    assert!(a.handle.peers().is_empty());
    assert!(a.events.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_peer_is_back_without_anybody_waiting_for_its_old_connection() {
    let (low, high) = ordered(1, 2);
    for (stays, restarts) in [(low, high), (high, low)] {
        let mut a = Node::knowing(stays, &[]);
        let mut b = Node::knowing(restarts, &[&a]);
        a.connected().await;
        b.connected().await;
        // The same identity from another process while the old one still looks alive.
        let mut again = Node::knowing(restarts, &[&a]);
        assert_eq!(a.disconnected().await, id(restarts));
        assert_eq!(a.connected().await.0, id(restarts));
        again.connected().await;
        a.handle.send(again.id(), Channel::Consensus, &b"hello"[..]).unwrap();
        assert_eq!(again.message().await.2, b"hello");
        again.handle.shutdown();
        b.handle.shutdown();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_restarted_on_its_port_is_redialled() {
    let mut b = Node::knowing(2, &[]);
    let address = b.address();
    let mut impatient = config(1, "127.0.0.1:0");
    impatient.bootstrap = vec![b.address()];
    // Whichever of the two owns the connection.
    impatient.timing.grace = Duration::ZERO;
    let mut a = Node::start(impatient);
    a.connected().await;
    b.connected().await;
    b.handle.shutdown();
    assert_eq!(a.disconnected().await, id(2));
    // Knows nobody, so the connection is a's doing.
    let mut b = Node::start(config(2, &address));
    assert_eq!(a.connected().await.0, id(2));
    assert_eq!(b.connected().await.0, id(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_turned_round_without_losing_the_peer_or_a_message() {
    // Of two, the lower id dials; here the higher one has to begin.
    let (low, high) = ordered(1, 2);
    let mut a = Node::knowing(low, &[]);
    let mut b = Node::knowing(high, &[&a]);
    assert_eq!(a.connected().await.1, Direction::Inbound);
    b.connected().await;
    let mut sent = 0u32;
    while a.handle.health().outbound == 0 || b.handle.health().inbound == 0 {
        for (from, to) in [(&a, &b), (&b, &a)] {
            from.handle.send(to.id(), Channel::Dag, sent.to_be_bytes().to_vec()).unwrap();
        }
        sent += 1;
        // Every message is awaited, so this loop is paced by the network itself.
        for node in [&mut a, &mut b] {
            node.message().await;
        }
    }
    for n in sent..sent + 100 {
        a.handle.send(b.id(), Channel::Dag, n.to_be_bytes().to_vec()).unwrap();
        assert_eq!(b.message().await.2, n.to_be_bytes());
    }
    assert_eq!(a.handle.peers().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_arrive_whole_while_votes_pass_in_order() {
    let mut a = Node::knowing(1, &[]);
    let mut b = Node::knowing(2, &[&a]);
    a.connected().await;
    b.connected().await;
    let batch: Vec<u8> = (0..5 * 1024 * 1024u32).map(|i| i as u8).collect();
    let (mut batches, mut votes) = (8, 0u32);
    for _ in 0..batches {
        a.handle.send(b.id(), Channel::Dag, batch.clone()).unwrap();
    }
    // How far votes get ahead of bulk is measured where there is a path to wait for: `wan`.
    for vote in 0..50u32 {
        a.handle.send(b.id(), Channel::Consensus, vote.to_be_bytes().repeat(600)).unwrap();
    }
    while batches > 0 || votes < 50 {
        let (_, channel, bytes) = b.message().await;
        if channel == Channel::Dag {
            assert!(bytes == batch, "a batch arrived changed");
            batches -= 1;
        } else {
            assert_eq!(bytes, votes.to_be_bytes().repeat(600));
            votes += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_refused_or_counted() {
    let mut a = Node::knowing(1, &[]);
    let mut b = Node::knowing(2, &[&a]);
    a.connected().await;
    b.connected().await;
    let max = Channel::Consensus.max_message_bytes();
    assert_eq!(
        a.handle.send(b.id(), Channel::Consensus, vec![0; max + 1]),
        Err(SendError::TooLong { bytes: max + 1, max })
    );
    assert_eq!(a.handle.broadcast(Channel::Consensus, vec![0; max + 1]), 0);
    assert_eq!(
        a.handle.send(id(9), Channel::Dag, vec![1]),
        Err(SendError::NotConnected { to: id(9) })
    );
    // b's application takes nothing: first b's budget fills, then the path, then a's queue.
    let to = b.id();
    let refused = loop {
        if let Err(error) = a.handle.send(to, Channel::Dag, vec![0; 32 * 1024 * 1024]) {
            break error;
        }
    };
    assert_eq!(refused, SendError::Full { to });
    a.noted(|n| *n == Note::Dropped(Channel::Dag, DropReason::Full)).await;
    // Consensus still gets through, because bulk waits elsewhere.
    a.handle.send(to, Channel::Consensus, &b"vote"[..]).unwrap();
    loop {
        let (_, channel, bytes) = b.message().await;
        if channel == Channel::Consensus {
            assert_eq!(bytes, b"vote");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_peer_is_sent_away_and_refused() {
    let mut a = Node::knowing(1, &[]);
    let mut b = Node::knowing(2, &[&a]);
    a.connected().await;
    b.connected().await;
    a.handle.ban(b.id(), "test", Duration::from_secs(600));
    assert_eq!(a.disconnected().await, id(2));
    assert_eq!(b.disconnected().await, id(1));
    a.noted(|n| *n == Note::Evicted(EvictReason::Banned)).await;
    b.noted(|n| *n == Note::Refused(RefuseReason::Banned)).await;
    assert!(a.handle.peers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_are_answered_and_timed() {
    let mut quick = config(1, "127.0.0.1:0");
    quick.heartbeat.interval = Duration::from_millis(20);
    let mut a = Node::start(quick);
    let _b = Node::knowing(2, &[&a]);
    a.noted(|n| *n == Note::Heartbeat(HeartbeatStep::Sent)).await;
    a.noted(|n| *n == Note::Heartbeat(HeartbeatStep::Success)).await;
    assert!(a.handle.peers()[0].round_trip.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_slots_are_kept_for_other_autonomous_systems() {
    let targets = [Node::knowing(2, &[]), Node::knowing(3, &[])];
    let mut picky = config(1, "127.0.0.1:0");
    picky.asn_table = AsnTable::parse("127.0.0.0/16 1\n127.5.0.0/16 2").unwrap();
    picky.anti_eclipse.enforce = true;
    picky.limits.max_outbound = 2;
    picky.bootstrap = targets.iter().map(Node::address).collect();
    let mut a = Node::start(picky);
    a.noted(|n| *n == Note::AsnRefused).await;
    let health = a.handle.health();
    assert!(health.outbound <= 1, "{health:?}");
    assert!(health.below_min_asn);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_before_a_shutdown_arrives() {
    let mut a = Node::knowing(1, &[]);
    let mut b = Node::knowing(2, &[&a]);
    a.connected().await;
    b.connected().await;
    const MESSAGES: u32 = 200;
    for n in 0..MESSAGES {
        a.handle.send(b.id(), Channel::Consensus, n.to_be_bytes().to_vec()).unwrap();
    }
    a.handle.shutdown();
    for n in 0..MESSAGES {
        assert_eq!(b.message().await.2, n.to_be_bytes());
    }
    assert_eq!(b.disconnected().await, id(1));
}

#[test]
fn a_bad_address_or_a_taken_port_is_named() {
    let mut bad = config(1, "127.0.0.1:0");
    bad.bootstrap = vec!["somewhere".into()];
    let error = start(bad, std::sync::Arc::new(())).unwrap_err();
    assert_eq!(error.to_string(), "bootstrap_peers has `somewhere`, expected host:port");
    let first = start(config(1, "127.0.0.1:0"), std::sync::Arc::new(())).unwrap().0;
    let taken = config(2, &first.local_addr().to_string());
    let error = start(taken, std::sync::Arc::new(())).unwrap_err();
    assert!(matches!(error, NetworkError::Listen { address, .. } if address == first.local_addr()));
}
