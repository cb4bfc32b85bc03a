//! What an operator of a device is told: over two software tokens, SoftHSM, which knows no ML-DSA, and
//! one that does.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use support::{program, token};
use tempfile::TempDir;

const PIN: &str = "9081";
const SOFT_HSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

struct Device {
    dir: TempDir,
    module: PathBuf,
}

impl Device {
    /// A token with a PIN and no key.
    fn new(module: PathBuf) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let shown = dir.path().display();
        fs::create_dir(dir.path().join("tokens")).expect("made");
        let slot = format!(
            "[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"{shown}/tokens/token.sql\"\n"
        );
        fs::write(dir.path().join("kryoptic.conf"), slot).expect("written");
        let store = format!("directories.tokendir = {shown}/tokens\n");
        fs::write(dir.path().join("softhsm2.conf"), store).expect("written");
        let device = Self { dir, module };
        let slot = ["--slot-index", "0", "--so-pin", "12345678"];
        device.tool(&[&slot[..], &["--init-token", "--label", "a token"]].concat());
        let init = ["--login", "--login-type", "so", "--init-pin", "--new-pin", PIN];
        device.tool(&[&slot[..], &init].concat());
        device
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("KRYOPTIC_CONF", self.dir.path().join("kryoptic.conf"))
            .env("SOFTHSM2_CONF", self.dir.path().join("softhsm2.conf"))
            .env("QBIND_HSM_PIN", PIN);
        command
    }

    fn tool(&self, args: &[&str]) {
        let mut command = self.command("pkcs11-tool");
        command.arg("--module").arg(&self.module).args(args);
        let output = command.output().expect("pkcs11-tool is installed (make setup)");
        assert!(output.status.success(), "{args:?}: {}", said(&output));
    }

    /// `hsm.toml`, with this in place of that.
    fn config(&self, from: &str, to: &str) -> PathBuf {
        let text = format!(
            "library_path = \"{}\"\ntoken_label = \"a token\"\nkey_label = \"a key\"\n\
             pin_env_var = \"QBIND_HSM_PIN\"\n",
            self.module.display()
        );
        assert!(text.contains(from), "{from}");
        let path = self.dir.path().join("hsm.toml");
        fs::write(&path, text.replace(from, to)).expect("written");
        path
    }

    fn keygen(&self, config: &Path, output: &str, more: &[&str]) -> Output {
        let mut command = self.command(program("qbind-keygen"));
        command.arg("hsm").arg("--hsm-config-path").arg(config);
        command.arg("--output").arg(self.dir.path().join(output)).args(more);
        command.output().expect("it starts")
    }

    #[track_caller]
    fn refused(&self, from: &str, to: &str, words: &str) {
        let output = self.keygen(&self.config(from, to), "refused", &[]);
        assert_eq!(output.status.code(), Some(64), "{}", said(&output));
        assert!(said(&output).contains(words), "no `{words}` in {}", said(&output));
        assert!(!self.dir.path().join("refused").exists(), "nothing is left of a refusal");
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_key_is_made_once_and_found_again_and_every_wrong_setting_is_named() {
    let device = Device::new(token());
    let config = device.config("", "");
    device.refused("", "", "holds 0 ML-DSA private keys labelled `a key`");
    let made = device.keygen(&config, "first", &["--generate"]);
    assert!(made.status.success(), "{}", said(&made));
    let again = device.keygen(&config, "second", &["--generate"]);
    assert_eq!(again.status.code(), Some(64), "{}", said(&again));
    assert!(said(&again).contains("labelled `a key` already"), "{}", said(&again));
    let found = device.keygen(&config, "third", &[]);
    assert!(found.status.success(), "{}", said(&found));
    let key = |name: &str| fs::read(device.dir.path().join(name).join("consensus.pub")).ok();
    assert!(key("first").is_some_and(|first| key("third") == Some(first)));
    assert_eq!(key("second"), None);
    let library = device.module.to_string_lossy().into_owned();
    device.refused(&library, "/nowhere.so", "cannot use the PKCS#11 library /nowhere.so");
    device.refused(&library, SOFT_HSM, "no token is labelled `a token`");
    let no_library = device.dir.path().join("hsm.toml");
    device.refused(&library, &no_library.to_string_lossy(), "cannot use the PKCS#11 library");
    device.refused("a token", "another", "no token is labelled `another` (token_label)");
    device.refused("a token", "another", "[\"a token\"]");
    device.refused("a key", "no key", "key_label");
    device.refused("QBIND_HSM_PIN", "NOBODYS_PIN", "NOBODYS_PIN with the HSM's PIN is unset");
    device.refused("key_label", "key_lable", "key_lable");
    device.refused("pin_env_var", "mechanism = \"CKM_ECDSA\"\npin_env_var", "UNSUPPORTED");
}

#[test]
fn a_device_that_knows_no_ml_dsa_is_refused_by_name() {
    let device = Device::new(SOFT_HSM.into());
    device.refused("", "", "token `a token` does not offer CKM_ML_DSA");
}
