//! The server's numbers in the text format that Prometheus scrapes.
//!
//! Always true: counters only rise as long as the process lives, also when regions leave; what belongs to open regions is a
//! gauge.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use filesystem::Filesystem;
use filesystem::s3::requests::Requests;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use storage::region::StoreLoad;

use crate::counts::{FAILURES, Kind};
use crate::server::RegionServer;

/// One metric: its values by label value; the label has no name if there is one value only.
#[derive(Debug)]
struct Metric {
    name: &'static str,
    help: &'static str,
    rises: bool,
    label: &'static str,
    values: Vec<(&'static str, u64)>,
}

#[derive(Debug, Default)]
struct Snapshot(Vec<Metric>);

impl Snapshot {
    fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.0.push(Metric { name, help, rises: false, label: "", values: vec![("", value)] });
    }

    fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.counters(name, help, "", vec![("", value)]);
    }

    fn counters(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: Vec<(&'static str, u64)>,
    ) {
        self.0.push(Metric { name, help, rises: true, label, values });
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for metric in &self.0 {
            let kind = if metric.rises { MetricType::Counter } else { MetricType::Gauge };
            let mut encoder = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            if metric.label.is_empty() {
                metric.values.iter().try_for_each(|(_, value)| metric.value(*value, &mut encoder))?;
                continue;
            }
            for (label, value) in &metric.values {
                metric.value(*value, &mut encoder.encode_family(&[(metric.label, *label)])?)?;
            }
        }
        Ok(())
    }
}

/// What was sent to stores that bill requests: to the data root's, and to the log root's if it is another.
#[derive(Debug)]
struct Sent(Vec<Arc<dyn Filesystem>>);

impl Sent {
    fn of(data: &Arc<dyn Filesystem>, logs: &Arc<dyn Filesystem>) -> Sent {
        let apart = (!Arc::ptr_eq(data, logs)).then(|| logs.clone());
        Sent(std::iter::once(data.clone()).chain(apart).filter(|fs| fs.requests().is_some()).collect())
    }
}

type Counter = fn(&Requests) -> &AtomicU64;

impl Collector for Sent {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let all: Vec<&Requests> = self.0.iter().filter_map(|fs| fs.requests()).collect();
        if all.is_empty() {
            return Ok(());
        }
        let help = "Requests to the S3 store, each try counted, by part of the root, kind and cause";
        let mut family = encoder.encode_descriptor("ferrobase_s3_requests", help, None, MetricType::Counter)?;
        let mut sums: BTreeMap<(String, &str, &str), u64> = BTreeMap::new();
        for of in all.iter().flat_map(|sent| sent.counted()) {
            *sums.entry((of.part, of.kind.name(), of.cause.name())).or_default() += of.count;
        }
        for ((part, kind, cause), count) in sums {
            let labels = [("part", part.as_str()), ("kind", kind), ("cause", cause)];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        let counters: [(&str, &str, Counter); 5] = [
            ("ferrobase_s3_repeated", "Requests to the S3 store that were sent again", |sent| &sent.repeated),
            ("ferrobase_s3_slowed", "Answers of the S3 store that asked to slow down", |sent| &sent.slowed),
            ("ferrobase_s3_unanswered", "Requests to the S3 store without an answer in time", |sent| &sent.unanswered),
            ("ferrobase_s3_sent_bytes", "Bytes of bodies sent to the S3 store", |sent| &sent.bytes_sent),
            ("ferrobase_s3_received_bytes", "Bytes of bodies received from the S3 store", |sent| &sent.bytes_received),
        ];
        for (name, help, counter) in counters {
            let value: u64 = all.iter().map(|sent| counter(sent).load(Ordering::Relaxed)).sum();
            let mut counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            counter.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }
}

/// What a cache before the store has done.
#[derive(Debug)]
struct DiskCache(Arc<dyn Filesystem>);

impl Collector for DiskCache {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let Some(cache) = self.0.cache() else { return Ok(()) };
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut all = Snapshot::default();
        let reads = vec![("hit", of(&cache.hits)), ("ahead", of(&cache.ahead)), ("miss", of(&cache.misses))];
        all.counters("ferrobase_disk_cache_reads", "Reads of store files, by where their bytes were", "result", reads);
        let name = "ferrobase_disk_cache_hit_bytes";
        all.counter(name, "Bytes read from the cache on disk", of(&cache.hit_bytes));
        let name = "ferrobase_disk_cache_fetched_bytes";
        all.counter(name, "Bytes of store files fetched from the store", of(&cache.fetched_bytes));
        let name = "ferrobase_disk_cache_written_bytes";
        all.counter(name, "Bytes written to the cache on disk", of(&cache.written_bytes));
        let name = "ferrobase_disk_cache_evicted_bytes";
        all.counter(name, "Bytes that made room in the cache on disk", of(&cache.evicted_bytes));
        let name = "ferrobase_disk_cache_damaged";
        all.counter(name, "Pieces of the cache on disk that were not as written", of(&cache.damaged));
        let name = "ferrobase_disk_cache_failures";
        all.counter(name, "Operations that the disk of the cache refused", of(&cache.failures));
        all.gauge("ferrobase_disk_cache_bytes", "Bytes in the cache on disk", of(&cache.bytes));
        all.gauge("ferrobase_disk_cache_limit_bytes", "Most bytes in the cache on disk", of(&cache.limit_bytes));
        all.encode(encoder)
    }
}

impl Metric {
    fn value(&self, value: u64, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        if self.rises {
            encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
        } else {
            encoder.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))
        }
    }
}

impl RegionServer {
    /// The numbers of this server, as text.
    pub fn metrics(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.snapshot()));
        registry.register_collector(Box::new(Sent::of(&self.ctx.region.fs, self.ctx.region.log.filesystem())));
        registry.register_collector(Box::new(DiskCache(self.ctx.region.fs.clone())));
        let mut out = String::new();
        text::encode(&mut out, &registry).expect("writing to a string does not fail");
        out
    }

    fn snapshot(&self) -> Snapshot {
        let mut all = Snapshot::default();
        let regions = self.regions.all();
        let loads: Vec<StoreLoad> = regions.iter().flat_map(|hosted| hosted.region.loads()).collect();
        let sum = |of: fn(&StoreLoad) -> u64| loads.iter().map(of).sum::<u64>();
        all.gauge("ferrobase_regions", "Open regions", regions.len() as u64);
        all.gauge("ferrobase_stores", "Families of open regions", loads.len() as u64);
        all.gauge("ferrobase_memstore_bytes", "Bytes in memtables", sum(|load| load.memtable_bytes));
        let budget = &self.ctx.region.budget;
        all.gauge("ferrobase_memstore_charged_bytes", "Memory taken by memtables and writes under way", budget.used());
        all.gauge("ferrobase_memstore_limit_bytes", "Memory that memtables may take", budget.limit());
        all.gauge("ferrobase_store_files", "Store files", sum(|load| load.files as u64));
        all.gauge("ferrobase_store_file_bytes", "Bytes in store files", sum(|load| load.file_bytes));
        all.gauge("ferrobase_scanners_open", "Open scanners", self.scanners.len() as u64);

        let counts = &self.counts;
        let requests = Kind::ALL.iter().map(|(kind, name)| (*name, counts.requests(*kind))).collect();
        all.counters("ferrobase_requests", "Requests, and actions inside of a multi, by kind", "kind", requests);
        let failures = FAILURES.iter().map(|kind| (kind.as_str(), counts.failures(*kind))).collect();
        all.counters("ferrobase_request_failures", "Calls and actions that failed, by reason", "reason", failures);
        all.counter("ferrobase_rows_read", "Rows that reads looked at", counts.rows_read.get());
        all.counter("ferrobase_rows_filtered", "Rows that a filter left nothing of", counts.rows_filtered.get());
        all.counter("ferrobase_mutations", "Mutations", counts.mutations.get());
        let blocked = counts.blocked_writes.get();
        let waited = self.regions.counters().writes_waited;
        all.counter("ferrobase_writes_waited", "Writes that waited for memory or a flush", waited);
        all.counter("ferrobase_writes_blocked", "Writes refused because memory or a flush was behind", blocked);

        all.counter("ferrobase_flushes", "Flushes", counts.flushes.get());
        all.counter("ferrobase_flush_bytes", "Bytes of memtables that flushes wrote", counts.flushed_bytes.get());
        all.counter("ferrobase_flush_failures", "Flushes that failed", counts.flush_failures.get());
        let compactions = vec![("minor", counts.compactions_minor.get()), ("major", counts.compactions_major.get())];
        all.counters("ferrobase_compactions", "Compactions of families", "kind", compactions);
        all.counter("ferrobase_compaction_bytes", "Bytes that compactions read", counts.compacted_bytes.get());
        all.counter("ferrobase_compaction_failures", "Compactions that failed", counts.compaction_failures.get());
        all.counter("ferrobase_bulk_loads", "Bulk loads that regions took in", counts.loads.get());
        all.counter(
            "ferrobase_bulk_loaded_files",
            "Files of bulk loads that regions took in",
            counts.loaded_files.get(),
        );
        let (files, bytes) = counts.collections();
        all.counter("ferrobase_collected_files", "Left-over files of regions that were deleted", files);
        all.counter("ferrobase_collected_bytes", "Bytes of left-over files that were deleted", bytes);
        let (waiting, running) = self.upkeep.compactions();
        all.gauge("ferrobase_compactions_waiting", "Compactions that wait", waiting as u64);
        all.gauge("ferrobase_compactions_running", "Compactions that run", running as u64);

        let log = &self.ctx.region.log;
        let done = log.counters();
        all.counter("ferrobase_log_syncs", "Groups of writes made durable, each by one sync", done.syncs);
        all.counter("ferrobase_log_bytes", "Bytes of writes made durable", done.bytes);
        all.counter("ferrobase_log_failures", "Groups of writes that could not be made durable", done.failures);
        all.counter(
            "ferrobase_log_looks",
            "Looks at the log's storage for reads, whether another process has taken over",
            done.looks,
        );
        all.gauge(
            "ferrobase_log_segments",
            "Segments of the log that still count, its pieces by what they would make",
            log.segments() as u64,
        );
        let cache = &self.ctx.region.cache;
        let (hits, misses) = cache.hits_and_misses();
        all.counter("ferrobase_block_cache_hits", "Blocks found in the cache", hits);
        all.counter("ferrobase_block_cache_misses", "Blocks not found in the cache", misses);
        all.gauge("ferrobase_block_cache_bytes", "Bytes in the block cache", cache.bytes());
        all.counters("ferrobase_store_file_reads", "Store files that reads came to, by what followed", "result", {
            let sum = self.regions.counters();
            vec![
                ("read", sum.files_read),
                ("skipped_by_key_range", sum.files_skipped_by_key_range),
                ("skipped_by_time", sum.files_skipped_by_time),
                ("skipped_by_bloom", sum.files_skipped_by_bloom),
                ("skipped_by_columns", sum.files_skipped_by_columns),
            ]
        });
        all
    }
}
