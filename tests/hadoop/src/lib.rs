//! A real HDFS for the tests, NameNode and DataNodes of Hadoop 3 as plain processes on loopback, and a real HBase with its Thrift servers.
//!
//! Always true
//! - Every process is killed when its cluster is dropped, also by a panic, and when the test's process ends in any way.
//! - Ports are free ones, chosen at the start and kept over restarts; folders lie below one folder of this process.
//! - Whoever waits here waits for a condition, and fails with the log's end after a generous time.

mod cluster;
mod hbase;
mod process;

pub use cluster::{Exclusive, Hdfs, Layout, shared};
pub use hbase::{HBase, HBaseThrift, ThriftApi};
