use super::{
    DESCRIPTION, Description, NetworkDir, NetworkError, NetworkProfile, NodeInfo, SCHEMA,
    genesis::{Founder, Genesis},
    keys::{self, SealedKey},
    node_toml::node_toml,
};
use qbind_crypto::SecretKey;
use qbind_plan::topology::{NodePlacement, NodeRole, Topology};
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

const HTTP_PORT: u16 = 9090;
const P2P_PORT: u16 = 9000;
/// Members of the governance council.
const COUNCIL: usize = 7;

/// Where the nodes' addresses can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Inside the lab's namespaces: the topology's addresses, ports 9090 and 9000.
    Lab,
    /// On this machine without namespaces: `10.a.b.c` becomes `127.a.b.c`, with ports that were
    /// free when the network was made.
    Loopback,
}

/// What to make.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    /// Regions and nodes.
    pub topology: Topology,
    /// The directory; must not exist, or be empty.
    pub out: PathBuf,
    /// The settings all nodes start from.
    pub profile: NetworkProfile,
    /// Funded accounts for load.
    pub load_accounts: u32,
    /// An election of the next epoch's validators every so many blocks.
    pub epoch_blocks: u64,
    /// Where the addresses are.
    pub reach: Reach,
}

/// Blocks of an epoch where nobody says otherwise: a rehearsal of minutes sees several end.
pub const EPOCH_BLOCKS: u64 = 200;

/// Makes keys, genesis and configuration for every node of a topology.
///
/// # Errors
/// The caller's fault (the directory is in use) or the disk's; nothing is left behind.
pub fn create(options: &CreateOptions) -> Result<NetworkDir, NetworkError> {
    let target = target(&options.out)?;
    let parent = target.parent().expect("an absolute path with a name has a parent");
    let name = target.file_name().expect("checked by target").to_string_lossy();
    let draft = Draft(parent.join(format!(".{name}.draft-{}", std::process::id())));
    keys::make_dir(&draft.0, 0o755)?;
    fill(&draft.0, &target, options)?;
    // Atomic, and refused by the kernel if something has been put there meanwhile.
    fs::rename(&draft.0, &target).map_err(|_| NetworkError::Exists { dir: target.clone() })?;
    std::mem::forget(draft);
    NetworkDir::open(&target)
}

/// Opens the directory if it holds the network asked for, and makes it if it is not there.
///
/// # Errors
/// The caller's fault: the directory holds another network, or something else.
pub fn open_or_create(options: &CreateOptions) -> Result<NetworkDir, NetworkError> {
    if !options.out.join(DESCRIPTION).exists() {
        return create(options);
    }
    let network = NetworkDir::open(&options.out)?;
    if *network.topology() == options.topology && network.profile() == options.profile {
        return Ok(network);
    }
    let describe = |topology: &Topology, profile: NetworkProfile| {
        format!("topology {} with profile {}", topology.name, profile.as_str())
    };
    Err(NetworkError::OtherNetwork {
        dir: options.out.clone(),
        found: describe(network.topology(), network.profile()),
        asked: describe(&options.topology, options.profile),
    })
}

/// Removes what was written so far, unless it has become the network.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// The absolute path of a directory that does not exist or is empty.
fn target(out: &Path) -> Result<PathBuf, NetworkError> {
    let parent = |source| NetworkError::Parent { dir: out.to_owned(), source };
    let absolute = std::path::absolute(out).map_err(parent)?;
    let name = absolute.file_name().ok_or_else(|| parent(io::ErrorKind::InvalidInput.into()))?;
    let above = absolute.parent().unwrap_or(Path::new("/"));
    let target = fs::canonicalize(above).map_err(parent)?.join(name);
    match fs::read_dir(&target) {
        Ok(mut entries) => match entries.next() {
            None => Ok(target),
            Some(_) => Err(NetworkError::Exists { dir: out.to_owned() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(target),
        Err(_) => Err(NetworkError::Exists { dir: out.to_owned() }),
    }
}

/// Writes everything into `draft`, as it must read once it stands at `target`.
fn fill(draft: &Path, target: &Path, options: &CreateOptions) -> Result<(), NetworkError> {
    let CreateOptions { topology, profile, .. } = options;
    let placements = topology.placements();
    let nodes: Vec<NodeInfo> = placements
        .iter()
        .map(|p| node_info(p, options.reach))
        .collect::<Result<_, NetworkError>>()?;

    let mut sealing = Vec::new();
    let mut founders = Vec::new();
    for placement in &placements {
        let own = draft.join("nodes").join(&placement.name);
        let keystore = own.join("keystore");
        keys::make_dir(&own.join("data"), 0o755)?;
        keys::make_dir(&own.join("snapshots"), 0o755)?;
        keys::make_dir(&keystore, 0o700)?;
        for role in key_roles(placement.role) {
            let secret = SecretKey::generate();
            if let (&"consensus", Some(id), Some(stake)) =
                (role, placement.validator_id, placement.stake)
            {
                let (name, key) = (placement.name.clone(), secret.public_key());
                founders.push(Founder { id, name, key, stake });
            }
            sealing.push(SealedKey { dir: keystore.clone(), name: (*role).to_owned(), secret });
        }
    }
    let council_dir = draft.join("council");
    keys::make_dir(&council_dir, 0o700)?;
    let mut council = Vec::new();
    for member in 1..=COUNCIL {
        let secret = SecretKey::generate();
        council.push(keys::address(&secret.public_key()));
        let name = format!("member-{member}");
        sealing.push(SealedKey { dir: council_dir.clone(), name, secret });
    }
    let passphrase = keys::random_passphrase();
    keys::write_secret(&draft.join("passphrase"), format!("{passphrase}\n").as_bytes())?;
    keys::seal_all(sealing, &passphrase)?;

    let accounts = keys::make_load_accounts(options.load_accounts);
    keys::make_dir(&draft.join("accounts"), 0o700)?;
    keys::write_load_accounts(&draft.join("accounts/load-accounts.json"), &accounts)?;

    let genesis = Genesis::new(options, &founders, accounts.iter().map(|a| a.address), &council);
    let genesis = serde_json::to_string_pretty(&genesis).expect("plain data serialises");
    let genesis_hash = qbind_crypto::genesis_hash(genesis.as_bytes());
    keys::write(&draft.join("genesis.json"), genesis.as_bytes())?;
    keys::write(&draft.join("genesis.sha3"), format!("{genesis_hash}\n").as_bytes())?;

    keys::write(
        &draft.join("asn.txt"),
        asn_table(&placements, topology, options.reach).as_bytes(),
    )?;
    keys::write(&draft.join("topology.yaml"), topology.to_yaml().as_bytes())?;
    for (at, node) in nodes.iter().enumerate() {
        let file = draft.join("nodes").join(&node.name).join("node.toml");
        let text = node_toml(*profile, target, genesis_hash, &nodes, at);
        keys::write(&file, text.as_bytes())?;
    }
    let schema = SCHEMA.to_owned();
    let description = Description { schema, profile: *profile, genesis_hash, nodes };
    let description = serde_json::to_string_pretty(&description).expect("plain data serialises");
    keys::write(&draft.join(DESCRIPTION), description.as_bytes())
}

/// The keys a node has; an RPC node signs nothing but its own identity.
fn key_roles(role: NodeRole) -> &'static [&'static str] {
    match role {
        NodeRole::Validator => &["consensus", "p2p-identity", "batch-signing"],
        NodeRole::Rpc => &["p2p-identity"],
    }
}

fn node_info(placement: &NodePlacement, reach: Reach) -> Result<NodeInfo, NetworkError> {
    let address = reached(placement.address, reach);
    let (http, p2p) = match reach {
        Reach::Lab => (HTTP_PORT, P2P_PORT),
        Reach::Loopback => free_ports(address)?,
    };
    Ok(NodeInfo {
        name: placement.name.clone(),
        region: placement.region.clone(),
        role: placement.role,
        validator_id: placement.validator_id,
        ip: IpAddr::V4(address),
        http: SocketAddr::from((address, http)),
        p2p: SocketAddr::from((address, p2p)),
        asn: placement.asn,
    })
}

fn reached(address: Ipv4Addr, reach: Reach) -> Ipv4Addr {
    let [_, b, c, d] = address.octets();
    match reach {
        Reach::Lab => address,
        Reach::Loopback => Ipv4Addr::new(127, b, c, d),
    }
}

/// Two ports that nobody listens on now.
fn free_ports(address: Ipv4Addr) -> Result<(u16, u16), NetworkError> {
    let bind = || TcpListener::bind((address, 0));
    let ports = || -> io::Result<(u16, u16)> {
        // Both are held until both are known, so that they differ.
        let (first, second) = (bind()?, bind()?);
        Ok((first.local_addr()?.port(), second.local_addr()?.port()))
    };
    ports().map_err(|source| NetworkError::Port { address, source })
}

/// Lines `PREFIX ASN`.
fn asn_table(placements: &[NodePlacement], topology: &Topology, reach: Reach) -> String {
    let mut text = String::from("# Prefix and the autonomous system its addresses come from.\n");
    match reach {
        Reach::Lab => {
            for entry in topology.asn_table() {
                text += &format!("{} {}\n", entry.prefix, entry.asn);
            }
        }
        Reach::Loopback => {
            for placement in placements {
                text += &format!("{}/32 {}\n", reached(placement.address, reach), placement.asn);
            }
        }
    }
    text
}
