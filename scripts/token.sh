#!/usr/bin/env bash
# Builds the software token of the HSM tests once for all checkouts of this machine, and prints where
# it lies. Debian's SoftHSM knows no ML-DSA, and its OpenSSL neither, so this one brings its own.
set -euo pipefail
cd "$(dirname "$0")/../tests/pkcs11-token"

say() { echo "token: $*" >&2; }

key=$(cat Cargo.lock Cargo.toml src/lib.rs | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/qbind
library=$cache/pkcs11-token-$key-$(uname -m).so

mkdir -p "$cache"
exec 9>"$library.lock"
flock 9
if [[ ! -f $library ]]; then
    build=$cache/token-build.$$
    trap 'rm -rf "$build" "$library.$$"' EXIT
    say "building once, into $library; expect 5 minutes on 2 cores"
    cargo build --locked --config 'profile.dev.debug=0' --config 'profile.dev.package."*".opt-level=1' \
        --target-dir "$build" >&2
    cp "$build/debug/libpkcs11_token.so" "$library.$$"
    # Atomic: another checkout sees nothing or all of it.
    mv -T "$library.$$" "$library"
fi
say "using $library"
echo "$library"
