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
    /// Most bytes of cells of a row that a get answers with; a larger row is read in parts, by a scan.
    pub row_bytes_max: u64,
    /// Flushes that run at a time, beside those that were asked for.
    pub flushes_max: usize,
    /// Compactions that run at a time (`hbase.regionserver.thread.compaction.*`).
    pub compactions_max: usize,
    /// Bytes that all compactions may write in a second; 0 for no bound. Stores with too many files do not wait.
    pub compaction_bytes_per_second: u64,
    /// How often compactions are looked for without a flush, in milliseconds.
    pub compaction_check_ms: u64,
    /// Log segments beyond which the regions that hold the oldest are flushed (`hbase.regionserver.maxlogs`).
    pub log_segments_max: usize,
    /// Age at which edits are flushed, in milliseconds (`hbase.regionserver.optionalcacheflushinterval`).
    pub flush_period_ms: u64,
    /// The same for system tables.
    pub system_flush_period_ms: u64,
    /// The same for edits that came from the logs of earlier servers, which are kept for them.
    pub replayed_flush_period_ms: u64,
    /// How often left-over files are looked for, in milliseconds.
    pub collect_period_ms: u64,
    /// How long a flush is put off for a compaction when a store has too many files, in milliseconds
    /// (`hbase.hstore.blockingWaitTime`).
    pub blocking_wait_ms: u64,
    /// How often regions are looked at, at least, in milliseconds.
    pub upkeep_period_ms: u64,
    /// Where the data root lies, as other processes of this machine or cluster may name it; told to those who load files in bulk.
    pub root_url: Option<String>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        ServerSettings {
            scanner_lease_ms: 60_000,
            scanners_max: 10_000,
            result_bytes: 2 << 20,
            result_bytes_max: 100 << 20,
            row_bytes_max: 250 << 20,
            flushes_max: 2,
            compactions_max: 2,
            compaction_bytes_per_second: 100 << 20,
            compaction_check_ms: 10 * 60_000,
            log_segments_max: 32,
            flush_period_ms: 3_600_000,
            system_flush_period_ms: 5 * 60_000,
            replayed_flush_period_ms: 10 * 60_000,
            collect_period_ms: 3_600_000,
            blocking_wait_ms: 90_000,
            upkeep_period_ms: 1000,
            root_url: None,
        }
    }
}
