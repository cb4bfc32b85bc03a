//! Nodes that keep their address to themselves, and what a sentry passes on for them.

use super::harness::*;
use crate::*;

fn hidden(seed: u8, sentries: &[&Node]) -> Node {
    let mut config = config(seed, "127.0.0.1:0");
    config.hidden = true;
    config.discovery = false;
    config.bootstrap = sentries.iter().map(|sentry| sentry.address()).collect();
    Node::start(config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_hears_of_a_hidden_node_and_a_sentry_passes_its_words_on() {
    let mut sentry = Node::start(config(1, "127.0.0.1:0"));
    let mut behind = hidden(2, &[&sentry]);
    sentry.connected().await;
    behind.connected().await;
    let mut first = Node::knowing(3, &[&sentry]);
    let mut second = Node::knowing(4, &[&sentry]);
    // They learn of each other from the sentry, which knows all three.
    for node in [&mut first, &mut second] {
        let health = node.healthy(|h| h.outbound + h.inbound == 2 && h.known >= 2).await;
        assert_eq!(health.known, 2, "the sentry and the other one");
    }
    for node in [&mut first, &mut second, &mut sentry] {
        node.connected().await;
        node.connected().await;
    }
    let seen = |node: &Node| node.handle.peers().iter().map(|p| p.node_id).collect::<Vec<_>>();
    assert_eq!(seen(&behind), [sentry.id()]);
    for node in [&first, &second] {
        assert!(!seen(node).contains(&behind.id()), "a hidden node was found");
    }
    let of_hidden = sentry.handle.peers().into_iter().find(|p| p.node_id == behind.id()).unwrap();
    assert!(of_hidden.is_hidden() && of_hidden.direction == Direction::Inbound);
    // Its words to everybody, everybody else's to it.
    behind.handle.broadcast(Channel::Consensus, *b"vote");
    let (from, channel, bytes) = sentry.message().await;
    assert_eq!((from, &bytes[..]), (behind.id(), &b"vote"[..]));
    assert_eq!(sentry.handle.relay(from, channel, &bytes[..], |_| true), 2);
    for node in [&mut first, &mut second] {
        let (from, _, bytes) = node.message().await;
        assert_eq!((from, &bytes[..]), (sentry.id(), &b"vote"[..]));
    }
    first.handle.broadcast(Channel::Dag, *b"batch");
    let (from, channel, bytes) = sentry.message().await;
    assert_eq!(sentry.handle.relay(from, channel, &bytes[..], |_| true), 1);
    let (_, channel, bytes) = behind.message().await;
    assert_eq!((channel, &bytes[..]), (Channel::Dag, &b"batch"[..]));
    // Who only says that it is hidden gets no feed and no reach.
    let from = behind.id();
    assert_eq!(sentry.handle.relay(from, Channel::Dag, *b"vote", |_| false), 0);
    assert_eq!(sentry.handle.relay(first.id(), Channel::Dag, *b"vote", |_| false), 0);
    assert_eq!(sentry.handle.relay(id(99), Channel::Dag, *b"stranger", |_| true), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hidden_node_accepts_nobody_and_comes_back_to_its_sentry_at_once() {
    let mut sentry = Node::start(config(1, "127.0.0.1:0"));
    let mut behind = hidden(2, &[&sentry]);
    behind.connected().await;
    sentry.connected().await;
    let mut stranger = Node::knowing(3, &[&behind]);
    stranger.noted(|n| *n == Note::Refused(RefuseReason::Full)).await;
    // Whoever of the two the ring would have dial.
    sentry.handle.disconnect(behind.id(), "a test");
    sentry.disconnected().await;
    behind.disconnected().await;
    behind.connected().await;
    assert_eq!(behind.handle.peers()[0].direction, Direction::Outbound);
}
