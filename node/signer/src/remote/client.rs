//! The node's side.

use super::{
    Code, Fingerprint, Hello, Reply, VERSION,
    kemtls::{self, ClientStream},
    read_message,
    timed::Timed,
    write_message,
};
use crate::{Request, SignError, Signer};
use qbind_crypto::SecretKey;
use qbind_types::{GenesisHash, Network, PublicKey, Signature};
use rustls::ClientConfig;
use std::{
    fmt, fs,
    io::{self, Write},
    net::{TcpStream, ToSocketAddrs},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use thiserror::Error;
use zeroize::Zeroizing;

/// From the first SYN to the signature, or for one request.
const PATIENCE: Duration = Duration::from_millis(2_000);
const PORT: u16 = 9443;

/// `kemtls://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerUrl {
    host: String,
    port: u16,
}

impl fmt::Display for SignerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "kemtls://[{}]:{}", self.host, self.port),
            false => write!(f, "kemtls://{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for SignerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` is not kemtls://HOST:PORT");
        let rest = text.strip_prefix("kemtls://").ok_or_else(fault)?;
        let (host, port) = match rest.strip_prefix('[') {
            // An IPv6 address, whose own colons are no port's.
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(fault)?;
                (host, port.strip_prefix(':'))
            }
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(PORT), str::parse).map_err(|_| fault())?;
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        if host.is_empty() || port == 0 || !host.chars().all(plain) {
            return Err(fault());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

/// Why the other host gave no signature.
#[derive(Debug, Error)]
pub enum RemoteError {
    /// No connection, or it broke.
    #[error("remote signer unreachable: {url}; see that it runs and that its port is open")]
    Transport {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No answer within two seconds.
    #[error("remote signer unreachable: {url} did not answer within {} ms", PATIENCE.as_millis())]
    Timeout {
        /// Where.
        url: String,
    },
    /// It answered, and refused.
    #[error("the remote signer {url} refused ({code}): {why}")]
    Refused {
        /// Where.
        url: String,
        /// Its reason.
        code: Code,
        /// Its words.
        why: String,
    },
    /// What answers there is no signer of this key.
    #[error("{url} is not the remote signer that was there before: {why}")]
    Protocol {
        /// Where.
        url: String,
        /// What is wrong.
        why: String,
    },
}

impl RemoteError {
    /// Label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Transport { .. } => "transport",
            Self::Timeout { .. } => "timeout",
            Self::Refused { .. } => "server_reject",
            Self::Protocol { .. } => "protocol",
        }
    }

    /// Whether another connection may do better.
    fn is_of_connection(&self) -> bool {
        matches!(self, Self::Transport { .. })
    }
}

/// Called with each failed attempt, also with one that the next makes good.
type Failed = Box<dyn Fn(&RemoteError) + Send + Sync>;

/// A validator's key on another host.
pub struct RemoteSigner {
    url: SignerUrl,
    tls: Arc<ClientConfig>,
    hello: Hello,
    public: PublicKey,
    stream: Mutex<Option<ClientStream>>,
    failed: Failed,
}

impl fmt::Debug for RemoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteSigner({})", self.url)
    }
}

impl RemoteSigner {
    /// Connects, as `client`, for this validator of this chain. The signer must hold the same key for
    /// as long as this lives.
    ///
    /// # Errors
    /// It is not there, or does not serve this node.
    pub fn connect(
        url: SignerUrl,
        client: SecretKey,
        validator_id: u64,
        (network, genesis_hash): (Network, GenesisHash),
        failed: Failed,
    ) -> Result<Self, RemoteError> {
        let tls = kemtls::client_config(Arc::new(client));
        let hello = Hello { version: VERSION, validator_id, network, genesis_hash };
        let open = open(&url, &tls, &hello);
        let (stream, public) = open.inspect_err(|error| failed(error))?;
        Ok(Self { url, tls, hello, public, stream: Mutex::new(Some(stream)), failed })
    }

    /// The stream is kept where the signer may be asked again.
    fn ask(
        &self,
        kept: &mut Option<ClientStream>,
        request: &Request,
    ) -> Result<Signature, RemoteError> {
        let mut stream = match kept.take() {
            Some(mut stream) => {
                stream.sock.allow(Some(PATIENCE));
                stream
            }
            None => {
                let (stream, public) = open(&self.url, &self.tls, &self.hello)?;
                if public != self.public {
                    let why = "it holds another key".to_owned();
                    return Err(RemoteError::Protocol { url: self.url.to_string(), why });
                }
                stream
            }
        };
        match exchange(&self.url, &mut stream, request)? {
            Reply::Signature(signature) => {
                *kept = Some(stream);
                Ok(signature)
            }
            Reply::Refused { code, why } => {
                *kept = Some(stream);
                Err(RemoteError::Refused { url: self.url.to_string(), code, why })
            }
            Reply::Ready => Err(unexpected(&self.url)),
        }
    }
}

impl Signer for RemoteSigner {
    fn public_key(&self) -> PublicKey {
        self.public.clone()
    }

    fn sign(&self, request: &Request) -> Result<Signature, SignError> {
        let mut kept = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let was_open = kept.is_some();
        let mut answer = self.ask(&mut kept, request);
        // The signer may have been started anew since the last request; it signs the same twice.
        if let Err(error) = &answer
            && was_open
            && error.is_of_connection()
        {
            (self.failed)(error);
            answer = self.ask(&mut kept, request);
        }
        let signature = answer.map_err(|error| match error {
            RemoteError::Refused { code: Code::Contradiction, why, .. } => {
                SignError::RefusedRemotely { why }
            }
            error => {
                (self.failed)(&error);
                SignError::Remote(error)
            }
        })?;
        let signed = request.preimage(self.hello.network);
        if !qbind_crypto::verify(&self.public, &signed, &signature) {
            let why = "its signature is wrong".to_owned();
            let error = RemoteError::Protocol { url: self.url.to_string(), why };
            (self.failed)(&error);
            return Err(SignError::Remote(error));
        }
        Ok(signature)
    }
}

fn unexpected(url: &SignerUrl) -> RemoteError {
    RemoteError::Protocol { url: url.to_string(), why: "an answer to another question".to_owned() }
}

fn fault(url: &SignerUrl, source: io::Error) -> RemoteError {
    let url = url.to_string();
    match source.kind() {
        io::ErrorKind::TimedOut => RemoteError::Timeout { url },
        // What rustls and the frames call malformed.
        io::ErrorKind::InvalidData => RemoteError::Protocol { url, why: source.to_string() },
        _ => RemoteError::Transport { url, source },
    }
}

/// A stream on which requests may be made, and the key of who answers.
fn open(
    url: &SignerUrl,
    tls: &Arc<ClientConfig>,
    hello: &Hello,
) -> Result<(ClientStream, PublicKey), RemoteError> {
    let until = Instant::now() + PATIENCE;
    let fault = |source| fault(url, source);
    let socket = dial(url, until).map_err(fault)?;
    socket.set_nodelay(true).map_err(fault)?;
    let timed = Timed::new(socket, until.saturating_duration_since(Instant::now()));
    let (mut stream, key) = kemtls::connect(tls, timed).map_err(fault)?;
    match exchange(url, &mut stream, hello)? {
        Reply::Ready => Ok((stream, key)),
        Reply::Refused { code, why } => {
            Err(RemoteError::Refused { url: url.to_string(), code, why })
        }
        Reply::Signature(_) => Err(unexpected(url)),
    }
}

fn dial(url: &SignerUrl, until: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for address in (url.host.as_str(), url.port).to_socket_addrs()? {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange<M: borsh::BorshSerialize>(
    url: &SignerUrl,
    stream: &mut ClientStream,
    message: &M,
) -> Result<Reply, RemoteError> {
    let answer = write_message(stream, message).and_then(|()| read_message(stream));
    match answer.map_err(|source| fault(url, source))? {
        Some(reply) => Ok(reply),
        None => Err(fault(url, io::ErrorKind::ConnectionReset.into())),
    }
}

/// The key by which a signer knows this node cannot be had.
#[derive(Debug, Error)]
pub enum ClientKeyError {
    /// It cannot be read or made.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read it, or it is no key.
    #[error("{}: {why}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
}

/// Reads the key by which a signer knows this node, from `data_dir/remote-signer-client.key`; makes it
/// (mode 0600) where there is none. It signs nothing but this connection.
///
/// # Errors
/// The operator's fault, or the disk's.
pub fn client_key(data_dir: &Path) -> Result<(SecretKey, Fingerprint), ClientKeyError> {
    let path = data_dir.join("remote-signer-client.key");
    let file = |what, source| ClientKeyError::File { what, path: path.clone(), source };
    let unusable = |why: String| ClientKeyError::Unusable { path: path.clone(), why };
    let key = match fs::read_to_string(&path).map(Zeroizing::new) {
        Ok(text) => {
            let mode = fs::metadata(&path).map_err(|e| file("find", e))?.permissions().mode();
            if mode & 0o077 != 0 {
                let shown = path.display();
                let mode = mode & 0o777;
                let why = format!("mode {mode:03o}, others can read it; run `chmod 600 {shown}`");
                return Err(unusable(why));
            }
            let mut seed = Zeroizing::new([0; 32]);
            hex::decode_to_slice(text.trim(), &mut seed[..]).map_err(|_| {
                unusable("not 64 hexadecimal digits; remove it to have one made".to_owned())
            })?;
            SecretKey::from_seed(&seed)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let key = SecretKey::generate();
            let text = Zeroizing::new(hex::encode(key.seed()) + "\n");
            let draft = path.with_extension("new");
            let write = || {
                let mut new = fs::OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o600)
                    .open(&draft)?;
                new.write_all(text.as_bytes())?;
                new.sync_all()?;
                fs::rename(&draft, &path)
            };
            write().map_err(|e| file("create", e))?;
            key
        }
        Err(e) => return Err(file("read", e)),
    };
    let fingerprint = Fingerprint::of(&key.public_key());
    Ok((key, fingerprint))
}
