//! End-to-end tests over real processes, and checks of the tree.
