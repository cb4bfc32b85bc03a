//! Adds signatures to a bundle that exists.

use crate::{
    digest::Digest,
    dsse::{Envelope, key_id},
    findings::Finding,
    layout,
    reader::{BundleReader, Limits},
    seal::{BundleWriter, SealError},
    verify::{VerifyOptions, verify},
};
use qbind_crypto::SecretKey;
use std::{
    fs::File,
    io::{self, BufReader, Seek},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// A bundle with more signatures than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Where; the same path.
    pub path: PathBuf,
    /// Ids of the keys that signed now.
    pub keys: Vec<Digest>,
}

/// Why a bundle was not signed. It is as it was.
#[derive(Debug, Error)]
pub enum SignError {
    /// It cannot be read.
    #[error("cannot read the bundle {}", path.display())]
    Io {
        /// Which bundle.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// It is not what it says it is; nobody should sign it.
    #[error("the bundle {} is not sound, so it was not signed: {first}", path.display())]
    NotSound {
        /// Which bundle.
        path: PathBuf,
        /// The first thing that is wrong.
        first: Finding,
        /// Everything that is wrong.
        findings: Vec<Finding>,
    },
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] SealError),
}

/// Signs both statements of the bundle at `path` with every key and replaces it in one step.
///
/// The evidence and the statements stay as they are, byte for byte; other signatures are kept.
///
/// # Errors
/// The bundle is left as it was.
pub fn sign_bundle(path: &Path, keys: &[SecretKey]) -> Result<Signed, SignError> {
    let io = |source| SignError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let found = verify(BufReader::new(&file), &VerifyOptions::default()).findings;
    if let Some(first) = found.first().cloned() {
        return Err(SignError::NotSound { path: path.to_owned(), first, findings: found });
    }
    file.rewind().map_err(io)?;
    let not_sound = |finding: Finding| SignError::NotSound {
        path: path.to_owned(),
        first: finding.clone(),
        findings: vec![finding],
    };
    let mut reader =
        BundleReader::open(BufReader::new(&file), Limits::default()).map_err(not_sound)?;
    let mut bundle = BundleWriter::create(path)?;
    while let Some(entry) = reader.next_entry().map_err(not_sound)? {
        if [layout::ATTESTATION, layout::TEST_RESULT].contains(&entry.name.as_str()) {
            let mut bytes = Vec::new();
            reader.content(&entry, |piece| bytes.extend_from_slice(piece)).map_err(not_sound)?;
            let mut envelope = Envelope::parse(&bytes).map_err(|error| {
                let code = crate::findings::FindingCode::Envelope;
                not_sound(Finding::at(code, &entry.name, error.to_string()))
            })?;
            keys.iter().for_each(|key| envelope.sign(key));
            bundle.bytes(&entry.name, &envelope.to_bytes())?;
        } else {
            bundle.begin(&entry.name, entry.size)?;
            let mut written = Ok(());
            reader
                .content(&entry, |piece| {
                    if written.is_ok() {
                        written = bundle.push(piece);
                    }
                })
                .map_err(not_sound)?;
            written?;
            bundle.end(entry.size)?;
        }
    }
    bundle.publish(true)?;
    let keys = keys.iter().map(|key| key_id(&key.public_key())).collect();
    Ok(Signed { path: path.to_owned(), keys })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        SealOptions, SignerStatus, Trust, TrustedKey, seal,
        seal::tests::{evidence, facts, key},
    };
    use std::fs;

    #[test]
    fn a_second_signature_leaves_the_first_and_the_evidence_as_they_were() {
        let dir = evidence();
        let out = dir.path().join("a.qbundle");
        let options = SealOptions { facts: Some(&facts()), signers: &[key(1)] };
        let sealed = seal(dir.path(), &out, &options).unwrap();
        sign_bundle(&out, &[key(2)]).unwrap();
        let trust = Trust::new(
            (1..=2)
                .map(|n| TrustedKey {
                    name: format!("key {n}"),
                    operator: "o".to_owned(),
                    organisation: "o".to_owned(),
                    public_key: key(n).public_key(),
                })
                .collect(),
        );
        let options = VerifyOptions { trust: Some(&trust), ..VerifyOptions::default() };
        let answer = verify(&fs::read(&out).unwrap()[..], &options);
        assert!(answer.valid, "{:?}", answer.findings);
        assert_eq!(answer.merkle_root, Some(sealed.merkle_root));
        assert!(answer.signers.iter().all(|signer| signer.status == SignerStatus::Valid));
        assert_eq!(answer.signers.len(), 2);

        // The order of signing does not show: the bytes are those of sealing with both keys.
        let both = dir.path().join("b.qbundle");
        let signers = [key(2), key(1)];
        seal(dir.path(), &both, &SealOptions { facts: None, signers: &signers }).unwrap();
        assert_eq!(fs::read(both).unwrap(), fs::read(out).unwrap());
    }

    #[test]
    fn an_unsound_bundle_is_not_signed_and_not_touched() {
        let dir = evidence();
        let out = dir.path().join("a.qbundle");
        let options = SealOptions { facts: Some(&facts()), signers: &[] };
        seal(dir.path(), &out, &options).unwrap();
        let mut bytes = fs::read(&out).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&out, &bytes).unwrap();
        assert!(matches!(sign_bundle(&out, &[key(1)]), Err(SignError::NotSound { .. })));
        assert_eq!(fs::read(&out).unwrap(), bytes);
    }
}
