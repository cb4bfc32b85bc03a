use crate::{
    NamespaceError, PrivilegeError, SelectionError,
    network::{NetworkError, NodeInfo},
};
use std::{io, path::PathBuf};
use thiserror::Error;

/// Why the lab cannot do what it was asked.
#[derive(Debug, Error)]
pub enum LabError {
    /// This user or machine cannot have one.
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    /// A namespace could not be made.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The network directory is none.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The text selects no links.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// The network was made for loopback addresses, which are nowhere in the lab.
    #[error(
        "{}: its nodes have loopback addresses, which a lab cannot place in regions: make a new \
         network with `qbindctl genesis new`",
        dir.display()
    )]
    Loopback {
        /// The directory.
        dir: PathBuf,
    },
    /// The program to run as node is not there.
    #[error("no node program at {}: build it (make), or name it with --node-binary", binary.display())]
    NoBinary {
        /// Where it was looked for.
        binary: PathBuf,
    },
    /// No such region.
    #[error("no place {place}; there are ops, {known}")]
    UnknownPlace {
        /// As given.
        place: String,
        /// Region ids.
        known: String,
    },
    /// No such node.
    #[error("no node {node}; there are {known}")]
    UnknownNode {
        /// As given.
        node: String,
        /// Node names.
        known: String,
    },
    /// A node could not be started.
    #[error("cannot start node {node}")]
    Start {
        /// Which.
        node: String,
        /// Why.
        source: io::Error,
    },
    /// A node's process could not be signalled or waited for.
    #[error("cannot stop node {node}")]
    Stop {
        /// Which.
        node: String,
        /// Why.
        source: io::Error,
    },
    /// The node is not running.
    #[error("node {node} is not running ({state})")]
    NotRunning {
        /// Which.
        node: String,
        /// What it is instead.
        state: String,
    },
    /// Nodes that did not become ready.
    #[error("{}", not_ready(nodes))]
    NotReady {
        /// Which, and why.
        nodes: Vec<NotReady>,
    },
    /// The emulator cannot go on.
    #[error("the WAN emulator failed")]
    Emulator {
        /// Why.
        source: io::Error,
    },
    /// The journal cannot be opened.
    #[error("cannot open the lab's journal")]
    Journal {
        /// Why.
        source: io::Error,
    },
    /// A thread inside the lab could not be started.
    #[error("cannot start a thread inside the lab")]
    Thread {
        /// Why.
        source: io::Error,
    },
}

/// A node that did not become ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReady {
    /// Which.
    pub node: NodeInfo,
    /// What it last answered, or how it ended.
    pub reason: String,
    /// The end of its log.
    pub log_tail: String,
}

fn not_ready(nodes: &[NotReady]) -> String {
    let mut text = format!("{} of the nodes did not become ready", nodes.len());
    for NotReady { node, reason, log_tail } in nodes {
        text += &format!("\n{}: {reason}", node.name);
        for line in log_tail.lines() {
            text += &format!("\n    {line}");
        }
    }
    text
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
