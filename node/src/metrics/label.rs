//! The words labels choose from: a fixed few, never a peer, a height or an address.

/// A label with a fixed list of words.
pub trait Label: Copy + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// Every word.
    const ALL: &'static [Self];
    /// The word.
    fn as_str(self) -> &'static str;
}

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident($label:literal) {
        $($(#[$item_doc:meta])* $item:ident = $word:literal,)+
    })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$item_doc])* $item,)+
        }

        impl Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$item,)+];
            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$item => $word,)+
                }
            }
        }
    )+};
}

labels! {
    /// What became of a proposal.
    ProposalResult("result") {
        /// Verified and considered.
        Accepted = "accepted",
        /// Refused.
        Rejected = "rejected",
    }
    /// What became of a vote.
    VoteResult("result") {
        /// Verified.
        Accepted = "accepted",
        /// Bad signature, wrong epoch or stranger.
        Invalid = "invalid",
    }
    /// What the coupling check of a proposal found.
    CouplingCheck("result") {
        /// All batches held and certified.
        Ok = "ok",
        /// The mode asks for nothing.
        NotRequired = "not_required",
        /// Content or certificates are missing.
        UncoupledMissing = "uncoupled_missing",
        /// The references contradict the certificates.
        UncoupledMismatch = "uncoupled_mismatch",
        /// The executed state is not this node's.
        WrongState = "wrong_state",
        /// More gas than a block may use.
        OverGas = "over_gas",
    }
    /// Why the coupling check kept this node from voting.
    CouplingRejection("reason") {
        /// Content or certificates are missing.
        UncoupledMissing = "uncoupled_missing",
        /// The references contradict the certificates.
        UncoupledMismatch = "uncoupled_mismatch",
        /// The executed state is not this node's.
        WrongState = "wrong_state",
        /// More gas than a block may use.
        OverGas = "over_gas",
    }
    /// What the check of a committed block found.
    BlockCheck("result") {
        /// The mode asks for nothing.
        NotChecked = "not_checked",
        /// All batches held and certified.
        Ok = "ok",
        /// A batch was missing when the block committed.
        Missing = "missing",
        /// A reference contradicts a certificate.
        Mismatch = "mismatch",
    }
    /// What became of an ack.
    AckResult("result") {
        /// Counted towards a certificate.
        Accepted = "accepted",
        /// Verified, but late, repeated or for nothing this node collects for.
        Useless = "useless",
        /// Bad signature or stranger.
        Invalid = "invalid",
    }
    /// Why a transaction was refused.
    MempoolRejection("reason") {
        /// The pool or the sender's share is full.
        Full = "full",
        /// Bad signature.
        InvalidSignature = "invalid_signature",
        /// Nonce used or too far ahead.
        InvalidNonce = "invalid_nonce",
        /// Balance, fee, gas, payload.
        Other = "other",
    }
    /// Why a pending transaction was thrown out.
    EvictionReason("reason") {
        /// A better paid one needed its place.
        Capacity = "capacity",
        /// It was too old.
        Lifetime = "lifetime",
    }
    /// A mode that counts or refuses.
    Strictness("mode") {
        /// Counted.
        Warn = "warn",
        /// Refused.
        Enforce = "enforce",
    }
    /// Why a committed transaction had no effect.
    ExecutionError("reason") {
        /// Its nonce was not the account's.
        NonceMismatch = "nonce_mismatch",
        /// Balance, gas, payload.
        Other = "other",
    }
    /// How a block executed.
    StageBMode("mode") {
        /// In levels of independent transactions.
        Parallel = "parallel",
        /// One after the other.
        Fallback = "fallback",
    }
    /// A class of messages.
    MessageKind("kind") {
        /// Proposals, votes, timeouts, certificates.
        Consensus = "consensus",
        /// Batches, acks, availability certificates.
        Dag = "dag",
        /// Committed blocks for who is behind.
        Sync = "sync",
        /// Heartbeats and addresses.
        Control = "control",
    }
    /// Why a connected peer was let go.
    PeerEviction("reason") {
        /// It answered no heartbeat.
        Liveness = "liveness",
        /// It broke the protocol.
        Violation = "violation",
        /// The node asked for it.
        Banned = "banned",
    }
    /// Which diversity bound a peer would break.
    DiversityReason("reason") {
        /// Too many in its IPv4 /24.
        Prefix24 = "prefix24",
        /// Too many in its IPv4 /16.
        Prefix16 = "prefix16",
        /// Too many in its IPv6 /48.
        Prefix48 = "prefix48",
        /// Its bucket would hold too large a share.
        MaxFraction = "max_fraction",
    }
    /// What was signed.
    SignKind("kind") {
        /// A block.
        Proposal = "proposal",
        /// A first-phase vote.
        Vote = "vote",
        /// A second-phase vote.
        CommitVote = "commit_vote",
        /// A view given up.
        Timeout = "timeout",
        /// A batch.
        Batch = "batch",
        /// An availability ack.
        Ack = "ack",
        /// A proof to a peer.
        Peer = "peer",
    }
    /// Why an HSM made no signature.
    HsmErrorKind("kind") {
        /// The settings: library, token, key, PIN.
        Config = "config",
        /// The device.
        Runtime = "runtime",
    }
    /// Why a remote signer gave no signature.
    RemoteSignFailure("reason") {
        /// No connection, or it broke.
        Transport = "transport",
        /// No answer in time.
        Timeout = "timeout",
        /// It refused.
        ServerReject = "server_reject",
        /// Not the signer it was, or none at all.
        Protocol = "protocol",
    }
    /// Why a remote signer refused a node.
    SignerRefusal("code") {
        /// Another validator's key is asked for.
        InvalidKey = "invalid_key",
        /// The HSM failed.
        Crypto = "crypto",
        /// A node or a chain that is not served.
        Unauthorized = "unauthorized",
        /// Too many requests.
        RateLimited = "rate_limited",
        /// The guard cannot be written.
        Server = "server",
        /// It contradicts what was signed.
        Contradiction = "contradiction",
        /// Another version.
        Protocol = "protocol",
    }
    /// Where keys come from.
    KeystoreBackend("backend") {
        /// An encrypted file.
        EncryptedFsV1 = "EncryptedFsV1",
    }
    /// A proven offence.
    Offense("offense") {
        /// Two signed statements that exclude each other.
        O1DoubleSign = "O1_double_sign",
        /// A signed block that its own header shows to be none.
        O2InvalidProposerSig = "O2_invalid_proposer_sig",
        /// A vote for such a block.
        O3aLazyVoteSingle = "O3a_lazy_vote_single",
        /// Several such votes within a window.
        O3bLazyVoteRepeated = "O3b_lazy_vote_repeated",
        /// Two batches of one round, which could both be certified only by a fault.
        O4InvalidDagCert = "O4_invalid_dag_cert",
        /// A proposal whose references break the rules of a block.
        O5DagCouplingViolation = "O5_dag_coupling_violation",
    }
    /// What became of an accusation in a block.
    SlashingDecision("decision") {
        /// Right, and nothing is left to be taken for it.
        AcceptedNoop = "accepted_noop",
        /// Right and recorded.
        EvidenceOnly = "evidence_only",
        /// Right: stake goes, or jail follows.
        PenaltyApplied = "penalty_applied",
        /// Proves nothing.
        RejectedInvalid = "rejected_invalid",
        /// Known.
        RejectedDuplicate = "rejected_duplicate",
    }
    /// Why a report was refused.
    SlashingRejection("reason") {
        /// Known.
        Duplicate = "duplicate",
        /// Proves nothing.
        Invalid = "invalid",
    }
    /// What followed from a monetary decision.
    MonetaryEffect("mode") {
        /// It was recorded.
        Shadow = "shadow",
        /// What it issues was minted.
        Active = "active",
    }
    /// What money was minted for.
    IssuanceBucket("bucket") {
        /// Who validates.
        Validators = "validators",
        /// The treasury.
        Treasury = "treasury",
        /// The insurance fund.
        Insurance = "insurance",
        /// The community fund.
        Community = "community",
    }
    /// How an HTTP request ended.
    HttpClass("class") {
        /// 200 to 299.
        Success = "2xx",
        /// 400 to 499: the client's fault.
        ClientError = "4xx",
        /// 500 to 599: not served.
        ServerError = "5xx",
    }
}
