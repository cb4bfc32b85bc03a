//! The generated references in `docs/` are what the programs print.

mod support;

use std::{fs, path::Path, process::Command};
use support::program;

fn check(document: &str, package: &str, arguments: &[&str]) {
    let output = Command::new(program(package)).args(arguments).output().expect("it is built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a package of the tree");
    let file = root.join(document);
    let kept = fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == printed, "{document} is not what `{package}` prints: run `make docs`");
}

#[test]
fn the_command_line_reference_is_current() {
    check("docs/cli.md", "qbindctl", &["docs", "cli"]);
}

#[test]
fn the_schema_of_manifests_is_current() {
    check("docs/manifest.schema.json", "qbindctl", &["docs", "manifest-schema"]);
}

#[test]
fn the_metrics_reference_is_current() {
    check("docs/metrics.md", "qbind-node", &["--metrics-docs"]);
}
