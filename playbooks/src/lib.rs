//! Incident playbooks as data, and their runner.
