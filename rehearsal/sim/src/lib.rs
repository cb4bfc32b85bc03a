//! Seeded clock, network and disks that run the real node core.
