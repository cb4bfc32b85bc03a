//! Work on whole small files on other threads, while the first unpacks what comes next.

use std::{
    iter,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread,
};

/// Larger files are worked on in pieces by who reads them.
pub(crate) const SMALL: u64 = 8 << 20;
/// Files that wait at most: enough for the others while the first works on one itself.
const WAITING: usize = 512;
/// Bytes of them at most.
const WAITING_BYTES: u64 = 24 << 20;
/// Threads at most: more than one can unpack for.
const THREADS: usize = 8;

/// Takes files, by name.
pub(crate) struct Aside<'a, T> {
    files: SyncSender<(String, Vec<u8>)>,
    waiting_bytes: &'a AtomicU64,
    work: &'a (dyn Fn(&str, &[u8]) -> T + Sync),
    done: Vec<T>,
}

impl<T> Aside<'_, T> {
    /// Hands a file over; where too much waits already, works on it at once.
    pub(crate) fn take(&mut self, name: String, content: Vec<u8>) {
        let bytes = content.len() as u64;
        if self.waiting_bytes.load(Ordering::Relaxed) + bytes > WAITING_BYTES {
            self.done.push((self.work)(&name, &content));
            return;
        }
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Err(error) = self.files.try_send((name, content)) {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            let (TrySendError::Full((name, content)) | TrySendError::Disconnected((name, content))) =
                error;
            self.done.push((self.work)(&name, &content));
        }
    }
}

/// Runs `first`, and `work` on each file that it hands over. Gives what came of both, the files in no order.
pub(crate) fn aside<T: Send, R>(
    work: impl Fn(&str, &[u8]) -> T + Sync,
    first: impl FnOnce(&mut Aside<'_, T>) -> R,
) -> (R, Vec<T>) {
    let (work, waiting_bytes) = (&work, &AtomicU64::new(0));
    thread::scope(|scope| {
        let (files, waiting) = sync_channel::<(String, Vec<u8>)>(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        let others =
            thread::available_parallelism().map_or(1, |all| all.get().clamp(2, THREADS) - 1);
        let others = (0..others).map(|_| {
            let waiting = waiting.clone();
            scope.spawn(move || {
                // Locked while one waits: the next waits for the lock instead.
                let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
                let done = iter::from_fn(next).map(|(name, content)| {
                    let done = work(&name, &content);
                    waiting_bytes.fetch_sub(content.len() as u64, Ordering::Relaxed);
                    done
                });
                done.collect::<Vec<T>>()
            })
        });
        let others: Vec<_> = others.collect();
        let mut aside = Aside { files, waiting_bytes, work, done: Vec::new() };
        let result = first(&mut aside);
        let Aside { files, mut done, .. } = aside;
        drop(files);
        for other in others {
            done.extend(other.join().expect("work on a file does not panic"));
        }
        (result, done)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_worked_on_once() {
        // More of them than may wait, for their number and for their bytes.
        let bytes = |n: usize| if n.is_multiple_of(20) { 2 << 20 } else { n };
        let ((), mut done) = aside(
            |name, content| (name.to_owned(), content.len()),
            |aside| (0..1_000).for_each(|n| aside.take(format!("{n:03}"), vec![0; bytes(n)])),
        );
        done.sort();
        let expected: Vec<_> = (0..1_000).map(|n| (format!("{n:03}"), bytes(n))).collect();
        assert_eq!(done, expected);
    }
}
