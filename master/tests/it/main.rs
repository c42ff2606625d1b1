//! A master with a real region server and the real client, in one process, over storage in memory.

mod calls;
mod cluster;
mod crash;
mod fencing;
mod schema;
mod together;
