//! The gates as they are listed and explained.

use crate::verdict::{Severity, Vantage};

/// What a gate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// `G1` to `G13`.
    pub id: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// What it does to the overall verdict.
    pub severity: Severity,
    /// Who says so.
    pub vantage: Vantage,
    /// What is asked of the evidence.
    pub query: &'static str,
    /// Where the requirement comes from.
    pub source: &'static str,
    /// How it decides, for `gates explain`.
    pub explanation: &'static str,
}

use Severity::{Hard, Soft};
use Vantage::{CrossNode, Observed, SelfReported};

/// All gates, in order.
pub const CATALOGUE: [Entry; 13] = [
    Entry {
        id: "G1",
        title: "no commit divergence",
        severity: Hard,
        vantage: CrossNode,
        query: "block id per height in commits/*.jsonl; commit certificates in blocks/",
        source: "guide 5.1, commit_divergence == false; guide 4.3, safety_violated == false",
        explanation: "Every node's block id must be the same at every height two nodes have in \
            common, and a node must never change its mind. Each block is decoded from its raw bytes, \
            its commit certificate is verified here against the validator set of genesis.json, and \
            the chain is followed by parent links from genesis. One validator's commit votes for two \
            blocks of one view in certificates, a safety violation or an equivocation counted by any \
            node fail it too. Nothing is cut out.",
    },
    Entry {
        id: "G2",
        title: "no block mismatch",
        severity: Hard,
        vantage: CrossNode,
        query: "qbind_dag_coupling_block_mismatch_total in scrapes/; certificates in batches/",
        source: "guide 5.1, block_mismatch_total == 0",
        explanation: "The counter must be 0 in every scrape of every node; a node without it, or \
            with a longer hole than allowed that no planned fault explains, is UNKNOWN. \
            Independently, every batch a committed block references is decoded, its availability \
            certificate, creator and every transaction signature verified, and no batch may be \
            referenced twice. Nothing is cut out.",
    },
    Entry {
        id: "G3",
        title: "no double spend",
        severity: Hard,
        vantage: CrossNode,
        query: "replay of batches/ from genesis; claims in transactions/*.jsonl; load/transactions.jsonl",
        source: "guide 5.1, double_spend_detected == false",
        explanation: "All committed transactions are run again from genesis by an interpreter of \
            this crate. No nonce of an account may be used twice, neither in the replay nor in what \
            any node claims succeeded, and the client must not see a transfer succeed twice. Nothing \
            is cut out.",
    },
    Entry {
        id: "G4",
        title: "no negative or created balance",
        severity: Hard,
        vantage: CrossNode,
        query: "replay of batches/ from genesis; state roots in commits/*.jsonl and blocks/",
        source: "guide 5.1, no account with balance < 0",
        explanation: "In the replay the supply at the start plus everything issued equals the sum of \
            all balances at the end plus everything burned, and no balance goes below zero. Nothing is \
            issued in the monetary modes off and shadow; with an active one the gate is UNKNOWN from \
            the first election on, for what is minted is not replayed. The state root computed here \
            from the replayed balances must equal the root every node reports at that height and the \
            root in block headers, so no node holds a balance the replay does not know. Nothing is \
            cut out.",
    },
    Entry {
        id: "G5",
        title: "height divergence",
        severity: Hard,
        vantage: CrossNode,
        query: "spread of heights at aligned instants of commits/*.jsonl",
        source: "guide 5.2",
        explanation: "At every aligned instant of the live window the highest and lowest height of \
            the nodes not cut out lie at most 5 blocks apart (Uniform, Asymmetric, HighJitter links) \
            or 10 (Lossy, Mixed). At the end all nodes, cut or not, are within the bound, and the \
            spread does not grow. Nodes recover within their allowance because the bound holds again \
            from its end.",
    },
    Entry {
        id: "G6",
        title: "peers",
        severity: Hard,
        vantage: SelfReported,
        query: "qbind_p2p_outbound_peers, qbind_anti_eclipse_asn_diversity, qbind_p2p_connected_peers \
            in scrapes/; peers/*.jsonl",
        source: "guide 5.3",
        explanation: "In every scrape outside cut windows and warm-up each node has at least 4 \
            outbound peers, at least 2 ASNs among its peers, and as many connected peers as the \
            smaller of the outbound target and the number of other nodes. While other nodes are cut \
            out by plan, one less of each per such node is enough. At the end every outbound link a \
            node claims must be confirmed by the other side's own list.",
    },
    Entry {
        id: "G7",
        title: "throughput and latency against the baseline",
        severity: Hard,
        vantage: Observed,
        query: "load/transactions.jsonl against steps/t234/result.json and measure/samples.jsonl",
        source: "guide 5.4",
        explanation: "Committed transfers per second are at least half of what T234 committed on \
            this machine at the same offered load, and the latency p50 is at most twice T234's plus \
            the floor of the measured matrix. Block-bootstrap intervals must lie inside as a whole. \
            Better than twice the throughput or half the latency is a remark: the baseline is stale.",
    },
    Entry {
        id: "G8",
        title: "commit latency p99",
        severity: Hard,
        vantage: Observed,
        query: "p99 of committed_us - scheduled_us in load/transactions.jsonl",
        source: "guide 5.4",
        explanation: "From the moment the schedule wanted a transfer sent to the commit seen by the \
            client, p99 below 10 s, warm-up and cut windows left out. An accepted transfer that never \
            commits has no latency and fails the gate.",
    },
    Entry {
        id: "G9",
        title: "view changes explained by the network",
        severity: Soft,
        vantage: SelfReported,
        query: "increase of qbind_consensus_view_changes_total per increase of \
            qbind_consensus_current_view in scrapes/",
        source: "guide 4.3, view_changes_total",
        explanation: "Outside cut windows, view changes per thousand views stay within a base rate \
            plus the worst directed loss measured (each view has three message delays over it), plus \
            a fixed number for every planned fault.",
    },
    Entry {
        id: "G10",
        title: "commit latency against the floor",
        severity: Soft,
        vantage: Observed,
        query: "p50 of load/transactions.jsonl against the floor of measure/samples.jsonl",
        source: "guide 4.3, p50 correlates with measured RTT",
        explanation: "The latency p50 is at most twice the least latency the measured matrix allows: \
            a batch certificate and three one-way delays to a quorum.",
    },
    Entry {
        id: "G11",
        title: "the seven steps passed",
        severity: Hard,
        vantage: Observed,
        query: "steps/*/result.json, journal.jsonl",
        source: "guide 4.1",
        explanation: "Each of T185, T222, T221, T223, T234, T236 and T238 has a result whose verdict, \
            scenarios and checks all say PASS, and is the file whose SHA3-256 the journal noted when the \
            step was done.",
    },
    Entry {
        id: "G12",
        title: "configuration, layout and digests",
        severity: Hard,
        vantage: Observed,
        query: "config/*.json, status/*.jsonl, genesis.json against plan.yaml",
        source: "guide 3.1 and 3.2",
        explanation: "Every node runs the configuration the guide requires (FAIL if not), on the \
            layout it requires, with the genesis and the binary the plan fixed (INVALID if not).",
    },
    Entry {
        id: "G13",
        title: "the emulated network is as asked",
        severity: Hard,
        vantage: Observed,
        query: "links/*.json and measure/samples.jsonl against plan.yaml",
        source: "verdict, section 3 (lab only)",
        explanation: "On every directed link the median delay, the jitter and the loss the emulator \
            counted and the probes saw are within tolerance of the topology, or the run is INVALID. \
            Left out where the network is real.",
    },
];

/// The gate of this id, in any case.
pub fn entry(id: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|e| e.id.eq_ignore_ascii_case(id))
}

/// The gate of an id known to exist.
pub(crate) fn known(id: &str) -> &'static Entry {
    entry(id).expect("every gate is in the catalogue")
}
