//! Bytes of a stranger become authenticated messages of a known peer, or a ban.
