//! A region server driven by messages, over storage in memory.

mod hosting;
mod rig;
mod rows;
mod scans;
