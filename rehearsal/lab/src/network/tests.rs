use super::*;
use qbind_crypto::sealed;
use std::os::unix::fs::PermissionsExt;

fn options(out: PathBuf, reach: Reach) -> CreateOptions {
    CreateOptions {
        topology: Topology::generated(4, 1).unwrap(),
        out,
        profile: NetworkProfile::Mainnet,
        load_accounts: 3,
        epoch_blocks: super::EPOCH_BLOCKS,
        reach,
    }
}

fn text(file: PathBuf) -> String {
    fs::read_to_string(file).unwrap()
}

#[test]
fn everything_a_node_needs_is_there_and_fits_together() {
    let temp = tempfile::tempdir().unwrap();
    let network = create(&options(temp.path().join("net"), Reach::Lab)).unwrap();
    let dir = network.dir();
    assert_eq!(text(dir.join("genesis.sha3")).trim(), network.genesis_hash().to_string());
    assert_eq!(network.nodes().len(), 5);
    let genesis: serde_json::Value = serde_json::from_str(&text(network.genesis_path())).unwrap();
    assert_eq!(genesis["network"], "mainnet");
    assert_eq!(genesis["allocations"].as_array().unwrap().len(), 4 + 3);

    let passphrase = network.passphrase().unwrap();
    for (i, node) in network.nodes().iter().enumerate() {
        let config: toml::Table = text(network.node_config(&node.name)).parse().unwrap();
        let genesis_hash = network.genesis_hash().to_string();
        assert_eq!(config["expect_genesis_hash"].as_str(), Some(genesis_hash.as_str()));
        assert_eq!(config["http_addr"].as_str(), Some(format!("{}:9090", node.ip).as_str()));
        assert_eq!(config["dag_coupling_mode"].as_str(), Some("enforce"));
        let peers = config["bootstrap_peers"].as_array().unwrap();
        assert_eq!(peers.len(), 2, "half of the other four, so that the dialling is even");
        let keystore = PathBuf::from(config["signer_keystore_path"].as_str().unwrap());
        assert!(keystore.starts_with(dir), "the path is the final one");
        if node.role == NodeRole::Validator {
            let sealed = text(keystore.join("consensus.key"));
            let secret = sealed::open(&sealed, &passphrase).unwrap();
            let public = hex::encode(secret.public_key().as_bytes());
            assert_eq!(text(keystore.join("consensus.pub")).trim(), public);
            assert_eq!(genesis["validators"][i]["pqc_public_key"], public);
            assert_eq!(genesis["validators"][i]["id"], node.validator_id.unwrap());
            let mode = keystore.join("consensus.key").metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        } else {
            assert!(!keystore.join("consensus.key").exists());
        }
    }
    let account = &network.load_accounts().unwrap()[0];
    let address =
        qbind_crypto::address_of(&qbind_crypto::SecretKey::from_seed(&account.seed).public_key());
    assert_eq!(account.address, address);
    assert!(text(network.genesis_path()).contains(&address.to_string()));
    assert!(!format!("{account:?}").contains(&hex::encode(account.seed)), "seeds are not shown");

    let mut again = options(dir.to_owned(), Reach::Lab);
    assert_eq!(open_or_create(&again).unwrap().genesis_hash(), network.genesis_hash());
    again.topology.seed += 1;
    let error = open_or_create(&again).unwrap_err();
    assert!(matches!(error, NetworkError::OtherNetwork { .. }), "{error}");

    // Nothing beside it, and opening it again notices a changed genesis.
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    let changed = text(network.genesis_path()).replace("\"threshold\": 5", "\"threshold\": 4");
    fs::write(network.genesis_path(), changed).unwrap();
    let error = NetworkDir::open(dir).unwrap_err();
    assert!(matches!(error, NetworkError::GenesisChanged { .. }), "{error}");
}

#[test]
fn a_directory_in_use_is_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("net");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("mine"), "precious").unwrap();
    let error = create(&options(out.clone(), Reach::Lab)).unwrap_err();
    assert!(matches!(error, NetworkError::Exists { .. }), "{error}");
    assert_eq!(text(out.join("mine")), "precious");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "no draft is left");
}

#[test]
fn a_missing_parent_is_an_error_that_makes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let error = create(&options(temp.path().join("a/b"), Reach::Lab)).unwrap_err();
    assert!(matches!(error, NetworkError::Parent { .. }), "{error}");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[test]
fn on_loopback_every_node_has_an_address_and_free_ports_of_its_own() {
    let temp = tempfile::tempdir().unwrap();
    let mut options = options(temp.path().join("net"), Reach::Loopback);
    options.profile = NetworkProfile::Devnet;
    let network = create(&options).unwrap();
    for (i, node) in network.nodes().iter().enumerate() {
        assert_eq!(node.ip.to_string(), format!("127.{}.0.1", 11 + i));
        assert_ne!(node.http.port(), node.p2p.port());
        let config: toml::Table = text(network.node_config(&node.name)).parse().unwrap();
        assert_eq!(config["p2p_listen_addr"].as_str(), Some(node.p2p.to_string().as_str()));
        assert!(config.get("dag_coupling_mode").is_none(), "the profile decides");
        assert!(text(network.dir().join("asn.txt")).contains(&format!("{}/32", node.ip)));
    }
}

#[test]
fn what_is_no_network_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let error = NetworkDir::open(temp.path()).unwrap_err();
    assert!(error.to_string().contains("genesis new"), "{error}");
}
