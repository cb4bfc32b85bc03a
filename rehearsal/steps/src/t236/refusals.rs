//! Each rule of admission broken once, to be refused by its own code.

use super::market::{Market, Rules};
use super::traders::{Wallet, wallets};
use crate::result::{Check, Scenario};
use qbind_dag::{EvictionMode, MempoolConfig};
use qbind_ledger::Params;
use qbind_types::{Address, Millis, Network, Payload, Transaction, TransferV1};

const BALANCE: u128 = 100_000_000;
const TO: Address = Address([0x77; 32]);

fn market(mempool: MempoolConfig, wallets: &[Wallet]) -> Market {
    let rules = Rules {
        network: Network::Mainnet,
        params: Params::mainnet(),
        mempool,
        block_transactions: 50,
        // Nothing leaves the pool between two blocks.
        batch_interval: Millis(9_000),
        report: |_| (),
        deaf: None,
    };
    let accounts = wallets.iter().map(|w| (w.address, BALANCE));
    Market::new(rules, accounts)
}

fn payload(gas_limit: u64, max_fee_per_gas: u128) -> Vec<u8> {
    Payload::V1(TransferV1 { recipient: TO, amount: 1, gas_limit, max_fee_per_gas }).encode()
}

fn altered(mut tx: Transaction) -> Transaction {
    tx.payload[47] ^= 1;
    tx
}

/// All codes, each from a transaction that breaks one rule.
pub(super) fn scenario(seed: u64) -> Scenario {
    let wallets = wallets(Network::Mainnet, seed, 5);
    let [a, b, c, d, e] = &wallets[..] else { unreachable!("five were made") };
    let tiny = MempoolConfig {
        capacity: 4,
        sender_transactions: 3,
        eviction_mode: EvictionMode::Enforce,
        evictions_per_interval: 1,
        eviction_interval: Millis(10_000),
        ..MempoolConfig::default()
    };
    let mut market = market(tiny, &wallets);
    let mut checks = Vec::new();
    let mut expect = |market: &mut Market, name: &str, tx: &Transaction, code: &str| {
        let got = market.submit(tx).map_or_else(|code| code, |_| "accepted");
        checks.push(Check::equal(name, code, got));
    };
    let m = &mut market;
    // The first transaction there is leaves at once; those that follow wait for company, or until an
    // interval after the last batch.
    expect(m, "the first transfer", &e.transfer(0, TO, 1, 10), "accepted");
    expect(m, "the next one", &e.transfer(1, TO, 1, 10), "accepted");
    let included = m.block(|_| Vec::new());
    let count = Check::equal("transfers in the first block", 2, included.len());
    let first = a.transfer(0, TO, 1, 10);
    expect(m, "another sender's signature", &forged(&first, b), "E_SIGNATURE");
    expect(m, "a payload altered after signing", &altered(first.clone()), "E_SIGNATURE");
    let devnet = super::traders::wallets(Network::Devnet, seed, 1);
    let foreign = devnet[0].transfer(0, TO, 1, 10);
    expect(m, "signed for another network", &foreign, "E_SIGNATURE");
    expect(m, "a payload of unknown length", &a.sign(0, vec![0; 60]), "E_PAYLOAD");
    expect(m, "less gas than a transfer takes", &a.sign(0, payload(30_000, 10)), "E_GAS_LIMIT");
    expect(m, "more gas than a block holds", &a.sign(0, payload(30_000_001, 1)), "E_GAS_LIMIT");
    expect(m, "no fee", &a.sign(0, payload(37_352, 0)), "E_FEE_LOW");
    let v0 = Payload::V0(qbind_types::TransferV0 { recipient: TO, amount: 1 }).encode();
    expect(m, "a payload without a fee field", &a.sign(0, v0), "E_FEE_LOW");
    expect(m, "an amount above the balance", &a.transfer(0, TO, BALANCE, 1), "E_BALANCE");
    expect(m, "a fee nobody can pay", &a.transfer(0, TO, 1, u128::MAX), "E_BALANCE");
    expect(m, "a nonce far ahead", &a.transfer(2_000, TO, 1, 10), "E_NONCE");
    expect(m, "a sound transfer", &first, "accepted");
    expect(m, "the same again", &first, "E_DUPLICATE");
    expect(m, "a replacement that bids too little", &a.transfer(0, TO, 2, 10), "E_FEE_LOW");
    expect(m, "a replacement that bids enough", &a.transfer(0, TO, 2, 11), "accepted");
    expect(m, "a second transfer", &a.transfer(1, TO, 1, 20), "accepted");
    let dear = a.transfer(2, TO, 1, 2_650);
    expect(m, "more than the rest of the balance with what is pending", &dear, "E_BALANCE");
    expect(m, "a third transfer", &a.transfer(2, TO, 1, 20), "accepted");
    expect(m, "one more than a sender may have", &a.transfer(3, TO, 1, 20), "E_SENDER_LIMIT");
    expect(m, "the last place in the pool", &b.transfer(0, TO, 1, 5), "accepted");
    expect(m, "a full pool and nothing cheaper in it", &c.transfer(0, TO, 1, 5), "E_FULL");
    expect(m, "a better bid for a full pool", &c.transfer(0, TO, 1, 6), "accepted");
    expect(m, "one eviction more than an interval has", &d.transfer(0, TO, 1, 7), "E_RATE");
    checks.push(count);
    let included = market.block(|_| Vec::new());
    checks.push(Check::equal("accepted transfers in the next block", 4, included.len()));
    let used = a.transfer(0, TO, 2, 11);
    let got = market.submit(&used).map_or_else(|code| code, |_| "accepted");
    checks.push(Check::equal("a transfer that is committed", "E_NONCE", got));
    checks.push(Check::equal("evictions", 1, market.tally.evictions));
    checks.extend(market.checks());
    Scenario::new("every_refusal_by_its_code", checks)
}

/// `tx` with the signature and key of somebody else.
fn forged(tx: &Transaction, other: &Wallet) -> Transaction {
    Transaction { sender: tx.sender, ..other.sign(tx.nonce, tx.payload.clone()) }
}
