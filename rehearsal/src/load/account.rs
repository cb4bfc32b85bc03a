//! One account: its transfers in nonce order, to one node at a time.

use super::{LoadError, Options, ledger::Ledger};
use qbind_gates::records::Fate;
use qbind_scrape::{FetchError, Fetcher, Target};
use qbind_types::Address;
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep},
};

/// Answers to a submission are small.
const ANSWER_BYTES: usize = 64 << 10;
/// How often open transfers are looked at.
const TICK: Duration = Duration::from_millis(250);
/// Before a node that is full, or behind, is asked again.
const PAUSE: Duration = Duration::from_millis(200);
/// Refusals for one reason that may pass, before another node is tried.
const PATIENCE: u32 = 10;

#[derive(Deserialize)]
struct AccountAnswer {
    nonce: u64,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    code: String,
}

/// The next nonce of an account, from the first node that tells.
pub(super) async fn nonce(
    fetcher: &Fetcher,
    targets: &[Target],
    place: usize,
    address: Address,
) -> Result<u64, LoadError> {
    let path = format!("/v1/accounts/{address}");
    let mut last = FetchError::Unreachable { reason: "no node".to_owned() };
    for target in targets.iter().cycle().skip(place % targets.len()).take(targets.len()) {
        match fetcher.json::<AccountAnswer>(target, &path, ANSWER_BYTES).await {
            Ok(answer) => return Ok(answer.nonce),
            Err(e) => last = e,
        }
    }
    Err(LoadError::Account { address, source: last })
}

/// What a node made of a submission.
enum Answer {
    Accepted,
    /// Try again, here or elsewhere.
    Later(String),
    /// The node's view of the account is not ours.
    Nonce,
    /// The node is of no use now.
    Elsewhere(String),
    /// No node will ever take it.
    Never(String),
}

struct Account {
    options: Arc<Options>,
    fetcher: Fetcher,
    ledger: Arc<Ledger>,
    /// Index into the targets.
    node: usize,
    /// To be sent, by place in the ledger, which is nonce order.
    to_send: BTreeMap<usize, ()>,
    /// Accepted by `node` and not settled, with the time of acceptance.
    open: BTreeMap<usize, Instant>,
    refusals: u32,
    /// Set once a transfer was refused for good: later nonces have no predecessor.
    is_blocked: bool,
}

/// Starts the task of account `place`, and the queue it is fed through.
pub(super) fn spawn(
    place: usize,
    options: &Arc<Options>,
    fetcher: &Fetcher,
    ledger: &Arc<Ledger>,
    stop: &watch::Receiver<bool>,
) -> (JoinHandle<()>, mpsc::UnboundedSender<usize>) {
    let (to, from) = mpsc::unbounded_channel();
    let account = Account {
        node: place % options.targets.len(),
        options: options.clone(),
        fetcher: fetcher.clone(),
        ledger: ledger.clone(),
        to_send: BTreeMap::new(),
        open: BTreeMap::new(),
        refusals: 0,
        is_blocked: false,
    };
    (tokio::spawn(account.run(from, stop.clone())), to)
}

impl Account {
    async fn run(
        mut self,
        mut queue: mpsc::UnboundedReceiver<usize>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut ticks = tokio::time::interval(TICK);
        let mut is_fed = true;
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stopped| *stopped) => return,
                next = queue.recv(), if is_fed => match next {
                    Some(n) => self.take(n),
                    None => is_fed = false,
                },
                _ = ticks.tick() => {}
            }
            while let Ok(n) = queue.try_recv() {
                self.take(n);
            }
            self.look_after_open();
            let mut sending = stop.clone();
            // A slow node must not keep the load from ending.
            tokio::select! {
                biased;
                _ = sending.wait_for(|stopped| *stopped) => return,
                () = self.send_all(&mut queue) => {}
            }
        }
    }

    fn take(&mut self, n: usize) {
        if self.is_blocked {
            self.ledger.end(n, Fate::Skipped);
        } else {
            self.to_send.insert(n, ());
        }
    }

    /// Forgets what is settled; moves on when the oldest open transfer waits too long.
    fn look_after_open(&mut self) {
        self.open.retain(|n, _| !self.ledger.is_settled(*n));
        self.to_send.retain(|n, ()| !self.ledger.is_settled(*n));
        let patience = self.options.resubmit_after;
        if self.open.values().any(|since| since.elapsed() >= patience) {
            self.move_on();
        }
    }

    /// Goes to the next node with everything that is still open: it may know none of it.
    fn move_on(&mut self) {
        self.node = (self.node + 1) % self.options.targets.len();
        self.refusals = 0;
        self.reopen();
    }

    fn reopen(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.to_send.extend(open.into_keys().map(|n| (n, ())));
    }

    /// Sends in nonce order until nothing is left, or the node asks for patience.
    async fn send_all(&mut self, queue: &mut mpsc::UnboundedReceiver<usize>) {
        while let Some((&n, ())) = self.to_send.first_key_value() {
            let Some(bytes) = self.ledger.bytes(n) else {
                self.to_send.remove(&n);
                continue;
            };
            let target = self.options.targets[self.node].clone();
            self.ledger.sent(n, &target.name);
            match self.submit(&target, bytes).await {
                Answer::Accepted => {
                    self.refusals = 0;
                    self.ledger.accepted(n);
                    self.to_send.remove(&n);
                    self.open.insert(n, Instant::now());
                }
                Answer::Later(code) => {
                    self.ledger.code(n, &code);
                    self.wait_or_move().await;
                }
                Answer::Nonce => {
                    self.ledger.code(n, "E_NONCE");
                    self.after_nonce(n).await;
                }
                Answer::Elsewhere(code) => {
                    self.ledger.code(n, &code);
                    self.move_on();
                    sleep(PAUSE).await;
                }
                Answer::Never(code) => {
                    self.ledger.code(n, &code);
                    self.refuse(n);
                }
            }
            while let Ok(n) = queue.try_recv() {
                self.take(n);
            }
            self.look_after_open();
        }
    }

    /// The node lacks an earlier transfer, or has executed less, or more, than we know of.
    async fn after_nonce(&mut self, n: usize) {
        let has_earlier = self.open.range(..n).next().is_some();
        if has_earlier {
            // Accepted here once, yet unknown: a restarted node has lost its pool.
            self.reopen();
        } else if self.ledger.was_accepted(n) {
            // Its nonce is used up: it is committed, and a follower will say so.
            self.to_send.remove(&n);
            self.open.insert(n, Instant::now());
            return;
        }
        self.wait_or_move().await;
    }

    async fn wait_or_move(&mut self) {
        self.refusals += 1;
        if self.refusals >= PATIENCE {
            self.move_on();
        }
        sleep(PAUSE).await;
    }

    fn refuse(&mut self, n: usize) {
        self.to_send.remove(&n);
        if self.ledger.was_accepted(n) {
            // Another node took it before; it can still commit.
            self.open.insert(n, Instant::now());
            return;
        }
        self.ledger.end(n, Fate::Rejected);
        self.is_blocked = true;
        let later: Vec<usize> = self.to_send.keys().copied().filter(|other| *other > n).collect();
        for other in later {
            self.to_send.remove(&other);
            if self.ledger.was_accepted(other) {
                self.open.insert(other, Instant::now());
            } else {
                self.ledger.end(other, Fate::Skipped);
            }
        }
    }

    async fn submit(&self, target: &Target, bytes: Arc<Vec<u8>>) -> Answer {
        let body = bytes.as_ref().clone();
        let result = self.fetcher.post(target, "/v1/transactions", body, ANSWER_BYTES).await;
        let (status, body) = match result {
            Ok(answer) => answer,
            Err(e) => {
                let code = match e {
                    FetchError::Slow { .. } => "CLIENT_TIMEOUT",
                    _ => "CLIENT_UNREACHABLE",
                };
                return Answer::Elsewhere(code.to_owned());
            }
        };
        if status == 202 {
            return Answer::Accepted;
        }
        let code = serde_json::from_slice::<ErrorAnswer>(&body)
            .map_or_else(|_| format!("HTTP_{status}"), |answer| answer.code);
        match code.as_str() {
            "E_DUPLICATE" => Answer::Accepted,
            "E_NONCE" => Answer::Nonce,
            "E_FULL" | "E_RATE" | "E_SENDER_LIMIT" | "E_BUSY" => Answer::Later(code),
            "E_PAYLOAD" | "E_SIGNATURE" | "E_BALANCE" | "E_FEE_LOW" | "E_GAS_LIMIT" => {
                Answer::Never(code)
            }
            _ if status == 429 => Answer::Later(code),
            _ => Answer::Elsewhere(code),
        }
    }
}
