//! A path with the delay of an ocean, carried by a relay that holds every byte back.

use super::harness::*;
use crate::*;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::{Instant, sleep_until},
};

const ONE_WAY: Duration = Duration::from_millis(100);

async fn delay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let (late, mut due) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((when, bytes)) = due.recv().await {
            sleep_until(when).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(got @ 1..) = from.read(&mut buffer).await {
        if late.send((Instant::now() + ONE_WAY, buffer[..got].to_vec())).is_err() {
            return;
        }
    }
}

/// An address that leads to `target`, 200 ms there and back.
async fn far(target: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(&target).await.unwrap();
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            tokio::spawn(delay(near_read, far_write));
            tokio::spawn(delay(far_read, near_write));
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_200_ms_apart_connect_and_move_megabytes_while_votes_pass() {
    // The lower id dials, so that nobody turns the connection round past the relay.
    let (dialler, listener) = ordered(1, 2);
    let mut a = Node::knowing(listener, &[]);
    let mut config = config(dialler, "127.0.0.1:0");
    config.bootstrap = vec![far(a.address()).await];
    let mut b = Node::start(config);
    a.connected().await;
    b.connected().await;
    let batch = vec![7u8; 5 * 1024 * 1024];
    for _ in 0..4 {
        b.handle.send(a.id(), Channel::Dag, batch.clone()).unwrap();
    }
    b.handle.send(a.id(), Channel::Consensus, &b"vote"[..]).unwrap();
    assert_eq!(a.message().await.1, Channel::Consensus, "the vote overtakes every batch");
    for _ in 0..4 {
        assert_eq!(a.message().await.2.len(), batch.len());
    }
}
