#!/usr/bin/env bash
# Checks what a build needs, installs it where that is one safe command, and says what is missing
# everywhere else.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "setup: $*" >&2; }

if ! command -v cargo >/dev/null; then
    say "cargo is missing; install Rust from https://rustup.rs, then run this again"
    exit 1
fi

has_libclang() {
    [[ -n ${LIBCLANG_PATH:-} ]] && return
    # libclang-cpp.so is another library, which bindgen cannot use.
    ldconfig -p 2>/dev/null | grep -Eq 'libclang(-[0-9.]+)?\.so' && return
    compgen -G '/usr/lib/llvm*/lib/libclang[-.][0-9s]*' >/dev/null && return
    compgen -G '/usr/lib*/libclang[-.][0-9s]*' >/dev/null
}

missing=()
command -v cc >/dev/null || missing+=(gcc)
command -v c++ >/dev/null || missing+=(g++)
command -v make >/dev/null || missing+=(make)
command -v curl >/dev/null || missing+=(curl)
# The software tokens of the HSM tests: OpenSSL's configuration is Perl.
command -v perl >/dev/null || missing+=(perl)
command -v pkcs11-tool >/dev/null || missing+=(opensc)
command -v softhsm2-util >/dev/null || missing+=(softhsm2)
# promtool reads what `report --format openmetrics` writes.
command -v promtool >/dev/null || missing+=(prometheus)
has_libclang || missing+=(libclang-dev)

if ((${#missing[@]})); then
    install=(apt-get install -y --no-install-recommends "${missing[@]}")
    if ! command -v apt-get >/dev/null; then
        say "missing (by Debian's names): ${missing[*]}; install them, then run this again"
        exit 1
    elif [[ $(id -u) == 0 ]]; then
        prefix=()
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        prefix=(sudo -n)
    else
        say "missing: ${missing[*]}; run: sudo ${install[*]}"
        exit 1
    fi
    say "installing ${missing[*]}"
    "${prefix[@]}" apt-get update -q >&2
    "${prefix[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}" >&2
fi

exec scripts/rocksdb.sh
