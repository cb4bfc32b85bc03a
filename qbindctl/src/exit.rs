//! How the process ends, decided in one place.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Done, yes, PASS.
pub(crate) const DONE: u8 = 0;
/// Answered, and the answer is no.
pub(crate) const FAIL: u8 = 1;
/// Usage or configuration wrong, nothing tried.
pub(crate) const USAGE: u8 = 64;
/// Our bug.
pub(crate) const BUG: u8 = 70;

/// What the standard library's print macros say when the reader of a pipe has gone.
const BROKEN_PIPE: &str = "Broken pipe";

/// Runs a command. A reader that left early, as `head` does, has what it wanted; any other panic
/// is our bug.
pub(crate) fn of(command: impl FnOnce() -> u8) -> u8 {
    match catch_unwind(AssertUnwindSafe(command)) {
        Ok(code) => code,
        Err(panic) if is_broken_pipe(&*panic) => DONE,
        Err(_) => BUG,
    }
}

/// Keeps quiet about broken pipes; everything else is shown as usual.
pub(crate) fn install_panic_hook() {
    let shown = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !is_broken_pipe(info.payload()) {
            shown(info);
        }
    }));
}

fn is_broken_pipe(payload: &(dyn Any + Send)) -> bool {
    payload.downcast_ref::<String>().is_some_and(|text| {
        text.starts_with("failed printing to std") && text.contains(BROKEN_PIPE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_pipe_is_no_failure_and_a_panic_is_our_bug() {
        let pipe = "failed printing to stdout: Broken pipe (os error 32)".to_owned();
        assert_eq!(of(|| std::panic::panic_any(pipe)), DONE);
        assert_eq!(of(|| panic!("Broken pipe in a message of ours")), BUG);
        assert_eq!(of(|| FAIL), FAIL);
    }
}
