//! Scans: open, next, renew, close, in one call (hbase-wire.md §2.4).
//!
//! Always true
//! - Every answer repeats the scanner's id and, unless the scanner was closed before, says whether there is more, here and
//!   elsewhere.
//! - A failure in the middle closes the scanner: a client never goes on behind a gap.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use protocol::messages as pb;
use protocol::service::{Call, Reply, RpcError};
use protocol::{cell_block, query};
use runtime::task::Task;
use storage::read::{Deadline, Limits, Reached, Row};

use crate::errors;
use crate::scanners::{Found, InUse, Reading};
use crate::server::RegionServer;

/// The least time that a scan is given, however little the client has.
const TIME_MIN: Duration = Duration::from_millis(10);
/// How often leases are looked at, at most.
const LEASE_CHECK_MAX: Duration = Duration::from_secs(5);

impl RegionServer {
    pub(crate) async fn scan(&self, call: &Call) -> Result<Reply, RpcError> {
        let request: pb::ScanRequest = call.decode()?;
        let mut answer = pb::ScanResponse { stale: Some(false), ..pb::ScanResponse::default() };
        let mut block = BytesMut::new();
        let mut in_use = match (request.scanner_id, &request.scan) {
            (Some(id), _) => {
                answer.scanner_id = Some(id);
                match self.scanner(id, request.next_call_seq)? {
                    Some(in_use) => in_use,
                    None => return Ok(Reply::new(&pb::ScanResponse { stale: None, ..answer })),
                }
            }
            (None, Some(scan)) => self.open_scanner(&request, scan, &mut answer).await?,
            (None, None) => return Err(RpcError::invalid("missing required input: scanner_id or scan")),
        };
        answer.scanner_id = Some(in_use.id());
        (answer.more_results, answer.more_results_in_region) = (Some(true), Some(true));
        if request.renew() {
            in_use.give_back();
            return Ok(Reply::new(&answer));
        }
        let rows = request.number_of_rows.unwrap_or(u32::from(!request.close_scanner())) as usize;
        if rows > 0 {
            self.read_on(&mut in_use, &request, call.timeout, rows, &mut answer, &mut block).await?;
        }
        if answer.more_results() && answer.more_results_in_region() && !request.close_scanner() {
            in_use.give_back();
        } else {
            in_use.close();
        }
        let mut reply = Reply::new(&answer);
        reply.cells = block.freeze();
        Ok(reply)
    }

    /// The scanner of a later call; none if it was closed a short while ago.
    fn scanner(&self, id: u64, call_seq: Option<u64>) -> Result<Option<InUse<'_>>, RpcError> {
        let open = match self.scanners.find(id)? {
            Found::Open(open) => open,
            Found::Closed => return Ok(None),
        };
        if open.hosted.is_gone() {
            self.scanners.remove(id);
            return Err(errors::not_serving(&open.hosted.name, &self.ctx.server));
        }
        if let Some(call_seq) = call_seq {
            open.check_call_seq(call_seq)?;
        }
        self.scanners.take(open).map(Some)
    }

    async fn open_scanner(
        &self,
        request: &pb::ScanRequest,
        scan: &pb::Scan,
        answer: &mut pb::ScanResponse,
    ) -> Result<InUse<'_>, RpcError> {
        let Some(region) = &request.region else {
            return Err(RpcError::invalid("missing required input: region"));
        };
        let hosted = self.region(region)?;
        let scan = query::scan_from(scan).map_err(|error| RpcError::invalid(error.to_string()))?;
        let scanner = hosted.region.scanner(&scan).await.map_err(|error| self.failure(&hosted, error))?;
        answer.mvcc_read_point = Some(scanner.read_point().0);
        answer.ttl = Some(u32::try_from(self.scanners.lease().as_millis()).unwrap_or(u32::MAX));
        let settings = &self.ctx.settings;
        let reading = Reading {
            scanner,
            cut_row: None,
            rows_left: request.limit_of_rows.filter(|limit| *limit > 0),
            result_bytes: scan.max_result_size.unwrap_or(settings.result_bytes).min(settings.result_bytes_max),
            need_cursor: scan.need_cursor,
        };
        self.scanners.add(hosted, reading)
    }

    /// Reads one answer's rows.
    async fn read_on(
        &self,
        in_use: &mut InUse<'_>,
        request: &pb::ScanRequest,
        timeout: Option<Duration>,
        rows_max: usize,
        answer: &mut pb::ScanResponse,
        block: &mut BytesMut,
    ) -> Result<(), RpcError> {
        let partial = request.client_handles_partials();
        // Time may end in the middle of a row, so that a client must be able to take both.
        let heartbeats = partial && request.client_handles_heartbeats();
        let clock = &self.ctx.region.runtime.clock;
        let deadline = heartbeats.then(|| {
            let time = self.scanners.lease().min(timeout.unwrap_or(Duration::MAX)) / 2;
            Deadline { clock: clock.clone(), at: clock.monotonic() + time.max(TIME_MIN) }
        });
        let hosted = in_use.hosted();
        let reading = in_use.reading();
        // Java counts down what it sends; others send the limit with the opening only.
        let limit = request.limit_of_rows.filter(|limit| *limit > 0).or(reading.rows_left);
        let complete_rows = limit.map(|limit| limit as usize);
        let limits = Limits { rows: rows_max, complete_rows, bytes: reading.result_bytes, partial, deadline };
        let mut rows: Vec<Row> = Vec::new();
        let state = reading
            .scanner
            .next(&limits, &mut rows)
            .await
            .map_err(|error| errors::mid_scan(self.failure(&hosted, error)))?;
        hosted.reads.fetch_add(state.rows_scanned, Ordering::Relaxed);
        hosted.filtered.fetch_add(state.rows_filtered, Ordering::Relaxed);
        self.counts.rows_read.add(state.rows_scanned);
        self.counts.rows_filtered.add(state.rows_filtered);
        let mut finished = state.filter_done && rows.is_empty();
        if let Some(limit) = limit {
            let complete = cut_to_limit(&mut rows, reading.cut_row.as_deref(), limit as usize);
            reading.rows_left = Some(limit.saturating_sub(complete as u32));
            finished |= complete >= limit as usize;
        }
        if let Some(last) = rows.last() {
            reading.cut_row = last.partial.then(|| last.cells[0].row_bytes());
        }
        answer.more_results = Some(!finished);
        answer.more_results_in_region = Some(state.more && !finished);
        if heartbeats && state.more && !finished && state.reached == Reached::Time {
            answer.heartbeat_message = Some(true);
            let position = reading.scanner.position().filter(|_| reading.need_cursor);
            answer.cursor = position.map(|row| pb::Cursor { row: Some(Bytes::copy_from_slice(row)) });
        }
        if request.track_scan_metrics() {
            let metric = |name: &str, value: u64| pb::NameInt64Pair {
                name: Some(name.to_owned()),
                value: Some(i64::try_from(value).unwrap_or(i64::MAX)),
            };
            let metrics =
                vec![metric("ROWS_SCANNED", state.rows_scanned), metric("ROWS_FILTERED", state.rows_filtered)];
            answer.scan_metrics = Some(pb::ScanMetrics { metrics });
        }
        block.reserve(rows.iter().flat_map(|row| &row.cells).map(cell_block::len_at_most).sum());
        for row in &rows {
            row.cells.iter().for_each(|cell| cell_block::put(block, cell));
            answer.cells_per_result.push(row.cells.len() as u32);
            answer.partial_flag_per_result.push(row.partial);
        }
        Ok(())
    }

    /// Ends leases for as long as the server lives.
    pub(crate) fn start_leases(self: &Arc<Self>) -> Task<()> {
        let (me, shutdown) = (Arc::downgrade(self), self.shutdown.clone());
        let clock = self.ctx.region.runtime.clock.clone();
        let period = (self.scanners.lease() / 4).clamp(TIME_MIN, LEASE_CHECK_MAX);
        runtime::task::spawn("scanner leases", async move {
            loop {
                tokio::select! {
                    () = clock.sleep(period) => {}
                    () = shutdown.wait() => return,
                }
                let Some(server) = me.upgrade() else { return };
                server.scanners.expire();
            }
        })
    }
}

/// Cuts the results where the limit of complete rows is reached, and counts these. A row begun in the answer before is
/// complete once another one follows.
fn cut_to_limit(rows: &mut Vec<Row>, cut_row: Option<&[u8]>, limit: usize) -> usize {
    let mut open = cut_row.map(<[u8]>::to_vec);
    let mut complete = 0;
    for (at, row) in rows.iter().enumerate() {
        let key = row.cells[0].row();
        if open.take().is_some_and(|open| open != key) {
            complete += 1;
            if complete >= limit {
                rows.truncate(at);
                return complete;
            }
        }
        if row.partial {
            open = Some(key.to_vec());
            continue;
        }
        complete += 1;
        if complete >= limit {
            rows.truncate(at + 1);
            return complete;
        }
    }
    complete
}
