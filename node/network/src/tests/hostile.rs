//! Peers that proved a key and then misbehave.

use super::harness::*;
use crate::{
    handshake::{ChannelBinding, Hello, Introduction, Verdict, exchange, receive, send},
    transport::Side,
    *,
};
use futures::AsyncWriteExt;
use libp2p::{core::muxing::SubstreamBox, identity::Keypair};
use qbind_types::Network;
use std::sync::Arc;
use std::time::Duration;

/// A connection made by hand.
struct Stranger {
    streams: driver::Streams,
    control: SubstreamBox,
}

impl Stranger {
    async fn admitted(seed: u8, node: &Node) -> Self {
        let secret = secret(seed);
        let keypair = Keypair::generate_ed25519();
        let tcp = transport::connect(&node.address(), None).await.unwrap();
        let (peer, muxer) = transport::secure(tcp, &keypair, Side::Dialler).await.unwrap();
        let (streams, _) = driver::Streams::run(muxer);
        let mut control = streams.open().await.unwrap();
        let binding = ChannelBinding { dialler: keypair.public().to_peer_id(), listener: peer };
        let hello = Hello::new(
            Network::Devnet,
            (GENESIS, [0; 32]),
            Role::Rpc,
            secret.public_key(),
            // Nobody listens there, so nobody comes to turn the connection round.
            Some("127.0.0.1:1".into()),
            1,
        );
        let turn = Arc::new(tokio::sync::Semaphore::new(1));
        let us = Introduction { identity: Arc::new(secret.clone()), turn, hello };
        exchange(&mut control, Side::Dialler, &binding, &us).await.unwrap();
        if id(seed) < node.id() {
            assert_eq!(receive::<_, Verdict>(&mut control).await.unwrap(), Verdict::Accept(0));
            send(&mut control, &Verdict::Accept(1)).await.unwrap();
        } else {
            send(&mut control, &Verdict::Accept(0)).await.unwrap();
            let verdict: Verdict = receive(&mut control).await.unwrap();
            assert!(matches!(verdict, Verdict::Accept(_)));
        }
        Self { streams, control }
    }

    async fn open(&self, number: u8) -> SubstreamBox {
        let mut stream = self.streams.open().await.unwrap();
        stream.write_all(&[number]).await.unwrap();
        stream.flush().await.unwrap();
        stream
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claimed_length_beyond_the_limit_ends_in_a_ban() {
    let mut node = Node::knowing(1, &[]);
    let stranger = Stranger::admitted(2, &node).await;
    node.connected().await;
    let mut consensus = stranger.open(0).await;
    let _dag = stranger.open(1).await;
    let _sync = stranger.open(2).await;
    let claim = u32::try_from(Channel::Consensus.max_message_bytes() + 1).unwrap();
    consensus.write_all(&claim.to_be_bytes()).await.unwrap();
    consensus.flush().await.unwrap();
    node.noted(|n| *n == Note::Evicted(EvictReason::Violation)).await;
    assert_eq!(node.disconnected().await, id(2));
    let mut again = Node::knowing(2, &[&node]);
    again.noted(|n| *n == Note::Refused(RefuseReason::Banned)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_bytes_of_no_known_message_end_the_connection() {
    let mut node = Node::knowing(1, &[]);
    let mut stranger = Stranger::admitted(2, &node).await;
    node.connected().await;
    let mut kept = Vec::new();
    for number in 0..3 {
        kept.push(stranger.open(number).await);
    }
    stranger.control.write_all(&[0, 0, 0, 1, 0xee]).await.unwrap();
    stranger.control.flush().await.unwrap();
    node.noted(|n| *n == Note::Evicted(EvictReason::Violation)).await;
    assert_eq!(node.disconnected().await, id(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_channel_is_a_violation() {
    let mut node = Node::knowing(1, &[]);
    let stranger = Stranger::admitted(2, &node).await;
    node.connected().await;
    let _first = stranger.open(1).await;
    let _second = stranger.open(1).await;
    node.noted(|n| *n == Note::Evicted(EvictReason::Violation)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_answers_no_heartbeat_is_evicted() {
    let mut quick = config(1, "127.0.0.1:0");
    quick.heartbeat = Heartbeat {
        interval: Duration::from_millis(20),
        timeout: Duration::from_millis(20),
        max_failures: 2,
    };
    let mut node = Node::start(quick);
    let stranger = Stranger::admitted(2, &node).await;
    node.connected().await;
    let mut kept = Vec::new();
    for number in 0..3 {
        kept.push(stranger.open(number).await);
    }
    node.noted(|n| *n == Note::Heartbeat(HeartbeatStep::Failed)).await;
    node.noted(|n| *n == Note::Evicted(EvictReason::Liveness)).await;
    assert_eq!(node.disconnected().await, id(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_instead_of_a_handshake_is_counted_and_forgotten() {
    let mut node = Node::knowing(1, &[]);
    let keypair = Keypair::generate_ed25519();
    let tcp = transport::connect(&node.address(), None).await.unwrap();
    let (_, muxer) = transport::secure(tcp, &keypair, Side::Dialler).await.unwrap();
    let (streams, _) = driver::Streams::run(muxer);
    let mut stream = streams.open().await.unwrap();
    stream.write_all(&[0, 0, 0, 3, 1, 2, 3]).await.unwrap();
    stream.flush().await.unwrap();
    node.noted(|n| *n == Note::Refused(RefuseReason::Malformed)).await;
    assert!(node.events.try_recv().is_err());
}
