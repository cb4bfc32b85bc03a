//! Whether a snapshot is what its chain certified. Nothing in it is believed.

use super::{Meta, STATE, SnapshotError, files, meta::Certified};
use crate::{Store, StoreError, schema};
use qbind_crypto::{LightClient, LightError, block_id, genesis_hash};
use qbind_ledger::{Genesis, Ledger, Params, SerialRunner};
use qbind_types::{
    BlockId, CommittedBlock, Epoch, EpochStart, GenesisHash, Height, ValidatorIndex, ValidatorSet,
    decode,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A snapshot every byte of which is vouched for by its chain's certificates.
pub struct Validated {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub meta: Meta,
    pub(super) block: CommittedBlock,
    pub(super) store: Store,
}

impl std::fmt::Debug for Validated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Validated").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Validated {
    /// Checks the snapshot in `dir` from its genesis file on: the validators of every epoch, the
    /// certificates of its block and of the block that names its state, the state's root from all
    /// accounts, and everything else a node would start from.
    ///
    /// A snapshot proves itself to be of *its* chain; `expected` says whether that is yours.
    ///
    /// # Errors
    /// It is damaged, changed, or of another chain than expected; or the disk's fault.
    pub fn open(dir: &Path, expected: Option<GenesisHash>) -> Result<Self, SnapshotError> {
        let meta = Meta::load(dir)?;
        if let Some(expected) = expected.filter(|expected| *expected != meta.genesis_hash) {
            return Err(SnapshotError::OtherChain { found: meta.genesis_hash, expected });
        }
        files::check(dir, &meta.files)?;
        let certified = Certified::load(dir)?;
        let store = Store::open_read_only(&dir.join(STATE))?;
        let checked = Check { meta: &meta, store: &store };
        checked.holds_nothing_else()?;
        let genesis = checked.genesis()?;
        let chain = checked.chain(&genesis, &certified)?;
        checked.derived(&certified, chain.start)?;
        let ledger = checked.state(&genesis, &certified)?;
        checked.validators(&chain.verified, &ledger)?;
        Ok(Self { path: dir.to_owned(), block: certified.block, meta, store })
    }
}

/// What following the certificates gave.
struct Chain {
    /// Where the epoch after the block begins; genesis if nothing is said.
    start: Option<EpochStart>,
    /// Validators that the chain named.
    verified: BTreeMap<Epoch, ValidatorSet>,
}

struct Check<'a> {
    meta: &'a Meta,
    store: &'a Store,
}

impl Check<'_> {
    fn same<T: PartialEq + ToString>(
        &self,
        what: &'static str,
        said: &T,
        held: &T,
    ) -> Result<(), SnapshotError> {
        if said == held {
            return Ok(());
        }
        let (said, held) = (said.to_string(), held.to_string());
        Err(SnapshotError::Contradiction { what, said, held })
    }

    fn holds_nothing_else(&self) -> Result<(), SnapshotError> {
        let schema = self.store.get::<u32>(schema::META, schema::KEY_SCHEMA, "schema version")?;
        match schema {
            Some(schema::SCHEMA) => {}
            found => {
                let (found, known) = (found.unwrap_or(0), schema::SCHEMA);
                return Err(StoreError::Schema { found, known }.into());
            }
        }
        let mut foreign = None;
        self.store.each(schema::META, &[], |key, _| {
            if !schema::SNAPSHOT_META.contains(&key) {
                foreign = Some(String::from_utf8_lossy(key).into_owned());
            }
            Ok(foreign.is_none())
        })?;
        for family in schema::FAMILIES.iter().filter(|f| !schema::SNAPSHOT_FAMILIES.contains(f)) {
            self.store.each(family, &[], |_, _| {
                foreign = Some((*family).to_owned());
                Ok(false)
            })?;
        }
        match foreign {
            Some(what) => Err(SnapshotError::Foreign { what }),
            None => Ok(()),
        }
    }

    fn genesis(&self) -> Result<Genesis, SnapshotError> {
        let damaged = |what| SnapshotError::Store(StoreError::Damaged { what });
        let file = self.store.genesis_file()?.ok_or_else(|| damaged("genesis file"))?;
        self.same("genesis_hash", &self.meta.genesis_hash, &genesis_hash(&file))?;
        let stored: Option<GenesisHash> =
            self.store.get(schema::META, schema::KEY_GENESIS, "genesis hash")?;
        let stored = stored.ok_or_else(|| damaged("genesis hash"))?;
        self.same("genesis_hash", &self.meta.genesis_hash, &stored)?;
        let genesis = Genesis::parse(&file)?;
        self.same("chain_id", &self.meta.chain_id, &genesis.network.chain_id())?;
        self.same("chain_name", &self.meta.chain_name, &genesis.chain_id)?;
        Ok(genesis)
    }

    /// From genesis through the last block of every epoch to the block of the height, and on to the
    /// one that names the state after it.
    fn chain(&self, genesis: &Genesis, certified: &Certified) -> Result<Chain, SnapshotError> {
        let height = self.meta.height;
        let founders = genesis.validator_set();
        let mut verified = BTreeMap::from([(founders.epoch(), founders.clone())]);
        let first = BlockId(self.meta.genesis_hash.0);
        let mut light = LightClient::new(genesis.network, first, Arc::new(founders));
        let fault = |source: LightError| SnapshotError::Chain { height, source };
        let mut start = None;
        let mut last_end = None;
        for epoch in 0.. {
            let key = schema::epoch_key(Epoch(epoch));
            let what = "last block of an epoch";
            let Some(end) = self.store.get::<CommittedBlock>(schema::EPOCH_ENDS, &key, what)?
            else {
                break;
            };
            if end.block.height > height {
                return Err(SnapshotError::Derived { what: "last epoch" });
            }
            start = Some(start_after(&end));
            last_end = (end.block.height == height).then(|| end.clone());
            self.enter(&mut light, end, &mut verified).map_err(|e| e.at(height))?;
        }
        let ends = self.count(schema::EPOCH_ENDS)?;
        if ends != verified.len() as u64 - 1 {
            return Err(SnapshotError::Derived { what: "list of epochs" });
        }
        self.same("height", &height, &certified.block.block.height)?;
        match last_end {
            Some(end) if end == certified.block => {}
            Some(_) => return Err(SnapshotError::Derived { what: "last block" }),
            None => light.skip_to(certified.block.clone()).map_err(fault)?,
        }
        self.same("block_hash", &self.meta.block_hash, &light.block())?;
        self.same("epoch", &self.meta.epoch, &certified.block.block.epoch)?;
        for end in &certified.ends {
            self.enter(&mut light, end.clone(), &mut verified).map_err(|e| e.at(height))?;
        }
        light.skip_to(certified.naming.clone()).map_err(fault)?;
        Ok(Chain { start, verified })
    }

    /// Into the next epoch.
    fn enter(
        &self,
        light: &mut LightClient,
        end: CommittedBlock,
        verified: &mut BTreeMap<Epoch, ValidatorSet>,
    ) -> Result<(), Failed> {
        let epoch = end.block.next_epoch();
        light.skip_to_end(end)?;
        let set = self.store.validators(epoch)?.ok_or(SnapshotError::NoValidators { epoch })?;
        light.start_epoch(set.clone())?;
        verified.insert(epoch, set);
        Ok(())
    }

    fn count(&self, family: &str) -> Result<u64, SnapshotError> {
        let mut count = 0;
        self.store.each(family, &[], |_, _| {
            count += 1;
            Ok(true)
        })?;
        Ok(count)
    }

    /// What a node keeps beside the state and could compute from the blocks.
    fn derived(
        &self,
        certified: &Certified,
        start: Option<EpochStart>,
    ) -> Result<(), SnapshotError> {
        let derived = |what| SnapshotError::Derived { what };
        let stored: Option<EpochStart> =
            self.store.get(schema::META, schema::KEY_START, "epoch's start")?;
        if stored != start {
            return Err(derived("epoch's start"));
        }
        let height: Option<Height> = self.store.get(schema::META, schema::KEY_HEIGHT, "height")?;
        if height != Some(self.meta.height) {
            return Err(derived("height"));
        }
        let last = &certified.block.block;
        let mut included: BTreeMap<ValidatorIndex, u64> = BTreeMap::new();
        if !last.ends_epoch() {
            let genesis = EpochStart::genesis(BlockId(self.meta.genesis_hash.0));
            let start = start.unwrap_or(genesis);
            let (mut parent, mut next) = (start.block, start.height.next());
            for block in certified.before.iter().chain([last]) {
                if block.parent != parent || block.height != next || block.epoch != last.epoch {
                    return Err(SnapshotError::Ancestors { block: self.meta.block_hash });
                }
                (parent, next) = (block_id(block), next.next());
                for batch in &block.batches {
                    included.insert(batch.creator, batch.round.saturating_add(1));
                }
            }
        }
        if included != self.store.included()? {
            return Err(derived("list of included batches"));
        }
        Ok(())
    }

    fn state(&self, genesis: &Genesis, certified: &Certified) -> Result<Ledger, SnapshotError> {
        let height = self.meta.height;
        let named = certified.naming.block.executed;
        if named.height != height {
            return Err(SnapshotError::Named { height, found: named.height });
        }
        self.same("state_root", &self.meta.state_root, &named.root)?;
        let mut loaded = self.store.load()?;
        let accounts = loaded.accounts.len() as u64;
        self.same("accounts", &self.meta.accounts, &accounts)?;
        let ledger = loaded.ledger(genesis, Params::mainnet(), height, &SerialRunner)?;
        let (found, certified) = (ledger.state_root(), named.root);
        if found != certified {
            return Err(SnapshotError::Root { height, found, certified });
        }
        Ok(ledger)
    }

    /// Every set of validators is one the chain named, or elected in the state.
    fn validators(
        &self,
        verified: &BTreeMap<Epoch, ValidatorSet>,
        ledger: &Ledger,
    ) -> Result<(), SnapshotError> {
        let mut wrong = None;
        self.store.each(schema::EPOCHS, &[], |key, value| {
            let damaged = || StoreError::Damaged { what: "validators of an epoch" };
            let epoch = Epoch(u64::from_be_bytes(key.try_into().map_err(|_| damaged())?));
            let set: ValidatorSet = decode(value).map_err(|_| damaged())?;
            let known = verified.get(&epoch).or(ledger.registry().set(epoch).map(|set| &**set));
            if known != Some(&set) {
                wrong = Some(epoch);
            }
            Ok(wrong.is_none())
        })?;
        match wrong {
            Some(epoch) => Err(SnapshotError::Validators { epoch }),
            None => Ok(()),
        }
    }
}

fn start_after(end: &CommittedBlock) -> EpochStart {
    let block = &end.block;
    let (epoch, height, view) = (block.next_epoch(), block.height, block.view);
    EpochStart { epoch, height, view, block: block_id(block) }
}

/// What may go wrong on the way into an epoch.
enum Failed {
    Light(LightError),
    Other(SnapshotError),
}

impl Failed {
    fn at(self, height: Height) -> SnapshotError {
        match self {
            Self::Light(source) => SnapshotError::Chain { height, source },
            Self::Other(error) => error,
        }
    }
}

impl From<LightError> for Failed {
    fn from(source: LightError) -> Self {
        Self::Light(source)
    }
}

impl From<SnapshotError> for Failed {
    fn from(error: SnapshotError) -> Self {
        Self::Other(error)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Other(error.into())
    }
}
