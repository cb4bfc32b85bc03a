//! One result for humans, JSON and signers.
