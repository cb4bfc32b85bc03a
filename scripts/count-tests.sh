#!/usr/bin/env bash
# Adds up what the test binaries of one log say: `N passed, N failed, N skipped`.
#
# A test that cannot run here prints `SKIPPED: reason` and returns, which its binary counts as
# passed; here it is not.
set -euo pipefail

awk '
    /^SKIPPED: / { unable++ }
    /^test result: / {
        for (i = 2; i <= NF; i++) {
            if ($i == "passed;") passed += $(i - 1)
            if ($i == "failed;") failed += $(i - 1)
            if ($i == "ignored;") ignored += $(i - 1)
        }
    }
    END { printf "%d passed, %d failed, %d skipped\n", passed - unable, failed, ignored + unable }
' "$1"
