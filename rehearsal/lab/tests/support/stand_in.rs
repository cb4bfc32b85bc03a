//! A program that stands where `qbind-node` will: it answers HTTP on the address its
//! configuration names, from inside its region, until it is killed.
//!
//! It is the test program itself, started again through a shell script; the test named
//! [`STAND_IN`] does the work when the environment asks for it and nothing otherwise.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

pub(crate) const STAND_IN: &str = "stand_in_node";
const MODE: &str = "LAB_STAND_IN";
const CONFIG: &str = "LAB_STAND_IN_CONFIG";

/// Writes the script and returns it with the environment it needs.
pub(crate) fn program(dir: &Path, mode: &str) -> (PathBuf, Vec<(OsString, OsString)>) {
    let script = dir.join("node.sh");
    let own = std::env::current_exe().unwrap();
    let text = format!(
        "#!/bin/sh\nexport {CONFIG}=\"$2\"\nexec {} --exact {STAND_IN} --nocapture\n",
        own.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    (script, vec![(MODE.into(), mode.into())])
}

/// The body of the test named [`STAND_IN`].
pub(crate) fn run() {
    let (Ok(mode), Ok(config)) = (std::env::var(MODE), std::env::var(CONFIG)) else { return };
    let config: toml::Table = std::fs::read_to_string(config).unwrap().parse().unwrap();
    let name = config["name"].as_str().unwrap();
    if mode == "fail" && name.ends_with("v2") {
        eprintln!("error: data_dir: is on fire");
        std::process::exit(20);
    }
    assert!(std::env::var("QBIND_KEYSTORE_PASSPHRASE").is_ok(), "the passphrase is passed");
    assert!(std::env::var("QBIND_PROFILE").is_err(), "our own settings are not");
    let listener = TcpListener::bind(config["http_addr"].as_str().unwrap()).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut request = String::new();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        reader.read_line(&mut request).unwrap();
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        let path = request.split(' ').nth(1).unwrap_or("/");
        let (status, body) = match path {
            "/readyz" if mode == "unready" => ("503 No", "{\"reason\":\"no peers\"}".to_owned()),
            _ => ("200 OK", format!("{{\"name\":\"{name}\",\"height\":7}}")),
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{body}"
        );
        // The one who asked may have given up.
        stream.write_all(answer.as_bytes()).ok();
    }
}
