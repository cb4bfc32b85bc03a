//! What a ledger of many accounts costs: memory per account, and processor seconds of one thread to
//! restore it and to apply blocks that change accounts nobody touched before (nonces only, as on DevNet).
//!
//! `cargo run -p qbind-ledger --example state_memory [ACCOUNTS]`

use qbind_ledger::{
    Account, BlockInput, Ledger, LevelRunner, NoEvidence, Params, SerialRunner, System,
};
use qbind_types::{
    Address, Epoch, Height, Millis, PUBLIC_KEY_BYTES, Payload, PublicKey, SIGNATURE_BYTES,
    Signature, Transaction, TransferV0,
};
use sha3::{Digest, Sha3_256};
use std::time::Duration;

/// Transfers in a block.
const TRANSFERS: u64 = 1_000;
const BLOCKS: u64 = 10;

fn address(n: u64) -> Address {
    Address(Sha3_256::digest(n.to_be_bytes()).into())
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("the second number") * 4_096
}

/// Time this thread had a processor: other processes of the machine do not count.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("the first number"))
}

fn transfer(from: u64, to: u64) -> Transaction {
    let payload = Payload::V0(TransferV0 { recipient: address(to), amount: 1 });
    Transaction {
        sender: address(from),
        nonce: 0,
        payload: payload.encode(),
        suite: 100,
        public_key: PublicKey::from_slice(&[0; PUBLIC_KEY_BYTES]).expect("its length"),
        signature: Signature::from_slice(&[0; SIGNATURE_BYTES]).expect("its length"),
    }
}

fn main() {
    let count: u64 = std::env::args().nth(1).map_or(1_000_000, |n| n.parse().expect("a number"));
    let mut accounts: Vec<(Address, Account)> =
        (0..count).map(|n| (address(n), Account { nonce: 0, balance: 1_000_000 })).collect();
    // As the database hands them out.
    accounts.sort_unstable();
    let before = resident_bytes();
    let begun = processor_time();
    let mut ledger =
        Ledger::restore(Params::devnet(), Height(0), System::none(), accounts.iter().copied())
            .expect("a small sum");
    let restored = processor_time() - begun;
    let used = resident_bytes() - before;
    println!("accounts            {count}");
    println!("restore             {:.2} s", restored.as_secs_f64());
    println!("memory              {} bytes an account", used / count);
    let runner: &dyn LevelRunner = &SerialRunner;
    let mut spent = Duration::ZERO;
    for block in 0..BLOCKS {
        let first = block * TRANSFERS;
        let transactions: Vec<Transaction> = (first..first + TRANSFERS)
            .map(|n| transfer(n % count, count - 1 - n % count))
            .collect();
        let transactions: Vec<&Transaction> = transactions.iter().collect();
        let input = BlockInput {
            height: ledger.height().next(),
            epoch: Epoch(0),
            time: Millis(0),
            proposer: Address([0xff; 32]),
            transactions: &transactions,
        };
        let begun = processor_time();
        let applied = ledger.apply(&input, runner, &NoEvidence);
        spent += processor_time() - begun;
        assert!(applied.changes.len() > 1);
    }
    let ms = spent.as_secs_f64() * 1_000.0 / f64::from(u32::try_from(BLOCKS).expect("small"));
    println!("block of {TRANSFERS}       {ms:.1} ms");
    println!("memory after blocks {} bytes an account", (resident_bytes() - before) / count);
}
