//! Fact x bound x window x policy -> PASS, FAIL, UNKNOWN, INVALID.
