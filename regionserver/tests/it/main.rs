//! A region server driven by messages, over storage in memory.

mod admin;
mod calls;
mod full;
mod hosting;
mod loads;
mod multis;
mod rig;
mod rows;
mod scans;
mod upkeep;
