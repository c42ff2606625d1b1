//! The client against scripted servers: faults that a real server cannot be made to show, and time that jumps.
//!
//! `tests/client` has the same client against real servers.

mod allocations;
mod batches;
mod buffers;
mod locations;
mod retries;
mod scans;
mod script;
