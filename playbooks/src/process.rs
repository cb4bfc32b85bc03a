//! Running a program: no shell, no input, bounded in time and output.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::check::{Answer, Outcome};
use crate::error::RunError;

/// What is kept of each stream, from its end.
const KEPT_BYTES: usize = 16 * 1024;
/// A program that left a child behind may hold its streams open; they are not waited for longer.
const STREAM_GRACE: Duration = Duration::from_millis(500);

/// Runs `arguments` and waits. Yes is exit code 0; a program that had to be killed is unknown.
pub(crate) fn run(arguments: &[&str], timeout: Duration) -> Result<Answer, RunError> {
    let prepare = |source| RunError::Prepare { doing: "run programs", source };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(prepare)?;
    let answer = runtime.block_on(run_inside(arguments, timeout));
    // Readers of a stream that somebody holds open would be waited for.
    runtime.shutdown_background();
    Ok(answer)
}

async fn run_inside(arguments: &[&str], timeout: Duration) -> Answer {
    let [program, rest @ ..] = arguments else {
        return Answer::new(Outcome::Unknown, "no program".into());
    };
    let spawned = Command::new(program)
        .args(rest)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            return Answer::new(Outcome::Unknown, format!("cannot start {program}: {error}"));
        }
    };
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
    let out = child.stdout.take().map(|stream| tokio::spawn(keep(stream, Arc::clone(&kept))));
    let err = child.stderr.take().map(|stream| tokio::spawn(keep(stream, Arc::clone(&kept))));
    let ended = tokio::time::timeout(timeout, child.wait()).await;
    if ended.is_err()
        && let Some(group) = group
    {
        // It may have ended in this moment; then there is nothing to kill.
        killpg(Pid::from_raw(group), Signal::SIGKILL).unwrap_or_default();
        child.wait().await.ok();
    }
    let streams = async {
        for task in [out, err].into_iter().flatten() {
            task.await.unwrap_or_default();
        }
    };
    tokio::time::timeout(STREAM_GRACE, streams).await.unwrap_or_default();
    let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let output = String::from_utf8_lossy(&kept).trim().to_owned();
    let (outcome, what) = match ended {
        Err(_) => (Outcome::Unknown, format!("killed after {} ms", timeout.as_millis())),
        Ok(Err(error)) => (Outcome::Unknown, format!("cannot be waited for: {error}")),
        Ok(Ok(status)) => judge(status),
    };
    let separator = if output.is_empty() { "" } else { ": " };
    Answer::new(outcome, format!("{program} {what}{separator}{output}"))
}

fn judge(status: ExitStatus) -> (Outcome, String) {
    match status.code() {
        Some(0) => (Outcome::Yes, "exited with 0".into()),
        Some(code) => (Outcome::No, format!("exited with {code}")),
        None => (Outcome::No, status.to_string()),
    }
}

async fn keep(mut stream: impl AsyncRead + Unpin, kept: Arc<Mutex<Vec<u8>>>) {
    let mut chunk = [0; 4_096];
    while let Ok(bytes) = stream.read(&mut chunk).await {
        if bytes == 0 {
            return;
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&chunk[..bytes]);
        let surplus = kept.len().saturating_sub(KEPT_BYTES);
        kept.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], timeout_ms: u64, outcome: Outcome, seen: &str) {
        let answer = run(arguments, Duration::from_millis(timeout_ms)).expect("a runtime");
        assert_eq!(answer.outcome, outcome, "{}", answer.seen);
        assert!(answer.seen.contains(seen), "{}", answer.seen);
    }

    #[test]
    fn programs_are_judged_by_their_exit_and_by_the_clock() {
        check(&["true"], 10_000, Outcome::Yes, "exited with 0");
        check(&["false"], 10_000, Outcome::No, "exited with 1");
        check(&["/nowhere/program"], 10_000, Outcome::Unknown, "cannot start");
        check(&["sleep", "1000"], 50, Outcome::Unknown, "killed after 50 ms");
    }

    #[test]
    fn arguments_are_not_read_by_a_shell() {
        let strange = "$(touch /tmp/x); `id` && a b";
        check(&["printf", "%s", strange], 10_000, Outcome::Yes, strange);
    }

    #[test]
    fn the_end_of_long_output_is_kept() {
        let answer = run(&["seq", "1", "20000"], Duration::from_secs(20)).expect("a runtime");
        assert!(answer.seen.ends_with("20000") && answer.seen.len() < KEPT_BYTES + 100);
    }
}
