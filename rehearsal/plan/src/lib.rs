//! Manifest and topology become an immutable plan with a digest.
