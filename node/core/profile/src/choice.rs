//! Knobs that choose one of a few words.

use crate::knob::{Knob, Shape, Value};
use alloc::string::ToString;
use core::{fmt, str::FromStr};

/// The text is none of the words a knob chooses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownChoice {
    /// The words, as they are written.
    pub expected: &'static str,
}

impl fmt::Display for UnknownChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected)
    }
}

impl core::error::Error for UnknownChoice {}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident {
        $(#[$first_doc:meta])* $first:ident = $first_word:literal,
        $($(#[$item_doc:meta])* $item:ident = $word:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(#[$first_doc])* $first,
            $($(#[$item_doc])* $item,)*
        }

        impl $name {
            /// Every choice.
            pub const ALL: &'static [Self] = &[Self::$first, $(Self::$item,)*];
            /// The words, as they are written.
            pub const EXPECTED: &'static str = concat!($first_word, $(" | ", $word,)*);

            /// The word.
            pub fn as_str(self) -> &'static str {
                match self {
                    Self::$first => $first_word,
                    $(Self::$item => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownChoice;
            fn from_str(text: &str) -> Result<Self, UnknownChoice> {
                let found = Self::ALL.iter().find(|c| c.as_str().eq_ignore_ascii_case(text));
                found.copied().ok_or(UnknownChoice { expected: Self::EXPECTED })
            }
        }

        impl Knob for $name {
            const SHAPE: Shape = Shape::Text;
            const EXPECTS: &'static str = Self::EXPECTED;
            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }
            fn show(&self) -> Value {
                Value::Text(self.as_str().to_string())
            }
        }
    };
}

choice! {
    /// What a node is for.
    Role {
        /// Proposes, votes, makes batches.
        Validator = "validator",
        /// Follows the chain and answers questions.
        Rpc = "rpc",
        /// Relays for validators behind it.
        Sentry = "sentry",
    }
}

choice! {
    /// What a transaction may do.
    ExecutionProfile {
        /// Only nonces advance.
        NonceOnly = "nonce-only",
        /// Transfers.
        VmV0 = "vm-v0",
    }
}

choice! {
    /// Where transactions wait.
    MempoolMode {
        /// One queue in arrival order.
        Fifo = "fifo",
        /// Certified batches in a DAG.
        Dag = "dag",
    }
}

choice! {
    /// Whether a vote needs the availability certificates of what it votes for.
    DagCouplingMode {
        /// Not checked.
        Off = "off",
        /// Counted, still voted for.
        Warn = "warn",
        /// Refused.
        Enforce = "enforce",
    }
}

choice! {
    /// How nodes reach each other.
    NetworkMode {
        /// Fixed neighbours in one process.
        LocalMesh = "local-mesh",
        /// Peers over the network.
        P2p = "p2p",
    }
}

choice! {
    /// Whether peers must come from different networks.
    DiversityMode {
        /// Not checked.
        Off = "off",
        /// Counted.
        Warn = "warn",
        /// Refused.
        Enforce = "enforce",
    }
}

choice! {
    /// Whether the mempool limits how many transactions it throws out.
    EvictionMode {
        /// Not limited.
        Off = "off",
        /// Counted.
        Warn = "warn",
        /// Newcomers are refused once the window is spent.
        Enforce = "enforce",
    }
}

choice! {
    /// Whether the monetary engine computes, and whether what it computes is paid.
    MonetaryMode {
        /// Nothing is computed.
        Off = "off",
        /// Computed, not paid.
        Shadow = "shadow",
        /// Computed and paid.
        Active = "active",
    }
}

choice! {
    /// What follows from proven misbehaviour.
    SlashingMode {
        /// Nothing.
        Off = "off",
        /// It is recorded.
        RecordOnly = "record-only",
        /// Double signs and bad proposer signatures cost stake.
        EnforceCritical = "enforce-critical",
        /// Every offence costs stake.
        EnforceAll = "enforce-all",
    }
}

choice! {
    /// Whether old state is deleted.
    StateRetentionMode {
        /// Everything is kept.
        Disabled = "disabled",
        /// Kept for a number of heights.
        Height = "height",
    }
}

choice! {
    /// Who holds the signing key.
    SignerMode {
        /// A key anyone can derive; tests only.
        LoopbackTesting = "loopback-testing",
        /// An encrypted file on this host.
        EncryptedFs = "encrypted-fs",
        /// Another host.
        RemoteSigner = "remote-signer",
        /// A PKCS#11 device.
        HsmPkcs11 = "hsm-pkcs11",
    }
}

choice! {
    /// What a node does when it cannot sign.
    SignerFailureMode {
        /// It stops with exit code 1.
        ExitOnFailure = "exit-on-failure",
        /// It logs and misses its turn.
        LogAndContinue = "log-and-continue",
    }
}
