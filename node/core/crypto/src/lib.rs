//! ML-DSA, SHA3 and AEAD behind domain tags; the only maker of Verified values.
