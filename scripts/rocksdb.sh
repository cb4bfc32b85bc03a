#!/usr/bin/env bash
# Builds RocksDB once for all checkouts and target directories of this machine, and points cargo
# of this checkout at the library. RocksDB is most of a first build; a change of branch, of profile
# or of target directory would otherwise compile it again.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "rocksdb: $*" >&2; }

fail() {
    say "$@"
    exit 1
}

# `.cargo/config.toml` is git-ignored; one that somebody else wrote is left alone.
readonly CONFIG=.cargo/config.toml
readonly MARK='# Written by scripts/rocksdb.sh; delete it to let cargo build RocksDB itself.'

point_cargo_at() {
    local text
    text="$MARK
[env]
ROCKSDB_LIB_DIR = \"$1\"
ROCKSDB_STATIC = \"1\""
    if [[ -e $CONFIG && $(head -n 1 "$CONFIG") != "$MARK" ]]; then
        if ! grep -q '^ROCKSDB_LIB_DIR' "$CONFIG"; then
            say "$CONFIG is your own and names no ROCKSDB_LIB_DIR; add to it:"
            tail -n +2 <<<"$text" >&2
        fi
        return
    fi
    # Rewriting the same text would look like a change to whoever watches the file.
    if [[ ! -e $CONFIG || $(cat "$CONFIG") != "$text" ]]; then
        mkdir -p .cargo
        echo "$text" >"$CONFIG.$$"
        mv "$CONFIG.$$" "$CONFIG"
    fi
}

if [[ -n ${ROCKSDB_LIB_DIR:-} ]]; then
    [[ -f $ROCKSDB_LIB_DIR/librocksdb.a ]] || fail \
        "ROCKSDB_LIB_DIR is $ROCKSDB_LIB_DIR, which has no librocksdb.a; unset it to build one"
    say "using $ROCKSDB_LIB_DIR, as ROCKSDB_LIB_DIR says"
    point_cargo_at "$(cd "$ROCKSDB_LIB_DIR" && pwd)"
    exit
fi

# The bindings are made for one version; Cargo.lock decides which.
version=$(awk '/^name = "librocksdb-sys"$/ { getline; gsub(/version = |"/, ""); print; exit }' Cargo.lock)
[[ -n $version ]] || fail "Cargo.lock names no librocksdb-sys; is this the whole checkout?"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/qbind
dir=$cache/rocksdb-$version-$(uname -m)

if [[ ! -f $dir/librocksdb.a ]]; then
    mkdir -p "$cache"
    build=$cache/build.$$
    draft=$cache/draft.$$
    trap 'rm -rf "$build" "$draft"' EXIT
    say "building version $version once, into $dir"
    say "expect about 20 minutes on 2 cores and up to 1 GB of memory per compiler process;"
    say "CARGO_BUILD_JOBS=1 makes it slower and smaller"
    # ROCKSDB_COMPILE wins over a stale library that cargo's configuration may still name.
    # Debug information would make every program that links it 400 MB larger.
    env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC ROCKSDB_COMPILE=1 CARGO_PROFILE_RELEASE_DEBUG=false \
        cargo build --release --locked -p librocksdb-sys --target-dir "$build"
    library=$(find "$build/release/build" -path '*/out/librocksdb.a' -print -quit)
    [[ -n $library ]] || fail "the build left no librocksdb.a below $build/release/build"
    mkdir "$draft"
    cp "$library" "$draft/"
    # Atomic: another checkout sees nothing or all of it. Who loses a race uses the winner's.
    mv -T "$draft" "$dir" 2>/dev/null || [[ -f $dir/librocksdb.a ]] ||
        fail "cannot move the library to $dir; remove that directory and try again"
fi
say "using $dir"
point_cargo_at "$dir"
