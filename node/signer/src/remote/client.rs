//! The node's side.

use super::{
    Code, Fingerprint, Hello, Reply, VERSION,
    kemtls::{self, ClientStream},
    read_message,
    timed::Timed,
    vouching, write_message,
};
use crate::{Request, SignError, Signer, private_file};
use qbind_crypto::SecretKey;
use qbind_types::{GenesisHash, Network, PublicKey, Signature};
use rustls::ClientConfig;
use std::{
    fmt, fs, io,
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError, mpsc::sync_channel},
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
            Some(rest) => match rest.split_once(']').ok_or_else(fault)? {
                (host, "") => (host, None),
                (host, port) => (host, Some(port.strip_prefix(':').ok_or_else(fault)?)),
            },
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
    #[error("{url} does not answer as this validator's signer: {why}")]
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
    /// For what cannot wait, and for proofs to peers, which may have to.
    streams: [Mutex<Option<ClientStream>>; 2],
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
        let open = open(&url, &tls, &hello, Instant::now() + PATIENCE);
        let (stream, public) = open.inspect_err(|error| failed(error))?;
        let streams = [Mutex::new(Some(stream)), Mutex::new(None)];
        Ok(Self { url, tls, hello, public, streams, failed })
    }

    /// The stream is kept where the signer may be asked again.
    fn ask(
        &self,
        kept: &mut Option<ClientStream>,
        request: &Request,
        until: Instant,
    ) -> Result<Signature, RemoteError> {
        let mut stream = match kept.take() {
            Some(mut stream) => {
                stream.sock.allow(Some(until.saturating_duration_since(Instant::now())));
                stream
            }
            None => {
                let (stream, public) = open(&self.url, &self.tls, &self.hello, until)?;
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
            Reply::Ready { .. } => Err(unexpected(&self.url)),
        }
    }
}

impl Signer for RemoteSigner {
    fn public_key(&self) -> PublicKey {
        self.public.clone()
    }

    fn sign(&self, request: &Request) -> Result<Signature, SignError> {
        let [statements, peers] = &self.streams;
        let stream = if matches!(request, Request::Peer(_)) { peers } else { statements };
        let mut kept = stream.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + PATIENCE;
        let was_open = kept.is_some();
        let mut answer = self.ask(&mut kept, request, until);
        // The signer may have been started anew since the last request; it signs the same twice.
        if let Err(error) = &answer
            && was_open
            && error.is_of_connection()
        {
            (self.failed)(error);
            answer = self.ask(&mut kept, request, until);
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

/// A stream on which requests may be made, and the validator's key, which vouches for who answers.
fn open(
    url: &SignerUrl,
    tls: &Arc<ClientConfig>,
    hello: &Hello,
    until: Instant,
) -> Result<(ClientStream, PublicKey), RemoteError> {
    let fault = |source| fault(url, source);
    let socket = dial(url, until).map_err(fault)?;
    socket.set_nodelay(true).map_err(fault)?;
    let timed = Timed::new(socket, until.saturating_duration_since(Instant::now()));
    let (mut stream, signer) = kemtls::connect(tls, timed).map_err(fault)?;
    match exchange(url, &mut stream, hello)? {
        Reply::Ready { key, vouch } if qbind_crypto::verify(&key, &vouching(&signer), &vouch) => {
            Ok((stream, key))
        }
        Reply::Ready { .. } => {
            let why = "the key it names does not vouch for it".to_owned();
            Err(RemoteError::Protocol { url: url.to_string(), why })
        }
        Reply::Refused { code, why } => {
            Err(RemoteError::Refused { url: url.to_string(), code, why })
        }
        Reply::Signature(_) => Err(unexpected(url)),
    }
}

/// Each address gets its share of the time that is left.
fn dial(url: &SignerUrl, until: Instant) -> io::Result<TcpStream> {
    let addresses = resolve(url, until)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for (index, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let share = left / others;
        if share.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(address, share) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The system's resolver knows no deadline, so it is asked on a thread that may be left behind.
fn resolve(url: &SignerUrl, until: Instant) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = url.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, url.port)]);
    }
    let (told, answer) = sync_channel(1);
    let (host, port) = (url.host.clone(), url.port);
    std::thread::Builder::new().name("resolve".to_owned()).spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Who asked may have given up.
        told.send(found).unwrap_or_default();
    })?;
    let left = until.saturating_duration_since(Instant::now());
    answer.recv_timeout(left).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
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
            let mut text = Zeroizing::new([0; 64]);
            hex::encode_to_slice(key.seed(), &mut text[..]).expect("two digits a byte");
            private_file::write(&path, &text[..]).map_err(|e| file("create", e))?;
            key
        }
        Err(e) => return Err(file("read", e)),
    };
    let fingerprint = Fingerprint::of(&key.public_key());
    Ok((key, fingerprint))
}
