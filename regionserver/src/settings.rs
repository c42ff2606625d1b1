//! What an operator may set of a region server.

/// Bounds and periods of a region server.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// How long a scanner lives without being used (`hbase.client.scanner.timeout.period`), in milliseconds.
    pub scanner_lease_ms: u64,
    /// Most scanners open at a time; one more is Busy.
    pub scanners_max: usize,
    /// Bytes of cells in a scan's answer when the client does not say.
    pub result_bytes: u64,
    /// Bytes of cells in any answer after which it ends (`hbase.server.scanner.max.result.size`).
    pub result_bytes_max: u64,
}

impl Default for ServerSettings {
    fn default() -> Self {
        ServerSettings {
            scanner_lease_ms: 60_000,
            scanners_max: 10_000,
            result_bytes: 2 << 20,
            result_bytes_max: 100 << 20,
        }
    }
}
