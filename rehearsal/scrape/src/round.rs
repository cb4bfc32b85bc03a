//! One scrape of all nodes at once.

use crate::{
    clock::{elapsed_ms, unix_ms},
    fetch::{FetchError, Fetcher},
    scraper::{Shared, Target},
    store::{self, Lines, StoreError},
};
use futures::future::join_all;
use qbind_gates::records::{AnswerLine, ScrapeLine, paths};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use tokio::time::MissedTickBehavior;

/// Largest `/metrics` body: ten thousand series fit many times.
const METRICS_BYTES: usize = 4 << 20;
/// Largest JSON answer about a node itself.
const ANSWER_BYTES: usize = 1 << 20;

struct Files {
    index: Lines,
    status: BTreeMap<String, Lines>,
    peers: BTreeMap<String, Lines>,
    configured: BTreeSet<String>,
}

/// Scrapes every `interval` until stopped, and once more then.
pub(crate) async fn run(shared: Shared, interval: Duration) -> Result<(), StoreError> {
    let mut files = Files {
        index: Lines::open(&shared.dir, paths::SCRAPE_INDEX)?,
        status: BTreeMap::new(),
        peers: BTreeMap::new(),
        configured: BTreeSet::new(),
    };
    for target in shared.targets.iter() {
        let status = Lines::open(&shared.dir, &paths::status(&target.name))?;
        let peers = Lines::open(&shared.dir, &paths::peers(&target.name))?;
        files.status.insert(target.name.clone(), status);
        files.peers.insert(target.name.clone(), peers);
    }
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut stop = shared.stop.clone();
    for seq in 0.. {
        let is_last = tokio::select! {
            _ = ticks.tick() => false,
            _ = stop.wait_for(|stopped| *stopped) => true,
        };
        round(&shared, &mut files, seq).await?;
        if is_last {
            break;
        }
    }
    Ok(())
}

/// What one node answered.
struct Answers<'a> {
    target: &'a Target,
    line: ScrapeLine,
    body: Option<Vec<u8>>,
    status: AnswerLine,
    peers: AnswerLine,
    config: Option<serde_json::Value>,
}

async fn round(shared: &Shared, files: &mut Files, seq: u64) -> Result<(), StoreError> {
    let configured = &files.configured;
    let asked = shared.targets.iter().map(|target| async move {
        let needs_config = !configured.contains(&target.name);
        ask(&shared.fetcher, target, seq, needs_config).await
    });
    for answers in join_all(asked).await {
        let Answers { target, line, body, status, peers, config } = answers;
        if let (Some(body), Some(file)) = (&body, &line.file) {
            store::write(&shared.dir, file, body)?;
        }
        shared.count(|s| match line.file {
            Some(_) => s.scrapes += 1,
            None => s.failed_scrapes += 1,
        });
        files.index.push(&line)?;
        for (lines, answer) in [(&mut files.status, status), (&mut files.peers, peers)] {
            if let Some(lines) = lines.get_mut(&target.name) {
                lines.push(&answer)?;
            }
        }
        if let Some(config) = config {
            let text = serde_json::to_vec_pretty(&config).expect("was JSON already");
            store::write(&shared.dir, &paths::config(&target.name), &text)?;
            files.configured.insert(target.name.clone());
        }
    }
    Ok(())
}

async fn ask<'a>(
    fetcher: &Fetcher,
    target: &'a Target,
    seq: u64,
    needs_config: bool,
) -> Answers<'a> {
    let metrics = async {
        let (at_unix_ms, start) = (unix_ms(), Instant::now());
        let result = fetcher.get(target, "/metrics", METRICS_BYTES).await;
        let mut line = ScrapeLine {
            node: target.name.clone(),
            seq,
            at_unix_ms,
            duration_ms: elapsed_ms(start),
            status: None,
            bytes: 0,
            file: None,
            error: None,
        };
        let mut kept = None;
        match result {
            Ok((status, body)) => {
                line.status = Some(status);
                line.bytes = body.len() as u64;
                if status == 200 {
                    line.file = Some(paths::scrape(&target.name, seq));
                    kept = Some(body);
                } else {
                    line.error = Some(FetchError::Status { status }.to_string());
                }
            }
            Err(e) => line.error = Some(e.to_string()),
        }
        (line, kept)
    };
    let config = async {
        let asked = fetcher.json(target, "/v1/config", ANSWER_BYTES);
        if needs_config { asked.await.ok() } else { None }
    };
    let ((line, body), status, peers, config) = futures::join!(
        metrics,
        answer(fetcher, target, seq, "/v1/status"),
        answer(fetcher, target, seq, "/v1/peers"),
        config
    );
    Answers { target, line, body, status, peers, config }
}

async fn answer(fetcher: &Fetcher, target: &Target, seq: u64, path: &str) -> AnswerLine {
    let at_unix_ms = unix_ms();
    match fetcher.json(target, path, ANSWER_BYTES).await {
        Ok(body) => AnswerLine { seq, at_unix_ms, body: Some(body), error: None },
        Err(e) => AnswerLine { seq, at_unix_ms, body: None, error: Some(e.to_string()) },
    }
}
