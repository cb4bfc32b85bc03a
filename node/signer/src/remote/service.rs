//! The signer's side of a connection.

use super::{
    Admission, Code, Fingerprint, Hello, Reply, VERSION, kemtls, kemtls::ServerStream,
    rate::Bucket, read_message, timed::Timed, vouching, write_message,
};
use crate::{HsmError, Key, Request, SignError, Signer};
use qbind_crypto::SecretKey;
use qbind_types::{GenesisHash, Network};
use rustls::ServerConfig;
use std::{
    fmt, io,
    net::TcpStream,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A stranger has proved who he is by then, or is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Proofs to peers a second: strangers may cause them, so they have a bucket of their own.
const PEER_PROOFS: u32 = 20;

/// Opens the key's guard for a chain; called once.
pub type OpenSigner = Box<
    dyn Fn(
            Network,
            GenesisHash,
        ) -> Result<Arc<dyn Signer>, Box<dyn std::error::Error + Send + Sync>>
        + Send
        + Sync,
>;

/// Answers nodes about one key.
pub struct Service {
    validator_id: u64,
    tls: Arc<ServerConfig>,
    admission: Mutex<Admission>,
    open: OpenSigner,
    signer: Mutex<Option<Arc<dyn Signer>>>,
    ready: Reply,
    statements: Mutex<Bucket>,
    batches: Mutex<Bucket>,
    peers: Mutex<Bucket>,
    notice: Box<dyn Fn(&Notice) + Send + Sync>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service(validator {})", self.validator_id)
    }
}

/// What a log and metrics want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A node is served from now on.
    Admitted {
        /// Which.
        node: Fingerprint,
        /// Whether it is the only one for ever from now on.
        pinned: bool,
    },
    /// A node, or a request of one, was refused.
    Refused {
        /// Which.
        node: Fingerprint,
        /// Why.
        code: Code,
        /// In words.
        why: String,
    },
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    /// At most so many statements, and so many batches and acks, a second; `notice` hears what becomes
    /// of nodes.
    ///
    /// # Errors
    /// The key does not vouch for the one made here.
    pub fn new(
        validator_id: u64,
        key: &dyn Key,
        admission: Admission,
        (statements, batches): (u32, u32),
        open: OpenSigner,
        notice: Box<dyn Fn(&Notice) + Send + Sync>,
    ) -> Result<Self, HsmError> {
        let now = Instant::now();
        let own = SecretKey::generate();
        let vouch = key.sign(&vouching(&own.public_key()))?;
        Ok(Self {
            validator_id,
            tls: kemtls::server_config(Arc::new(own)),
            ready: Reply::Ready { key: key.public_key(), vouch },
            admission: Mutex::new(admission),
            open,
            signer: Mutex::new(None),
            statements: Mutex::new(Bucket::new(statements, now)),
            batches: Mutex::new(Bucket::new(batches, now)),
            peers: Mutex::new(Bucket::new(PEER_PROOFS, now)),
            notice,
        })
    }

    /// Serves one connection until it ends. Blocks.
    ///
    /// # Errors
    /// The other side's fault, or the network's.
    pub fn session(&self, socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let (mut stream, node) = kemtls::accept(&self.tls, Timed::new(socket, HANDSHAKE))?;
        let Some(hello) = read_message::<Hello>(&mut stream)? else { return Ok(()) };
        let node = Fingerprint::of(&node);
        let signer = match self.welcome(node, &hello) {
            Ok((signer, pinned)) => {
                (self.notice)(&Notice::Admitted { node, pinned });
                signer
            }
            Err((code, why)) => return self.refuse(&mut stream, node, code, why),
        };
        write_message(&mut stream, &self.ready)?;
        loop {
            stream.sock.allow(None);
            let Some(request) = read_message::<Request>(&mut stream)? else { return Ok(()) };
            stream.sock.allow(Some(HANDSHAKE));
            match self.sign(&*signer, &request) {
                Ok(reply) => write_message(&mut stream, &reply)?,
                Err((code, why)) => self.refuse(&mut stream, node, code, why)?,
            }
        }
    }

    fn refuse(
        &self,
        stream: &mut ServerStream,
        node: Fingerprint,
        code: Code,
        why: String,
    ) -> io::Result<()> {
        (self.notice)(&Notice::Refused { node, code, why: why.clone() });
        write_message(stream, &Reply::Refused { code, why })
    }

    fn welcome(
        &self,
        node: Fingerprint,
        hello: &Hello,
    ) -> Result<(Arc<dyn Signer>, bool), (Code, String)> {
        if hello.version != VERSION {
            let why = format!("version {} is asked for; this is {VERSION}", hello.version);
            return Err((Code::Protocol, why));
        }
        if hello.validator_id != self.validator_id {
            let why = format!(
                "this signer holds the key of validator {}, not of validator {}",
                self.validator_id, hello.validator_id
            );
            return Err((Code::InvalidKey, why));
        }
        let admitted = lock(&self.admission).admit(node, hello);
        let pinned = admitted
            .map_err(|e| (Code::Server, chain(&e)))?
            .map_err(|why| (Code::Unauthorized, why))?;
        let mut signer = lock(&self.signer);
        // The pin holds the chain fast, so that one signer will do.
        if signer.is_none() {
            let opened = (self.open)(hello.network, hello.genesis_hash);
            *signer = Some(opened.map_err(|e| (Code::Server, chain(&*e)))?);
        }
        Ok((signer.clone().expect("just opened"), pinned))
    }

    fn sign(&self, signer: &dyn Signer, request: &Request) -> Result<Reply, (Code, String)> {
        let bucket = match request {
            Request::Batch(_) | Request::Ack { .. } => &self.batches,
            Request::Peer(_) => &self.peers,
            _ => &self.statements,
        };
        let Some(wait) = lock(bucket).take(Instant::now()) else {
            let why = "more requests than rate_limit_rps, batch_rate_limit_rps or 20 proofs to peers allow";
            return Err((Code::RateLimited, why.to_owned()));
        };
        std::thread::sleep(wait);
        signer.sign(request).map(Reply::Signature).map_err(|error| {
            let code = match &error {
                SignError::Refused { .. } | SignError::RefusedRemotely { .. } => {
                    Code::Contradiction
                }
                SignError::Hsm(_) => Code::Crypto,
                SignError::Guard(_) | SignError::Remote(_) => Code::Server,
            };
            (code, chain(&error))
        })
    }
}

/// The error with its causes; a node's log has no other place to read them.
fn chain(error: &(dyn std::error::Error + '_)) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
