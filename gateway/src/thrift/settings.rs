//! How a gateway serves, and what.

use std::time::Duration;

/// Which of HBase's two services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `Hbase`, Thrift 1.
    One,
    /// `THBaseService`, Thrift 2.
    Two,
}

/// How a gateway serves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Only framed messages, or whatever the first bytes say.
    pub framed: bool,
    /// Only the compact protocol, or whatever the first bytes say.
    pub compact: bool,
    /// Most connections; default 10,000.
    pub connections_max: usize,
    /// Most calls at a time; others wait for their turn. Default 1,000.
    pub calls_max: usize,
    /// Most bytes of a message; default 100 MiB.
    pub message_bytes_max: usize,
    /// Most elements of a message's lists, sets and maps together; default 1,000,000.
    pub elements_max: u64,
    /// Most bytes of all messages that are being received, beyond the first 64 KiB of each; default 512 MiB.
    pub receiving_bytes_max: usize,
    /// How long a message may take from its first byte to its last, and an answer to be taken; default 60 s.
    pub message_timeout: Duration,
    /// How long a scanner lives that nobody uses; default 120 s, HBase's twice the scanner time-out.
    pub scanner_lease: Duration,
    /// Most open scanners; default 10,000.
    pub scanners_max: usize,
    /// Bytes of rows that open scanners of a service may hold before no other begins to read; default 512 MiB.
    pub scanner_bytes_max: usize,
    /// Refuse what changes anything.
    pub read_only: bool,
}

impl Api {
    /// HBase's name of the service.
    pub fn name(self) -> &'static str {
        match self {
            Api::One => "Hbase",
            Api::Two => "THBaseService",
        }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            framed: false,
            compact: false,
            connections_max: 10_000,
            calls_max: 1_000,
            message_bytes_max: 100 << 20,
            elements_max: 1_000_000,
            receiving_bytes_max: 512 << 20,
            message_timeout: Duration::from_secs(60),
            scanner_lease: Duration::from_secs(120),
            scanners_max: 10_000,
            scanner_bytes_max: 512 << 20,
            read_only: false,
        }
    }
}
