//! When which transfer is due.

use super::{Options, Sender, ledger::Ledger};
use qbind_crypto::{preimage, tx_id};
use qbind_gates::records::{Fate, LoadTransaction};
use qbind_types::{Payload, SIGNATURE_BYTES, Signature, Transaction, TransferV1, encode};
use std::{sync::Arc, thread, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// Transfers signed before they are due.
const AHEAD: usize = 2_000;
/// Later than this the load is not the one asked for, and it is counted as our own fault. Smaller
/// lateness is part of the latency, which counts from when a transfer was due.
const LATE: Duration = Duration::from_millis(100);

/// Signs all transfers in order on a thread of its own; each arrives as its place in the ledger.
pub(super) fn sign(
    options: Arc<Options>,
    mut senders: Vec<Sender>,
    ledger: Arc<Ledger>,
) -> mpsc::Receiver<usize> {
    let (to, from) = mpsc::channel(AHEAD);
    let total = options.total();
    let work = move || {
        let recipients: Vec<_> = senders.iter().map(|s| s.address).collect();
        for n in 0..total {
            let at = usize::try_from(n % senders.len() as u64).expect("an index of a list");
            let recipient = recipients[(at + 1) % recipients.len()];
            let sender = &mut senders[at];
            let payload = Payload::V1(TransferV1 {
                recipient,
                amount: options.amount,
                gas_limit: options.gas_limit,
                max_fee_per_gas: options.max_fee_per_gas,
            });
            let transaction = signed(options.network, sender, payload);
            sender.nonce += 1;
            let record = LoadTransaction {
                n,
                id: tx_id(options.network, &transaction),
                account: u32::try_from(at).unwrap_or(u32::MAX),
                nonce: transaction.nonce,
                node: String::new(),
                scheduled_us: due_us(n, options.rate_per_second),
                sent_us: None,
                accepted_us: None,
                committed_us: None,
                height: None,
                submissions: 0,
                fate: Fate::Unanswered,
                code: None,
            };
            ledger.add(record, encode(&transaction));
            let place = usize::try_from(n).expect("bounded by the options");
            if to.blocking_send(place).is_err() {
                // The load ended early; nobody waits for more.
                return;
            }
        }
    };
    thread::Builder::new()
        .name("load-signer".to_owned())
        .spawn(work)
        .expect("a process can start one thread more");
    from
}

fn signed(network: qbind_types::Network, sender: &Sender, payload: Payload) -> Transaction {
    let empty = Signature::from_slice(&[0; SIGNATURE_BYTES]).expect("of the right length");
    let mut transaction = Transaction {
        sender: sender.address,
        nonce: sender.nonce,
        payload: payload.encode(),
        suite: 100,
        public_key: sender.key.public_key(),
        signature: empty,
    };
    transaction.signature = sender.key.sign(&preimage::transaction(network, &transaction));
    transaction
}

/// When transfer `n` is due, from the start.
fn due_us(n: u64, rate_per_second: u32) -> u64 {
    n * 1_000_000 / u64::from(rate_per_second.max(1))
}

/// Waits until enough is signed that signing cannot hold the schedule up at its start.
pub(super) async fn filled(from: mpsc::Receiver<usize>, total: u64) -> mpsc::Receiver<usize> {
    let enough = usize::try_from(total).unwrap_or(usize::MAX).min(AHEAD / 4);
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    while from.len() < enough && !from.is_closed() {
        ticks.tick().await;
    }
    from
}

/// Hands each transfer to its account when it is due.
pub(super) async fn run(
    signed: &mut mpsc::Receiver<usize>,
    queues: &[mpsc::UnboundedSender<usize>],
    options: &Options,
    ledger: &Ledger,
    start: Instant,
) {
    while let Some(n) = signed.recv().await {
        let due = start + Duration::from_micros(due_us(n as u64, options.rate_per_second));
        sleep_until(due).await;
        ledger.offered(Instant::now().saturating_duration_since(due) > LATE);
        // Queues are bounded by the number of transfers; an account ends only after us.
        if queues[n % queues.len()].send(n).is_err() {
            return;
        }
    }
}
