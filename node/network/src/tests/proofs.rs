//! What must not pass for a proof.

use super::harness::{GENESIS, secret};
use crate::{
    RefuseReason, Role,
    frame::{read_frame, write_frame},
    handshake::{ChannelBinding, HandshakeError, Hello, Introduction, exchange},
    transport::Side,
};
use libp2p::{PeerId, identity::Keypair};
use qbind_crypto::SecretKey;
use qbind_types::{GenesisHash, Network};
use std::sync::Arc;
use tokio::{
    io::{DuplexStream, duplex},
    sync::Semaphore,
};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

type Outcome = Result<Hello, HandshakeError>;

fn peer_id() -> PeerId {
    Keypair::generate_ed25519().public().to_peer_id()
}

fn hello(secret: &SecretKey, network: Network, genesis: GenesisHash) -> Hello {
    Hello::new(network, (genesis, [0; 32]), Role::Validator, secret.public_key(), None, 9000)
}

fn introduction(secret: &SecretKey, hello: Hello) -> Introduction {
    let turn = Arc::new(Semaphore::new(1));
    Introduction { identity: Arc::new(secret.clone()), turn, hello }
}

fn devnet(secret: &SecretKey) -> Introduction {
    introduction(secret, hello(secret, Network::Devnet, GENESIS))
}

fn pipe() -> (Compat<DuplexStream>, Compat<DuplexStream>) {
    let (a, b) = duplex(64 * 1024);
    (a.compat(), b.compat())
}

async fn between(
    dialler: &Introduction,
    listener: &Introduction,
    (ours, theirs): (ChannelBinding, ChannelBinding),
) -> (Outcome, Outcome) {
    let (mut a, mut b) = pipe();
    tokio::join!(
        exchange(&mut a, Side::Dialler, &ours, dialler),
        exchange(&mut b, Side::Listener, &theirs, listener),
    )
}

fn same() -> (ChannelBinding, ChannelBinding) {
    let binding = ChannelBinding { dialler: peer_id(), listener: peer_id() };
    (binding, binding)
}

fn refused(outcome: &Outcome) -> Option<RefuseReason> {
    match outcome {
        Err(HandshakeError::Refused { reason }) => Some(*reason),
        _ => None,
    }
}

#[tokio::test]
async fn two_honest_sides_learn_each_others_key() {
    let (a, b) = (secret(1), secret(2));
    let (ours, theirs) = between(&devnet(&a), &devnet(&b), same()).await;
    assert_eq!(ours.unwrap().public_key, b.public_key());
    assert_eq!(theirs.unwrap().public_key, a.public_key());
}

#[tokio::test]
async fn another_network_genesis_rules_version_or_oneself_is_refused_by_both() {
    let (a, b) = (secret(1), secret(2));
    let us = devnet(&a);
    let other = Hello { rules: [1; 32], ..hello(&b, Network::Devnet, GENESIS) };
    let old = Hello { version: 0, ..hello(&b, Network::Devnet, GENESIS) };
    for (theirs, reason) in [
        (hello(&b, Network::Testnet, GENESIS), RefuseReason::Network),
        (hello(&b, Network::Devnet, GenesisHash([8; 32])), RefuseReason::Genesis),
        (other, RefuseReason::Rules),
        (old, RefuseReason::Version),
        (hello(&a, Network::Devnet, GENESIS), RefuseReason::SelfConnection),
    ] {
        let them = introduction(&b, theirs);
        let (ours, theirs) = between(&us, &them, same()).await;
        assert_eq!((refused(&ours), refused(&theirs)), (Some(reason), Some(reason)));
    }
}

#[tokio::test]
async fn a_key_without_its_secret_is_refused() {
    let (a, b, thief) = (secret(1), secret(2), secret(3));
    let them = introduction(&thief, hello(&b, Network::Devnet, GENESIS));
    let (ours, _) = between(&devnet(&a), &them, same()).await;
    assert_eq!(refused(&ours), Some(RefuseReason::BadProof));
}

#[tokio::test]
async fn a_handshake_relayed_between_two_channels_is_refused_by_both() {
    let (a, b) = (secret(1), secret(2));
    let (dialler, listener, relay) = (peer_id(), peer_id(), peer_id());
    // The relay copies every byte; only its own Noise id stands on each channel.
    let ours = ChannelBinding { dialler, listener: relay };
    let theirs = ChannelBinding { dialler: relay, listener };
    let (ours, theirs) = between(&devnet(&a), &devnet(&b), (ours, theirs)).await;
    assert_eq!(refused(&ours), Some(RefuseReason::BadProof));
    assert_eq!(refused(&theirs), Some(RefuseReason::BadProof));
}

#[tokio::test]
async fn any_changed_byte_of_a_hello_is_noticed() {
    let (a, b) = (secret(1), secret(2));
    let (binding, _) = same();
    // The last 32 bytes are the nonce, the two before them the port: neither is checked otherwise.
    for from_end in [1, 33] {
        let (mut a_end, mut a_wire) = pipe();
        let (mut b_wire, mut b_end) = pipe();
        let meddle = async move {
            let mut frame = read_frame(&mut b_wire, 8192).await.unwrap().unwrap();
            let at = frame.len() - from_end;
            frame[at] ^= 1;
            write_frame(&mut a_wire, &frame).await.unwrap();
            let from_a = read_frame(&mut a_wire, 8192).await.unwrap().unwrap();
            write_frame(&mut b_wire, &from_a).await.unwrap();
            let proof = read_frame(&mut b_wire, 8192).await.unwrap().unwrap();
            write_frame(&mut a_wire, &proof).await.unwrap();
            // Our side must still be able to refuse; the other gets nothing more.
            a_wire
        };
        let (us, them) = (devnet(&a), devnet(&b));
        let listening = async move {
            let outcome = exchange(&mut b_end, Side::Listener, &binding, &them).await;
            assert!(outcome.is_err());
        };
        let dialling = async move { exchange(&mut a_end, Side::Dialler, &binding, &us).await };
        let (ours, (), _) = tokio::join!(dialling, listening, meddle);
        assert_eq!(refused(&ours), Some(RefuseReason::BadProof), "{from_end} from the end");
    }
}

#[tokio::test]
async fn a_proof_of_an_earlier_handshake_is_refused() {
    let (a, b) = (secret(1), secret(2));
    let (binding, _) = same();
    // Record what b sends to a.
    let (mut a_end, mut b_end) = pipe();
    let (us, them) = (devnet(&a), devnet(&b));
    let listening = exchange(&mut b_end, Side::Listener, &binding, &them);
    let recording = async move {
        write_frame(&mut a_end, &qbind_types::encode(&us.hello)).await.unwrap();
        let hello = read_frame(&mut a_end, 8192).await.unwrap().unwrap();
        let proof = read_frame(&mut a_end, 8192).await.unwrap().unwrap();
        (hello, proof)
    };
    let (_, (hello, proof)) = tokio::join!(listening, recording);
    // Play it to a again, under the same Noise ids: a's nonce is a new one.
    let (mut a_end, mut replay) = pipe();
    let us = devnet(&a);
    let playing = async {
        write_frame(&mut replay, &hello).await.unwrap();
        write_frame(&mut replay, &proof).await.unwrap();
    };
    let (ours, ()) = tokio::join!(exchange(&mut a_end, Side::Dialler, &binding, &us), playing);
    assert_eq!(refused(&ours), Some(RefuseReason::BadProof));
}
