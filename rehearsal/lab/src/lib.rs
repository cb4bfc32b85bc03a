//! Namespaces, WAN emulator, real processes, and the words for harm.
