//! Clients that were written for HBase, unmodified, and peers that mean harm, over real processes.
//!
//! Always true: what a client prints is compared with what is expected or with what it prints elsewhere, never just run.

mod gateway;
mod happybase;
mod hbase;
mod hfiles;
mod hostile;
mod idle;
