//! What the end-to-end tests share.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::{path::PathBuf, process::Command};

/// A program of the tree: beside this test's folder, where the same cargo call has built it, or
/// built now.
pub(crate) fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running test has a path");
    let built = own.ancestors().nth(2).expect("a test is two folders down").join(name);
    if !built.is_file() {
        let package = match name {
            "qbind-node-sabotaged" => "qbind-tests",
            "qbindctl" => name,
            _ => "qbind-node",
        };
        let status = Command::new(env!("CARGO"))
            .args(["build", "-q", "-p", package])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs this test");
        assert!(status.success(), "cannot build {name}");
    }
    built
}

/// A PKCS#11 library that knows ML-DSA; see `scripts/token.sh`.
pub(crate) fn token() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/token.sh");
    let output = Command::new(script).output().expect("a script of this tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().into()
}

/// Whether this process can have a lab; says why not.
pub(crate) fn lab_or_skip() -> bool {
    match qbind_lab::check() {
        Ok(()) => true,
        Err(error) => {
            println!("SKIPPED: {error}");
            false
        }
    }
}
