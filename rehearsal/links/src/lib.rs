//! Raw samples become a preset, its reasons, its coverage and the exact matrix.
