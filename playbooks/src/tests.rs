//! Playbooks as files, their variables, and runs against a node with planted states.

mod file;
mod node;
mod runs;
