//! A region server driven by messages, over storage in memory.

mod admin;
mod hosting;
mod multis;
mod rig;
mod rows;
mod scans;
