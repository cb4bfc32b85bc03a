#!/usr/bin/env bash
# Builds every test of the workspace, runs them all, and ends with one line that counts them.
#
# `--include-ignored` selects T234's long form, the only test that is ignored otherwise.
set -uo pipefail
cd "$(dirname "$0")/.."

log=${CARGO_TARGET_DIR:-target}/test.log
mkdir -p "$(dirname "$log")"

# The software token of the HSM tests, which nothing else needs.
scripts/token.sh >/dev/null || exit

# Everything is built first, so that tests which measure time do not share the machine with it.
cargo test --workspace --no-run || exit

# Outputs of tests that passed are in the log; the terminal shows only why any was skipped.
show='
    /^successes:$/                    { hidden = 1 }
    /^failures:$/ || /^test result:/  { hidden = 0 }
    !hidden || /^SKIPPED: /           { print; fflush() }
'
cargo test --workspace --no-fail-fast -- --include-ignored --show-output 2>&1 |
    tee "$log" | awk "$show"
status=${PIPESTATUS[0]}

echo "full output: $log"
scripts/count-tests.sh "$log"
exit "$status"
