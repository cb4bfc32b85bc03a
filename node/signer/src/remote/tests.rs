//! Covers: what is signed and refused over a real socket, who is served, what a broken, hanging or
//! exchanged signer looks like to a node.

use super::*;
use crate::{Guard, Guarded, Key, Refusal, Request, SignError, Signer};
use qbind_crypto::SecretKey;
use qbind_types::{BatchId, BatchRef, BlockId, Epoch, ValidatorIndex, View};
use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};
use tempfile::TempDir;

const NETWORK: Network = Network::Testnet;
const CHAIN: GenesisHash = GenesisHash([9; 32]);

fn secret(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn vote(view: u64, block: u8) -> Request {
    Request::Vote { epoch: Epoch(0), view: View(view), block: BlockId([block; 32]) }
}

/// A signer for validator 42 on a thread of its own; gone with it.
struct Running {
    address: SocketAddr,
    notices: Arc<Mutex<Vec<Notice>>>,
    stop: Arc<AtomicBool>,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(dir: &Path, key: u8, rate: u32) -> Self {
        Self::start_at(dir, key, rate, "127.0.0.1:0".parse().unwrap())
    }

    fn start_at(dir: &Path, key: u8, rate: u32, address: SocketAddr) -> Self {
        let key: Arc<dyn Key> = Arc::new(secret(key));
        let notices = Arc::new(Mutex::new(Vec::new()));
        let (heard, guarded, guard) = (notices.clone(), key.clone(), dir.join("guard"));
        let service = Service::new(
            42,
            &*key,
            Admission::open(dir, None).unwrap(),
            (rate, rate),
            Box::new(move |network, _| {
                let guard = Guard::open(&guard, &guarded.public_key())?;
                let guarded = Guarded::new(guarded.clone(), guard, network);
                Ok(Arc::new(guarded.for_several_nodes()))
            }),
            Box::new(move |notice| heard.lock().unwrap().push(notice.clone())),
        );
        let service = Arc::new(service.unwrap());
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, sockets) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stopped, open) = (stop.clone(), sockets.clone());
        let thread = std::thread::spawn(move || {
            let mut sessions = Vec::new();
            for socket in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let socket = socket.unwrap();
                open.lock().unwrap().push(socket.try_clone().unwrap());
                let service = service.clone();
                sessions.push(std::thread::spawn(move || service.session(socket).map_err(drop)));
            }
            for session in sessions {
                session.join().unwrap().unwrap_or_default();
            }
        });
        Self { address, notices, stop, sockets, thread: Some(thread) }
    }

    fn url(&self) -> SignerUrl {
        url(self.address)
    }

    fn connect(&self, client: u8) -> Result<RemoteSigner, RemoteError> {
        connect(self.url(), client, 42, CHAIN)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for socket in self.sockets.lock().unwrap().iter() {
            socket.shutdown(std::net::Shutdown::Both).unwrap_or_default();
        }
        TcpStream::connect(self.address).map(drop).unwrap_or_default();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn url(address: SocketAddr) -> SignerUrl {
    format!("kemtls://{address}").parse().unwrap()
}

fn connect(
    url: SignerUrl,
    client: u8,
    validator: u64,
    chain: GenesisHash,
) -> Result<RemoteSigner, RemoteError> {
    RemoteSigner::connect(url, secret(client), validator, (NETWORK, chain), Box::new(|_| {}))
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn every_kind_is_signed_with_the_key_and_contradictions_are_not() {
    let dir = folder();
    let running = Running::start(dir.path(), 5, 1_000);
    let signer = running.connect(1).unwrap();
    assert_eq!(signer.public_key(), secret(5).public_key());
    let reference =
        BatchRef { epoch: Epoch(0), creator: ValidatorIndex(1), round: 3, id: BatchId([4; 32]) };
    let block = BlockId([1; 32]);
    let requests = [
        vote(7, 1),
        Request::CommitVote { epoch: Epoch(0), view: View(7), block },
        Request::Timeout { epoch: Epoch(0), view: View(8), high_qc_view: View(7) },
        Request::Batch(reference),
        Request::Ack { reference, validator: ValidatorIndex(2) },
        Request::Peer(vec![1; 4_000]),
    ];
    for request in &requests {
        let signature = signer.sign(request).unwrap();
        let key = secret(5).public_key();
        assert!(qbind_crypto::verify(&key, &request.preimage(NETWORK), &signature), "{request:?}");
    }
    let mut second = reference;
    second.id = BatchId([5; 32]);
    let refused = signer.sign(&Request::Batch(second)).unwrap_err();
    assert!(matches!(refused, SignError::RefusedRemotely { .. }), "{refused}");
    let refused = signer.sign(&vote(7, 2)).unwrap_err();
    let SignError::RefusedRemotely { why } = refused else { panic!("{refused}") };
    assert!(why.contains("another block was signed in that view"), "{why}");
    // Another connection, and another life of the signer, know it as well.
    drop(signer);
    drop(running);
    let running = Running::start(dir.path(), 5, 1_000);
    let signer = running.connect(1).unwrap();
    assert!(matches!(signer.sign(&vote(7, 2)), Err(SignError::RefusedRemotely { .. })));
    signer.sign(&vote(9, 2)).unwrap();
}

#[test]
fn a_proposals_view_is_read_off_its_header() {
    use qbind_types::{BlockHeader, ExecutedState, Height, Millis, StateRoot};
    let header = |timestamp| BlockHeader {
        network: NETWORK,
        epoch: Epoch(0),
        height: Height(3),
        view: View(4),
        parent: BlockId([1; 32]),
        proposer: ValidatorIndex(0),
        timestamp_unix_ms: Millis(timestamp),
        executed: ExecutedState { height: Height(1), root: StateRoot([2; 32]) },
        batches: [3; 32],
        next_validators: None,
    };
    let dir = folder();
    let guard = Guard::open(&dir.path().join("guard"), &secret(5).public_key()).unwrap();
    let signer = Guarded::new(Arc::new(secret(5)), guard, NETWORK);
    let first = Request::Proposal(Box::new(header(1)));
    let signature = signer.sign(&first).unwrap();
    let preimage = qbind_crypto::preimage::proposal(NETWORK, &qbind_crypto::header_id(&header(1)));
    assert!(qbind_crypto::verify(&secret(5).public_key(), &preimage, &signature));
    let second = signer.sign(&Request::Proposal(Box::new(header(2)))).unwrap_err();
    assert!(matches!(second, SignError::Refused { refusal: Refusal::Conflict, .. }), "{second}");
}

#[test]
fn another_validator_node_or_chain_is_refused_with_words() {
    let dir = folder();
    let running = Running::start(dir.path(), 5, 1_000);
    let _first = running.connect(1).unwrap();
    for (attempt, expected) in [
        (connect(running.url(), 1, 43, CHAIN), Code::InvalidKey),
        (connect(running.url(), 2, 42, CHAIN), Code::Unauthorized),
        (connect(running.url(), 1, 42, GenesisHash([8; 32])), Code::Unauthorized),
    ] {
        let error = attempt.unwrap_err();
        let RemoteError::Refused { code, why, .. } = &error else { panic!("{error}") };
        assert_eq!(*code, expected, "{why}");
        assert_eq!(error.reason(), "server_reject");
    }
    let notices = running.notices.lock().unwrap().clone();
    let node = |n| Fingerprint::of(&secret(n).public_key());
    assert_eq!(notices[0], Notice::Admitted { node: node(1), pinned: true });
    let codes: Vec<_> = notices[1..]
        .iter()
        .map(|notice| match notice {
            Notice::Refused { node, code, .. } => (*node, *code),
            Notice::Admitted { .. } => panic!("{notice:?}"),
        })
        .collect();
    let refused =
        [(node(1), Code::InvalidKey), (node(2), Code::Unauthorized), (node(1), Code::Unauthorized)];
    assert_eq!(codes, refused);
}

#[test]
fn a_signer_started_anew_is_found_again_and_the_failure_is_told() {
    let dir = folder();
    let running = Running::start(dir.path(), 5, 1_000);
    let (address, failures) = (running.address, Arc::new(Mutex::new(Vec::new())));
    let heard = failures.clone();
    let signer = RemoteSigner::connect(
        running.url(),
        secret(1),
        42,
        (NETWORK, CHAIN),
        Box::new(move |error| heard.lock().unwrap().push(error.reason())),
    )
    .unwrap();
    signer.sign(&vote(1, 1)).unwrap();
    drop(running);
    // Nobody is there: tried on the old connection and on a new one.
    let error = signer.sign(&vote(2, 1)).unwrap_err();
    assert!(error.to_string().starts_with("remote signer unreachable"), "{error}");
    assert_eq!(*failures.lock().unwrap(), ["transport", "transport"]);
    let running = Running::start_at(dir.path(), 5, 1_000, address);
    signer.sign(&vote(2, 1)).unwrap();
    running.sockets.lock().unwrap()[0].shutdown(std::net::Shutdown::Both).unwrap();
    signer.sign(&vote(3, 1)).unwrap();
    assert_eq!(failures.lock().unwrap().len(), 3);
    drop(running);
    // Another key there is another signer.
    let other = folder();
    let _running = Running::start_at(other.path(), 6, 1_000, address);
    let error = signer.sign(&vote(4, 1)).unwrap_err();
    let SignError::Remote(error) = error else { panic!("{error}") };
    assert_eq!(error.reason(), "protocol", "{error}");
}

#[test]
fn who_does_not_answer_is_given_up_and_who_speaks_otherwise_too() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = connect(url(silent.local_addr().unwrap()), 1, 42, CHAIN).unwrap_err();
    assert_eq!(error.reason(), "timeout", "{error}");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut socket, _) = other.accept().unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        // Held open until the other side has read it and left.
        io::copy(&mut socket, &mut io::sink()).unwrap_or_default();
    });
    let error = connect(url(address), 1, 42, CHAIN).unwrap_err();
    assert_eq!(error.reason(), "protocol", "{error}");
    thread.join().unwrap();
}

#[test]
fn more_than_the_rate_is_refused() {
    let dir = folder();
    let running = Running::start(dir.path(), 5, 1);
    let signers: Vec<_> = (0..8).map(|_| running.connect(1).unwrap()).collect();
    // All at once; the same vote, which the guard lets through again.
    let asked: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            signers.iter().map(|signer| scope.spawn(|| signer.sign(&vote(1, 1)))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let limited = |e: &SignError| {
        matches!(e, SignError::Remote(RemoteError::Refused { code: Code::RateLimited, .. }))
    };
    let refused = asked.iter().filter(|a| a.as_ref().is_err_and(limited)).count();
    let signed = asked.iter().filter(|a| a.is_ok()).count();
    // One at once, one after a second; on a slow machine another second may pass.
    assert!(signed >= 2 && refused >= 1 && signed + refused == 8, "{asked:?}");
    let signer = &signers[0];
    // Batches have a bucket of their own.
    let reference =
        BatchRef { epoch: Epoch(0), creator: ValidatorIndex(1), round: 3, id: BatchId([4; 32]) };
    signer.sign(&Request::Batch(reference)).unwrap();
}

#[test]
fn urls_are_read_and_shown() {
    for (text, shown) in [
        ("kemtls://signer.internal:9443", "kemtls://signer.internal:9443"),
        ("kemtls://10.0.0.7", "kemtls://10.0.0.7:9443"),
        ("kemtls://[fd00::7]:9000", "kemtls://[fd00::7]:9000"),
    ] {
        assert_eq!(text.parse::<SignerUrl>().unwrap().to_string(), shown);
    }
    for text in [
        "https://signer:9443",
        "kemtls://",
        "kemtls://a:b",
        "kemtls://a:0",
        "kemtls://a/b",
        "kemtls://[::1]9443",
        "kemtls://[::1]junk",
    ] {
        assert!(text.parse::<SignerUrl>().is_err(), "{text}");
    }
}

#[test]
fn frames_are_bounded() {
    let long = (MAX_FRAME + 1).to_le_bytes();
    let error = read_message::<Request>(&mut &long[..]).unwrap_err();
    assert!(error.to_string().contains("16385 bytes"), "{error}");
    let cut = [&100u32.to_le_bytes()[..], &[1; 50]].concat();
    assert!(read_message::<Request>(&mut &cut[..]).is_err());
    assert!(read_message::<Request>(&mut &[][..]).unwrap().is_none());
    assert!(write_message(&mut Vec::new(), &Request::Peer(vec![0; 20_000])).is_err());
}

#[test]
fn a_nodes_key_is_made_once_and_kept_for_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let dir = folder();
    let (first, name) = client_key(dir.path()).unwrap();
    let (again, _) = client_key(dir.path()).unwrap();
    assert_eq!(first.public_key(), again.public_key());
    assert_eq!(name.to_string().parse::<Fingerprint>().unwrap(), name);
    let path = dir.path().join("remote-signer-client.key");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = client_key(dir.path()).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

/// Says that it has another's key.
#[derive(Debug)]
struct Thief;

impl Key for Thief {
    fn public_key(&self) -> PublicKey {
        secret(5).public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, crate::HsmError> {
        Ok(secret(66).sign(message))
    }
}

/// Whether each end, who dials first, takes a handshake between these keys for good.
fn handshake(client: Arc<dyn Key>, server: Arc<dyn Key>) -> (bool, bool) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let patience = std::time::Duration::from_secs(10);
    let listening = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        kemtls::accept(&kemtls::server_config(server), timed::Timed::new(socket, patience)).is_ok()
    });
    let socket = TcpStream::connect(address).unwrap();
    let tls = kemtls::client_config(client);
    let dialled = kemtls::connect(&tls, timed::Timed::new(socket, patience)).is_ok();
    (dialled, listening.join().unwrap())
}

#[test]
fn a_key_without_its_secret_is_no_proof_on_either_side() {
    let honest = || -> Arc<dyn Key> { Arc::new(secret(1)) };
    assert_eq!(handshake(honest(), honest()), (true, true));
    let (_, listener) = handshake(Arc::new(Thief), honest());
    assert!(!listener, "a node that is not who it says was let in");
    let (dialler, _) = handshake(honest(), Arc::new(Thief));
    assert!(!dialler, "a signer that is not who it says was believed");
}

#[test]
fn who_answers_must_be_vouched_for_by_the_validators_key() {
    let dir = folder();
    let guard = dir.path().join("guard");
    let open: OpenSigner = Box::new(move |network, _| {
        let guard = Guard::open(&guard, &Thief.public_key())?;
        Ok(Arc::new(Guarded::new(Arc::new(Thief), guard, network)))
    });
    // Its key names another's public half, so its word is not that key's.
    let admission = Admission::open(dir.path(), None).unwrap();
    let service = Service::new(42, &Thief, admission, (10, 10), open, Box::new(|_| {})).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        service.session(socket).map_err(drop).unwrap_or_default();
    });
    let error = connect(url(address), 1, 42, CHAIN).unwrap_err();
    assert_eq!(error.reason(), "protocol", "{error}");
    assert!(error.to_string().contains("does not vouch"), "{error}");
    serving.join().unwrap();
}
