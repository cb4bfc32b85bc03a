//! KEMTLS: TLS 1.3 (RFC 8446) with one choice for everything.
//!
//! - key exchange: X25519MLKEM768, so that what is recorded today stays closed to a quantum computer;
//! - both sides prove an ML-DSA-44 key (draft-ietf-tls-mldsa) as a raw public key (RFC 7250);
//! - ChaCha20-Poly1305; no tickets, no resumption, no early data.
//!
//! What a key signs here begins with 64 spaces (RFC 8446, 4.4.3) and so is nothing that it signs for
//! the chain. Who the other side may be is decided by who calls, after the handshake.

use super::timed::Timed;
use crate::Key;
use qbind_types::{PublicKey, Signature};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    ServerConnection, SignatureAlgorithm, SignatureScheme, StreamOwned,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime, alg_id::ML_DSA_44},
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, Signer, SigningKey, public_key_to_spki},
    version::TLS13,
};
use std::{io, sync::Arc};

const SCHEME: SignatureScheme = SignatureScheme::ML_DSA_44;
/// Never sent: the key is the name.
const NAME: &str = "qbind-remote-signer";

pub(super) type ClientStream = StreamOwned<ClientConnection, Timed>;
pub(super) type ServerStream = StreamOwned<ServerConnection, Timed>;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768],
        ..aws_lc_rs::default_provider()
    })
}

const OWN_CHOICE: &str = "TLS 1.3 with a suite and a group of its own";

/// How a node dials, proving `key`.
pub(super) fn client_config(key: Arc<dyn Key>) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect(OWN_CHOICE)
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyMlDsa))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified(
            key,
        ))));
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Arc::new(config)
}

/// How a signer accepts, proving `key`.
pub(super) fn server_config(key: Arc<dyn Key>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect(OWN_CHOICE)
        .with_client_cert_verifier(Arc::new(AnyMlDsa))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified(key))));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// Both proofs, or an error; the other side's key.
pub(super) fn connect(
    config: &Arc<ClientConfig>,
    mut stream: Timed,
) -> io::Result<(ClientStream, PublicKey)> {
    let name = ServerName::try_from(NAME).expect("a DNS name");
    let mut connection = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    let key = proven(connection.peer_certificates())?;
    Ok((StreamOwned::new(connection, stream), key))
}

/// As [`connect`], from the other side.
pub(super) fn accept(
    config: &Arc<ServerConfig>,
    mut stream: Timed,
) -> io::Result<(ServerStream, PublicKey)> {
    let mut connection = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    let key = proven(connection.peer_certificates())?;
    Ok((StreamOwned::new(connection, stream), key))
}

fn proven(certificates: Option<&[CertificateDer<'_>]>) -> io::Result<PublicKey> {
    let key = certificates.and_then(<[_]>::first).and_then(parse);
    key.ok_or_else(|| io::Error::other("the other side proved no key"))
}

fn certified(key: Arc<dyn Key>) -> Arc<CertifiedKey> {
    let public = spki(&key.public_key());
    Arc::new(CertifiedKey::new(vec![CertificateDer::from(public.to_vec())], Arc::new(Tls(key))))
}

fn spki(key: &PublicKey) -> SubjectPublicKeyInfoDer<'static> {
    public_key_to_spki(&ML_DSA_44, key.as_bytes())
}

/// The key in a SubjectPublicKeyInfo that is exactly what [`spki`] writes.
fn parse(der: &CertificateDer<'_>) -> Option<PublicKey> {
    let at = der.len().checked_sub(qbind_types::PUBLIC_KEY_BYTES)?;
    let key = PublicKey::from_slice(&der[at..])?;
    (spki(&key).as_ref() == der.as_ref()).then_some(key)
}

/// A key as TLS asks for its signature.
#[derive(Debug, Clone)]
struct Tls(Arc<dyn Key>);

impl SigningKey for Tls {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SCHEME).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(spki(&self.0.public_key()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        // TLS 1.2 asks; its registry has no ML-DSA.
        SignatureAlgorithm::Unknown(0)
    }
}

impl Signer for Tls {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.0.sign(message).map_err(|e| Error::General(e.to_string()))?;
        Ok(signature.as_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}

/// Any ML-DSA-44 key that its holder proves.
#[derive(Debug)]
struct AnyMlDsa;

fn well_formed(key: &CertificateDer<'_>) -> Result<(), Error> {
    let why = rustls::CertificateError::BadEncoding;
    parse(key).map(drop).ok_or(Error::InvalidCertificate(why))
}

fn check(
    message: &[u8],
    key: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let wrong = || Error::InvalidCertificate(rustls::CertificateError::BadSignature);
    let key = parse(key).ok_or_else(wrong)?;
    let signature = Signature::from_slice(signed.signature()).ok_or_else(wrong)?;
    match signed.scheme == SCHEME && qbind_crypto::verify(&key, message, &signature) {
        true => Ok(HandshakeSignatureValid::assertion()),
        false => Err(wrong()),
    }
}

fn no_tls12() -> Error {
    Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered)
}

impl ServerCertVerifier for AnyMlDsa {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        well_formed(key).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SCHEME]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for AnyMlDsa {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        well_formed(key).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SCHEME]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
