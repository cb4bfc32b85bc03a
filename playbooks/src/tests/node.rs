//! A node that answers as planted.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What the node says now.
#[derive(Clone)]
pub(super) struct State {
    pub(super) is_alive: bool,
    pub(super) is_ready: bool,
    pub(super) metrics: String,
    /// After so many more requests it becomes healthy.
    pub(super) heals_after: Option<u32>,
}

impl State {
    pub(super) fn healthy() -> Self {
        Self {
            is_alive: true,
            is_ready: true,
            metrics: "qbind_consensus_view_lag 2\nqbind_p2p_outbound_peers 5\n".into(),
            heals_after: None,
        }
    }

    pub(super) fn lagging() -> Self {
        let metrics = "qbind_consensus_view_lag 57\nqbind_p2p_outbound_peers 5\n".into();
        Self { is_ready: false, metrics, ..Self::healthy() }
    }

    pub(super) fn down() -> Self {
        Self { is_alive: false, ..Self::lagging() }
    }
}

pub(super) struct Node {
    address: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    pub(super) fn start(state: State) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let (state, stop) = (Mutex::new(state), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    answer(stream.expect("accepted"), &state);
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener; if it is gone already, so is the thread.
        TcpStream::connect(&self.address).map(drop).unwrap_or_default();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the node did not panic");
        }
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) {
    let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
    let Some(Ok(first)) = lines.next() else { return };
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let mut state = state.lock().expect("no panic");
    match state.heals_after {
        Some(0) => *state = State::healthy(),
        Some(left) => state.heals_after = Some(left - 1),
        None => {}
    }
    if !state.is_alive {
        return; // hangs up, as a process that is gone
    }
    let (status, body) = match first.split(' ').nth(1) {
        Some("/healthz") => (200, "ok".to_owned()),
        Some("/readyz") if state.is_ready => (200, "ok".to_owned()),
        Some("/readyz") => (503, "{}".to_owned()),
        Some("/metrics") => (200, state.metrics.clone()),
        _ => (404, String::new()),
    };
    let head =
        format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}", body.len());
    write!(stream, "{head}\r\n\r\n{body}").expect("the client waits");
}
