//! Scans: region by region, resumed where a scanner is lost.
//!
//! Always true
//! - A row is given once and whole, unless the scan has a batch or allows partial results; then its pieces follow each other
//!   and no cell is given twice.
//! - One batch is read ahead at most, and only when half of the one before was taken. A slow reader's scanner is kept alive.
//! - Without a limit or `caching` a batch has at most half as many rows, or parts of rows, as came before it, or [`FIRST_ROWS`]: who stops
//!   early has made no server work much in vain.
//! - A scanner that is not read to its end is closed when the stream is dropped.
//! - After an error the stream is over.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use futures::future::BoxFuture;
use model::query::Scan;
use model::schema::TableName;
use model::{Cell, CellOrder, ErrorKind};
use protocol::cell_block::CellBlock;
use protocol::messages as pb;
use protocol::query::scan_to;
use protocol::result::{Scanned, scanned_from};
use protocol::service::{CLIENT, Call, RpcError};
use runtime::clock::within;
use tokio::sync::mpsc;

use crate::Result;
use crate::error::Subject;
use crate::location::{Cluster, Location, Seek};
use crate::retry::{Retry, may_retry};
use crate::row::Row;

/// Bytes per response unless the scan says otherwise.
pub const RESULT_BYTES: u64 = 2 << 20;
/// Rows of the first batches unless the scan says otherwise.
const FIRST_ROWS: u32 = 128;
/// A scan of at most so many rows is answered by one call per region if it fits.
const ONE_SHOT_ROWS: u32 = 1_000;
/// Largest row that is put together from parts.
const ROW_BYTES_MAX: usize = 256 << 20;
/// How long a server keeps a scanner that does not say.
const DEFAULT_LEASE: Duration = Duration::from_secs(60);
/// How long closing a scanner that nobody needs may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Rows of a scan, in order. Either a stream or, with [`RowStream::next_row`], asked for one by one.
pub struct RowStream {
    ready: VecDeque<Row>,
    /// So many rows left of a batch have the next one fetched.
    half: usize,
    /// Bytes of the batch's cells.
    batch_bytes: usize,
    state: State,
}

type Fetched = (Box<Driver>, Result<Vec<Row>>);

enum State {
    New(Box<Driver>),
    First(BoxFuture<'static, Fetched>),
    Ahead(Ahead),
    Over,
}

/// A driver that goes on in the background.
struct Ahead {
    /// Asks for a batch.
    wants: mpsc::Sender<()>,
    batches: mpsc::Receiver<Result<Vec<Row>>>,
}

impl std::fmt::Debug for RowStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowStream").field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}

impl RowStream {
    pub(crate) fn new(cluster: Arc<Cluster>, subject: Subject, table: TableName, scan: Scan) -> RowStream {
        let state = State::New(Box::new(Driver::new(cluster, subject, table, scan)));
        RowStream { ready: VecDeque::new(), half: 0, batch_bytes: 0, state }
    }

    /// Bytes that its rows hold which were fetched and are not all taken: those of a batch as long as one of its rows is left, and as much for
    /// the one that is fetched ahead.
    pub fn held_bytes(&self) -> usize {
        let is_ahead = matches!(self.state, State::Ahead(_)) && self.ready.len() <= self.half;
        let batches = usize::from(!self.ready.is_empty()) + usize::from(is_ahead);
        batches * self.batch_bytes
    }

    /// The next row; `None` at the end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The scan failed for good and is over.
    pub async fn next_row(&mut self) -> Result<Option<Row>> {
        std::future::poll_fn(|ctx| Pin::new(&mut *self).poll_next(ctx)).await.transpose()
    }
}

impl Stream for RowStream {
    type Item = Result<Row>;

    fn poll_next(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Option<Result<Row>>> {
        loop {
            if let Some(row) = self.ready.pop_front() {
                if self.ready.len() == self.half
                    && let State::Ahead(ahead) = &self.state
                {
                    let _ = ahead.wants.try_send(()); // a driver that is gone has told why
                }
                return Poll::Ready(Some(Ok(row)));
            }
            let fetched = match &mut self.state {
                State::New(_) => {
                    // The first batch is fetched here: a short scan needs no task.
                    let State::New(mut driver) = std::mem::replace(&mut self.state, State::Over) else { continue };
                    self.state = State::First(Box::pin(async move {
                        let rows = driver.fetch().await;
                        (driver, rows)
                    }));
                    continue;
                }
                State::First(first) => {
                    let (driver, rows) = ready!(first.as_mut().poll(ctx));
                    self.state = match &rows {
                        Ok(_) if !driver.finished => State::Ahead(driver.read_ahead()),
                        _ => State::Over,
                    };
                    Some(rows)
                }
                State::Ahead(ahead) => ready!(ahead.batches.poll_recv(ctx)),
                State::Over => None,
            };
            match fetched {
                Some(Ok(rows)) => {
                    self.half = rows.len() / 2;
                    self.batch_bytes = rows.iter().flat_map(|row| &row.cells).map(|cell| cell.bytes().len()).sum();
                    self.ready.extend(rows);
                }
                Some(Err(error)) => {
                    self.state = State::Over;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.state = State::Over;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

/// A scanner on a server; closed when dropped unless the server has closed it.
struct Scanner {
    cluster: Arc<Cluster>,
    location: Arc<Location>,
    id: u64,
    /// Number of the next call.
    seq: u64,
    lease: Duration,
    gone: bool,
}

impl Scanner {
    fn request(&self) -> pb::ScanRequest {
        pb::ScanRequest { scanner_id: Some(self.id), ..pb::ScanRequest::default() }
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        // Outside of tokio the lease must do.
        if self.gone || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let request = pb::ScanRequest { number_of_rows: Some(0), close_scanner: Some(true), ..self.request() };
        let (cluster, address) = (self.cluster.clone(), self.location.address.clone());
        runtime::task::spawn("close scanner", async move {
            let call = Call::new(CLIENT, "Scan", &request);
            if let Err(error) = cluster.calls.call(&address, call, CLOSE_LIMIT).await {
                tracing::debug!(%error, "scanner is left to its lease");
            }
        });
    }
}

/// Where the scan stands, and its open scanner.
struct Driver {
    cluster: Arc<Cluster>,
    subject: Subject,
    table: TableName,
    /// The scan as it was asked for; `start_row` moves with what was given.
    scan: Scan,
    scanner: Option<Scanner>,
    /// The last cell given of a row that may go on: not to be given again.
    given: Option<Cell>,
    /// Cells of a row that is not complete, or of a piece smaller than the batch.
    parts: Vec<Cell>,
    parts_bytes: usize,
    /// Rows complete.
    rows: u32,
    /// Answers' results: rows or parts of them.
    results: u32,
    /// Regions read to their end.
    regions: u32,
    /// The read point to continue with in this region.
    read_point: Option<u64>,
    one_shot: bool,
    /// The last scanner was out of step; a second time in a row is an error.
    out_of_order: bool,
    finished: bool,
}

impl Driver {
    fn new(cluster: Arc<Cluster>, subject: Subject, table: TableName, mut scan: Scan) -> Driver {
        scan.max_result_size.get_or_insert(RESULT_BYTES);
        scan.batch = scan.batch.filter(|batch| *batch > 0);
        scan.limit = scan.limit.filter(|limit| *limit > 0);
        scan.caching = scan.caching.filter(|caching| *caching > 0);
        let one_row = !scan.start_row.is_empty()
            && scan.start_row == scan.stop_row
            && scan.include_start_row
            && scan.include_stop_row;
        let few =
            scan.limit.is_some_and(|limit| limit <= ONE_SHOT_ROWS && scan.caching.is_none_or(|most| limit <= most));
        let nothing = !scan.start_row.is_empty()
            && scan.start_row == scan.stop_row
            && !(scan.include_start_row && scan.include_stop_row);
        Driver {
            one_shot: one_row || few,
            finished: nothing,
            read_point: scan.mvcc_read_point,
            cluster,
            subject,
            table,
            scan,
            scanner: None,
            given: None,
            parts: Vec::new(),
            parts_bytes: 0,
            rows: 0,
            results: 0,
            regions: 0,
            out_of_order: false,
        }
    }

    /// Goes on in the background, a batch whenever one is asked for.
    fn read_ahead(self: Box<Driver>) -> Ahead {
        let (wants, asked) = mpsc::channel(1);
        let (sender, batches) = mpsc::channel(1);
        runtime::task::spawn("scan", self.run(asked, sender));
        Ahead { wants, batches }
    }

    async fn run(mut self: Box<Driver>, mut asked: mpsc::Receiver<()>, sender: mpsc::Sender<Result<Vec<Row>>>) {
        let clock = self.cluster.calls.runtime.clock.clone();
        while !self.finished {
            loop {
                let pause = self.scanner.as_ref().map_or(DEFAULT_LEASE, |scanner| scanner.lease) / 3;
                match within(&*clock, pause, asked.recv()).await {
                    Some(Some(())) => break,
                    Some(None) => return,
                    None => self.renew().await,
                }
            }
            let batch = tokio::select! {
                biased; // it may have been dropped since it asked
                () = sender.closed() => return,
                batch = self.fetch() => batch,
            };
            let over = batch.is_err();
            if sender.send(batch).await.is_err() || over {
                return;
            }
        }
    }

    /// Keeps the scanner alive. If that fails the next call tells what is wrong.
    async fn renew(&self) {
        if let Some(scanner) = &self.scanner {
            let request = pb::ScanRequest { renew: Some(true), ..scanner.request() };
            let call = Call::new(CLIENT, "Scan", &request);
            let limit = self.cluster.calls.settings.call_timeout;
            if let Err(error) = self.cluster.calls.call(&scanner.location.address, call, limit).await {
                tracing::debug!(%error, "scanner could not be renewed");
            }
        }
    }

    /// Attempts at the next answer.
    fn retry(&self) -> Retry {
        Retry::new(&self.cluster, self.subject.clone().row(&self.scan.start_row))
    }

    /// The next rows: some, unless the scan is finished.
    async fn fetch(&mut self) -> Result<Vec<Row>> {
        let mut retry = self.retry();
        let mut rows = Vec::new();
        let mut lost = false;
        while !self.finished {
            let region = self.regions;
            match self.step(retry.call_limit(), &mut rows).await {
                Ok(()) if rows.is_empty() => {
                    // The region had nothing, or the server needs more time: it answered all the same. Behind a loss
                    // an answer may bring only what was there before, so that the time runs on until there is more.
                    if !lost || self.regions != region {
                        (retry, lost) = (self.retry(), false);
                    }
                }
                Ok(()) => break,
                Err(cause) => {
                    lost = true;
                    self.lose_scanner(&cause);
                    let restart = cause.kind == ErrorKind::NotFound && is_lost(&cause);
                    let again = std::mem::replace(&mut self.out_of_order, is_out_of_order(&cause));
                    if restart && !(again && self.out_of_order) {
                        retry.again(RpcError { kind: ErrorKind::Unavailable, ..cause }).await?;
                    } else {
                        retry.again(cause).await?;
                    }
                }
            }
        }
        Ok(rows)
    }

    /// Forgets the scanner after an error; what was gathered of a row is read again.
    fn lose_scanner(&mut self, cause: &RpcError) {
        self.parts.clear();
        self.parts_bytes = 0;
        if let Some(mut scanner) = self.scanner.take() {
            self.cluster.heed(&scanner.location, cause);
            // Elsewhere it is gone, or cannot be reached.
            scanner.gone =
                !matches!(cause.kind, ErrorKind::Busy | ErrorKind::Unknown) && may_retry(cause) || is_lost(cause);
        }
    }

    fn rows_wanted(&self) -> u32 {
        self.scan.limit.map_or(u32::MAX, |limit| limit.saturating_sub(self.rows))
    }

    /// One call, and what it brings.
    async fn step(&mut self, limit: Duration, rows: &mut Vec<Row>) -> Result<(), RpcError> {
        let wanted = self.rows_wanted();
        let all_are_wanted = self.one_shot || self.scan.limit.is_some();
        let likely = if all_are_wanted { wanted } else { FIRST_ROWS.max(self.results / 2) };
        let most = self.scan.caching.unwrap_or(likely).min(wanted).min(i32::MAX as u32);
        let common = pb::ScanRequest {
            number_of_rows: Some(most),
            limit_of_rows: self.scan.limit.map(|_| wanted),
            client_handles_partials: Some(true),
            client_handles_heartbeats: Some(true),
            ..pb::ScanRequest::default()
        };
        let location = match &self.scanner {
            Some(scanner) => scanner.location.clone(),
            None => self.cluster.locate(&self.table, &self.seek(), limit).await?,
        };
        let request = match &mut self.scanner {
            Some(scanner) => {
                scanner.seq += 1;
                pb::ScanRequest { scanner_id: Some(scanner.id), next_call_seq: Some(scanner.seq - 1), ..common }
            }
            None => pb::ScanRequest {
                region: Some(location.specifier()),
                scan: Some(scan_to(&Scan { mvcc_read_point: self.read_point, ..self.scan.clone() })),
                close_scanner: self.one_shot.then_some(true),
                ..common
            },
        };
        let opening = self.scanner.is_none();
        let call = Call::new(CLIENT, "Scan", &request);
        let reply = match self.cluster.calls.call(&location.address, call, limit).await {
            Ok(reply) => reply,
            Err(cause) => {
                if opening {
                    self.cluster.heed(&location, &cause);
                }
                return Err(cause);
            }
        };
        let answer: pb::ScanResponse = reply.decode()?;
        let results = scanned_from(&answer, &mut CellBlock::new(reply.cells.clone()))?;
        if opening && !self.one_shot {
            let id = answer.scanner_id.ok_or_else(|| {
                RpcError::new(ErrorKind::Internal, "answer to Scan cannot be used: it names no scanner")
            })?;
            let lease =
                answer.ttl.filter(|ttl| *ttl > 0).map_or(DEFAULT_LEASE, |ttl| Duration::from_millis(ttl.into()));
            let cluster = self.cluster.clone();
            self.scanner = Some(Scanner { cluster, location: location.clone(), id, seq: 0, lease, gone: false });
        }
        if answer.mvcc_read_point() > 0 {
            self.read_point = Some(answer.mvcc_read_point());
        }
        self.out_of_order = false;
        self.results = self.results.saturating_add(u32::try_from(results.len()).unwrap_or(u32::MAX));
        let nothing = results.is_empty();
        for result in results {
            self.take(result, rows)?;
            if self.finished {
                return Ok(());
            }
        }
        let more = answer.more_results.unwrap_or(true);
        let more_in_region = answer.more_results_in_region.unwrap_or(!nothing);
        if !more || !more_in_region {
            if let Some(mut scanner) = self.scanner.take() {
                scanner.gone = true;
            }
            self.end_row(rows);
            if more {
                self.next_region(&location);
            } else {
                self.finished = true;
            }
        } else if self.one_shot {
            // It did not fit one answer: a scanner reads the rest.
            self.one_shot = false;
            self.parts.clear();
            self.parts_bytes = 0;
        }
        if let Some(cursor) = answer.cursor.and_then(|cursor| cursor.row)
            && self.scan.need_cursor
            && rows.is_empty()
        {
            rows.push(Row { cursor: Some(cursor), ..Row::default() });
        }
        Ok(())
    }

    /// Which region comes next.
    fn seek(&self) -> Seek {
        let start = &self.scan.start_row;
        match (self.scan.reversed, start.is_empty(), self.scan.include_start_row) {
            (true, true, _) => Seek::Last,
            (true, false, false) => Seek::Before(start.clone()),
            _ => Seek::Row(start.clone()),
        }
    }

    /// Moves behind a region that was read to its end.
    fn next_region(&mut self, location: &Location) {
        self.given = None;
        self.regions = self.regions.wrapping_add(1);
        self.read_point = self.scan.mvcc_read_point;
        let (edge, stop) = if self.scan.reversed {
            (&location.info.start_key, location.info.start_key <= self.scan.stop_row)
        } else {
            let past = match location.info.end_key.cmp(&self.scan.stop_row) {
                std::cmp::Ordering::Less => false,
                std::cmp::Ordering::Equal => !self.scan.include_stop_row,
                std::cmp::Ordering::Greater => true,
            };
            (&location.info.end_key, past)
        };
        if edge.is_empty() || !self.scan.stop_row.is_empty() && stop {
            self.finished = true;
            return;
        }
        self.scan.start_row = edge.clone();
        self.scan.include_start_row = !self.scan.reversed;
    }

    /// Takes one result of the server: a row or a part of it.
    fn take(&mut self, (mut cells, partial): Scanned, rows: &mut Vec<Row>) -> Result<(), RpcError> {
        let whole = !partial && self.scan.batch.is_none_or(|batch| cells.len() < batch as usize);
        if let (Some(given), Some(first)) = (&self.given, cells.first()) {
            if first.row() == given.row() {
                let behind = |cell: &Cell| CellOrder::User.compare(cell.as_ref(), given.as_ref()).is_gt();
                cells.retain(behind);
            } else {
                self.end_row(rows);
            }
        }
        let Some(first) = cells.first() else {
            if whole {
                self.end_row(rows);
            }
            return Ok(());
        };
        if self.parts.first().is_some_and(|part| part.row() != first.row()) {
            self.end_row(rows);
        }
        if self.rows_wanted() == 0 {
            self.finished = true;
            return Ok(());
        }
        self.parts_bytes += cells.iter().map(|cell| cell.bytes().len()).sum::<usize>();
        if self.parts.is_empty() {
            self.parts = cells;
        } else {
            self.parts.append(&mut cells);
        }
        match self.scan.batch {
            Some(batch) => {
                let batch = batch as usize;
                while self.parts.len() >= batch {
                    let rest = self.parts.split_off(batch);
                    let piece = std::mem::replace(&mut self.parts, rest);
                    self.give_piece(piece, rows);
                }
                // A piece that is smaller than the batch ends its row.
                if !partial && !self.parts.is_empty() {
                    self.end_row(rows);
                }
                self.parts_bytes = self.parts.iter().map(|cell| cell.bytes().len()).sum();
            }
            None if !partial => self.end_row(rows),
            None if self.scan.allow_partial_results => {
                let piece = std::mem::take(&mut self.parts);
                self.parts_bytes = 0;
                self.give_piece(piece, rows);
            }
            None => {}
        }
        if self.parts_bytes > ROW_BYTES_MAX {
            let why =
                format!("row is larger than {ROW_BYTES_MAX} bytes; scan it with a batch or allow partial results");
            return Err(RpcError::of(ErrorKind::Invalid, "regionserver.RowTooBigException", why));
        }
        Ok(())
    }

    /// Gives a piece of a row that may go on.
    fn give_piece(&mut self, cells: Vec<Cell>, rows: &mut Vec<Row>) {
        let Some(last) = cells.last() else { return };
        self.scan.start_row = last.row_bytes();
        self.scan.include_start_row = true;
        self.given = Some(last.clone());
        rows.push(Row { cells, partial: true, cursor: None });
    }

    /// The row being read is complete: gives what is left of it.
    fn end_row(&mut self, rows: &mut Vec<Row>) {
        let cells = std::mem::take(&mut self.parts);
        self.parts_bytes = 0;
        let begun = self.given.take();
        let Some(last) = cells.last().or(begun.as_ref()) else { return };
        self.scan.start_row = last.row_bytes();
        self.scan.include_start_row = false;
        self.rows += 1;
        if !cells.is_empty() {
            rows.push(Row::of(cells));
        }
        self.finished |= self.rows_wanted() == 0;
    }
}

/// Whether the server has lost the scanner, so that a new one must go on.
fn is_lost(cause: &RpcError) -> bool {
    is_out_of_order(cause)
        || matches!(
            cause.short_class(),
            "UnknownScannerException" | "exceptions.ScannerResetException" | "regionserver.LeaseException"
        )
}

fn is_out_of_order(cause: &RpcError) -> bool {
    cause.short_class() == "exceptions.OutOfOrderScannerNextException"
}
