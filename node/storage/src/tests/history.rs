//! The index of transactions has every one of them once, and no gap.

use super::{genesis, record};
use crate::{History, HistoryError, HistoryQuery, IndexedTransaction, Place, Store};
use qbind_ledger::{FailureReason, Receipt, SkipReason, Status};
use qbind_replica::{CommitRecord, Transfer};
use qbind_types::*;
use std::path::Path;

fn address(n: u64) -> Address {
    Address([n as u8; 32])
}

/// A block with transfers between five accounts: some fail, some have no effect.
fn busy(height: u64, count: u32) -> CommitRecord {
    let mut record = record(height);
    for index in 0..count {
        let n = height * 7 + u64::from(index);
        let status = match n % 5 {
            0 => Status::Failed(FailureReason::InsufficientBalance),
            1 => Status::Skipped(SkipReason::Nonce),
            _ => Status::Success,
        };
        let mut id = [0; 32];
        id[..8].copy_from_slice(&height.to_be_bytes());
        id[8..12].copy_from_slice(&index.to_be_bytes());
        record.transactions.push(TxId(id));
        let fee = u128::from(index);
        let receipt = Receipt { tx_index: index, status, gas_used: 1, fee, burned: 0 };
        record.receipts.push(receipt);
        // Now and then to oneself.
        let (sender, recipient) = (address(n % 5), address((n / 2) % 5));
        record.transfers.push(Transfer { sender, recipient, amount: u128::from(n) });
    }
    record
}

fn effective(record: &CommitRecord) -> Vec<(TxId, Transfer)> {
    let all = record.transactions.iter().zip(&record.receipts).zip(&record.transfers);
    all.filter(|((_, receipt), _)| !matches!(receipt.status, Status::Skipped(_)))
        .map(|((id, _), transfer)| (*id, *transfer))
        .collect()
}

fn open(dir: &Path) -> Store {
    Store::open(dir, genesis()).unwrap().with_index().unwrap()
}

fn query(account: Option<Address>, limit: usize) -> HistoryQuery {
    HistoryQuery { account, from: Height(0), to: Height(u64::MAX), after: None, limit }
}

fn ids(items: &[IndexedTransaction]) -> Vec<TxId> {
    items.iter().map(|t| t.id).collect()
}

fn page(store: &Store, query: &HistoryQuery) -> History {
    let page = store.history(query).unwrap();
    assert!(page.items.len() <= query.limit);
    assert!(page.items.is_sorted_by_key(IndexedTransaction::place));
    page
}

#[test]
fn pages_hold_everything_once_while_blocks_arrive() {
    for account in [None, Some(address(3))] {
        for limit in [1, 2, 7, 1_000] {
            let dir = tempfile::tempdir().unwrap();
            let store = open(dir.path());
            let (mut height, mut expected, mut seen) = (0, Vec::new(), Vec::new());
            let mut query = query(account, limit);
            loop {
                // A block before every page, up to a point.
                if height < 20 {
                    height += 1;
                    let block = busy(height, (height % 4) as u32 * 3);
                    let concerns =
                        |t: &Transfer| account.is_none_or(|a| t.sender == a || t.recipient == a);
                    let all = effective(&block).into_iter().filter(|(_, t)| concerns(t));
                    expected.extend(all.map(|(id, _)| id));
                    store.commit(&block, Millis(0)).unwrap();
                }
                let page = page(&store, &query);
                query.after = page.items.last().map(IndexedTransaction::place).or(query.after);
                seen.extend(ids(&page.items));
                if !page.has_more && height == 20 {
                    break;
                }
            }
            assert!(!expected.is_empty());
            assert_eq!(seen, expected, "{account:?}, {limit} a page");
        }
    }
}

#[test]
fn an_entry_says_what_happened() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let block = busy(1, 6);
    store.commit(&block, Millis(0)).unwrap();
    for entry in page(&store, &query(None, 100)).items {
        let at = entry.index as usize;
        let transfer = block.transfers[at];
        assert_eq!(entry.id, block.transactions[at]);
        assert_eq!((entry.height, entry.fee), (Height(1), block.receipts[at].fee));
        assert_eq!((entry.sender, entry.recipient), (transfer.sender, transfer.recipient));
        assert_eq!((entry.amount, entry.status), (transfer.amount, block.receipts[at].status));
    }
}

#[test]
fn heights_and_places_bound_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for height in 1..=9 {
        store.commit(&busy(height, 5), Millis(0)).unwrap();
    }
    let heights = |from, to| {
        let query = HistoryQuery { from: Height(from), to: Height(to), ..query(None, 1_000) };
        let mut heights: Vec<u64> = page(&store, &query).items.iter().map(|t| t.height.0).collect();
        heights.dedup();
        heights
    };
    assert_eq!(heights(3, 5), [3, 4, 5]);
    assert_eq!(heights(8, 99), [8, 9]);
    assert_eq!(heights(6, 5), [0; 0]);
    let beyond = Place { height: Height(10), index: 0 };
    let after = |after| HistoryQuery { after: Some(after), ..query(None, 5) };
    let error = store.history(&after(beyond)).unwrap_err();
    assert_eq!(error.to_string(), "the index ends at height 9, 10-0 is beyond it");
    let last = Place { height: Height(9), index: u32::MAX };
    assert!(page(&store, &after(last)).items.is_empty());
    assert!(!page(&store, &query(Some(address(200)), 5)).has_more, "an account without any");
}

#[test]
fn a_cursor_is_one_text_for_one_place() {
    let place = Place { height: Height(u64::MAX), index: 7 };
    assert_eq!(place.to_string().parse(), Ok(place));
    for text in ["", "-", "1", "1-", "-1", "+1-2", "01-2", "1-2-3", "1-4294967296", "a-b", "1 -2"] {
        assert!(text.parse::<Place>().is_err(), "{text}");
    }
}

#[test]
fn an_index_says_where_it_begins_and_begins_anew_after_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let plain = Store::open(dir.path(), genesis()).unwrap();
    assert!(matches!(plain.history(&query(None, 1)), Err(HistoryError::NoIndex)));
    plain.commit(&busy(1, 5), Millis(0)).unwrap();
    drop(plain);
    let store = open(dir.path());
    store.commit(&busy(2, 5), Millis(0)).unwrap();
    let all = page(&store, &query(None, 100));
    assert_eq!((all.from, all.to), (Height(2), Height(2)));
    assert!(all.items.iter().all(|t| t.height == Height(2)) && !all.items.is_empty());
    drop(store);
    // The same index goes on.
    let store = open(dir.path());
    store.commit(&busy(3, 5), Millis(0)).unwrap();
    assert_eq!(page(&store, &query(None, 100)).from, Height(2));
    drop(store);
    // A block without index: no page may hide it.
    let plain = Store::open(dir.path(), genesis()).unwrap();
    plain.commit(&busy(4, 5), Millis(0)).unwrap();
    drop(plain);
    let store = open(dir.path());
    let all = page(&store, &query(None, 100));
    assert_eq!((all.from, all.to, all.items.len()), (Height(5), Height(4), 0));
    store.commit(&busy(5, 5), Millis(0)).unwrap();
    let account = page(&store, &query(Some(address(0)), 100));
    assert!(account.items.iter().all(|t| t.height == Height(5)));
}

#[test]
fn pruning_forgets_old_heights_everywhere_and_is_told() {
    for most in [1, 3, 1_000] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        for height in 1..=9 {
            store.commit(&busy(height, 5), Millis(0)).unwrap();
        }
        let all = page(&store, &query(None, 1_000)).items;
        assert_eq!(store.prune_index(Height(1), most).unwrap(), 0);
        let mut forgotten = 0;
        loop {
            let now = store.prune_index(Height(6), most).unwrap();
            forgotten += now;
            let shown = page(&store, &query(None, 1_000));
            assert!(shown.items.iter().all(|t| t.height >= shown.from));
            if now < most {
                break;
            }
        }
        let kept: Vec<_> = all.iter().filter(|t| t.height >= Height(6)).cloned().collect();
        let shown = page(&store, &query(None, 1_000));
        assert_eq!((shown.from, &shown.items), (Height(6), &kept));
        assert!(forgotten <= all.len() - kept.len());
        for n in 0..5 {
            let of = page(&store, &query(Some(address(n)), 1_000));
            assert!(of.items.iter().all(|t| t.height >= Height(6)));
        }
        let after = Some(all[0].place());
        let error = store.history(&HistoryQuery { after, ..query(None, 5) }).unwrap_err();
        assert!(matches!(error, HistoryError::Pruned { from: Height(6), .. }), "{error}");
        // Everything, and beyond.
        while store.prune_index(Height(99), most).unwrap() == most {}
        let shown = page(&store, &query(None, 1_000));
        assert_eq!((shown.from, shown.items.len()), (Height(10), 0));
        store.commit(&busy(10, 5), Millis(0)).unwrap();
        assert!(!page(&store, &query(None, 5)).items.is_empty());
    }
}
