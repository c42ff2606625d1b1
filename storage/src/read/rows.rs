//! Rows out of the families of a region: filters, limits, order of rows.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::filter::FilterCode;
use model::query::{Get, Scan, Selection};
use model::{Cell, CellOrder, CellRef, SeqNo};
use runtime::clock::Clock;

use super::family::FamilyScanner;
use super::{FamilySettings, Merge};
use crate::error::{Result, StorageError};
use crate::source::CellSource;

/// A running filter. Its methods are called in HBase's order, row by row.
pub trait RowFilter: Send {
    /// A new row begins.
    fn reset(&mut self) -> Result<()>;
    /// Whether the scan is over.
    fn filter_all_remaining(&mut self) -> Result<bool>;
    /// Whether to leave out the row of this cell.
    fn filter_row_key(&mut self, first: CellRef<'_>) -> Result<bool>;
    /// What to do with a cell.
    fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode>;
    /// The cell as it goes into the answer.
    fn transform_cell(&mut self, cell: Cell) -> Result<Cell>;
    /// Where to go after [`FilterCode::SeekNextUsingHint`].
    fn next_cell_hint(&mut self, cell: CellRef<'_>) -> Result<Option<Cell>>;
    /// Whether whole rows are needed for the next two.
    fn has_filter_row(&self) -> bool;
    /// Changes a finished row.
    fn filter_row_cells(&mut self, cells: &mut Vec<Cell>) -> Result<()>;
    /// Whether to leave out a finished row.
    fn filter_row(&mut self) -> Result<bool>;
    /// Whether the family is needed to judge a row.
    fn is_family_essential(&self, family: &[u8]) -> bool;
}

pub(crate) type FilterSlot = Option<Box<dyn RowFilter>>;

/// What is read: a [`Get`] or a [`Scan`] in one form.
#[derive(Clone, Debug)]
pub struct Query {
    /// First row (the largest, if reversed); empty means the edge.
    pub start_row: Bytes,
    /// Whether it is wanted itself.
    pub include_start_row: bool,
    /// Last row; empty means the other edge.
    pub stop_row: Bytes,
    /// Whether it is wanted itself.
    pub include_stop_row: bool,
    /// From large rows to small ones.
    pub reversed: bool,
    /// Delete markers and deleted cells too.
    pub raw: bool,
    /// Most cells per result.
    pub batch: Option<u32>,
    /// Which cells.
    pub selection: Selection,
}

impl From<&Scan> for Query {
    fn from(scan: &Scan) -> Query {
        Query {
            start_row: scan.start_row.clone(),
            include_start_row: scan.include_start_row,
            stop_row: scan.stop_row.clone(),
            include_stop_row: scan.include_stop_row,
            reversed: scan.reversed,
            raw: scan.raw,
            batch: scan.batch.filter(|batch| *batch > 0),
            selection: scan.selection.clone(),
        }
    }
}

impl From<&Get> for Query {
    fn from(get: &Get) -> Query {
        Query {
            start_row: get.row.clone(),
            include_start_row: true,
            stop_row: get.row.clone(),
            include_stop_row: true,
            reversed: false,
            raw: false,
            batch: None,
            selection: get.selection.clone(),
        }
    }
}

impl Query {
    /// Whether it names exactly one row.
    pub fn is_get(&self) -> bool {
        self.include_start_row && self.include_stop_row && !self.start_row.is_empty() && self.start_row == self.stop_row
    }
}

/// One family to read: its settings and where its cells are, newest source first.
pub struct FamilySources {
    /// The settings.
    pub settings: FamilySettings,
    /// Sources that may hold wanted cells.
    pub sources: Vec<Box<dyn CellSource>>,
}

impl std::fmt::Debug for FamilySources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FamilySources").field("settings", &self.settings).field("sources", &self.sources.len()).finish()
    }
}

/// When a call must come back.
#[derive(Clone, Debug)]
pub struct Deadline {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The end, on the clock's monotonic time.
    pub at: Duration,
}

impl Deadline {
    fn passed(&self) -> bool {
        self.clock.monotonic() >= self.at
    }
}

/// Bounds of one call of [`RowScanner::next`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most results.
    pub rows: usize,
    /// Most rows that end in this call.
    pub complete_rows: Option<usize>,
    /// Bytes of cells after which the call ends; exceeded by at most one cell or, without `partial`, one row.
    pub bytes: u64,
    /// Whether the call may end inside a row.
    pub partial: bool,
    /// When the call must come back; without `partial` it still finishes its row.
    pub deadline: Option<Deadline>,
}

impl Limits {
    /// So many results and nothing else.
    pub fn rows(rows: usize) -> Limits {
        Limits { rows, complete_rows: None, bytes: u64::MAX, partial: false, deadline: None }
    }
}

/// One result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its cells in order, never none.
    pub cells: Vec<Cell>,
    /// Whether more cells of the same row may follow in the next result.
    pub partial: bool,
}

/// Which bound ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// None: there is no more.
    End,
    /// The results or complete rows.
    Rows,
    /// The bytes.
    Bytes,
    /// The time.
    Time,
}

/// How a call of [`RowScanner::next`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanState {
    /// Whether this region may have more.
    pub more: bool,
    /// Whether the filter ended the scan, here and in all regions behind.
    pub filter_done: bool,
    /// Why the call ended.
    pub reached: Reached,
    /// Rows looked at.
    pub rows_scanned: u64,
    /// Rows of which nothing was left.
    pub rows_filtered: u64,
}

/// Cells examined between two looks at the clock inside a row.
const CELLS_PER_TIME_CHECK: u32 = 10_000;

/// Takes the cells of the row at hand and knows the bounds.
#[derive(Debug)]
pub(crate) struct Sink {
    pub cells: Vec<Cell>,
    /// Nothing is taken and no bound holds: the row is only walked through.
    pub discard: bool,
    batch: Option<usize>,
    bytes: u64,
    bytes_max: u64,
    /// Bytes and time hold inside a row.
    inside_row: bool,
    deadline: Option<Deadline>,
    examined: u32,
    pub timed_out: bool,
}

impl Sink {
    fn new(batch: Option<u32>, limits: &Limits) -> Sink {
        Sink {
            cells: Vec::new(),
            discard: false,
            batch: batch.map(|batch| batch as usize),
            bytes: 0,
            bytes_max: limits.bytes,
            inside_row: limits.partial,
            deadline: limits.deadline.clone(),
            examined: 0,
            timed_out: false,
        }
    }

    pub fn push(&mut self, cell: Cell) {
        self.bytes += cell.bytes().len() as u64;
        self.cells.push(cell);
    }

    fn batch_full(&self) -> bool {
        !self.discard && self.batch.is_some_and(|batch| self.cells.len() >= batch)
    }

    fn bytes_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    /// Whether to stop inside a row.
    pub fn full(&self) -> bool {
        self.batch_full() || (self.inside_row && !self.discard && (self.bytes_full() || self.timed_out))
    }

    /// Counts a cell that was looked at; answers whether time is up.
    pub fn examine(&mut self) -> bool {
        self.examined += 1;
        if self.inside_row && !self.discard && self.examined.is_multiple_of(CELLS_PER_TIME_CHECK) {
            self.check_time();
        }
        self.timed_out && self.inside_row && !self.discard
    }

    fn check_time(&mut self) -> bool {
        self.timed_out = self.timed_out || self.deadline.as_ref().is_some_and(Deadline::passed);
        self.timed_out
    }
}

enum Step {
    /// A whole row, or none.
    Row { more: bool },
    /// A piece of a row, perhaps empty.
    Piece,
    /// Rows were left out until time was up.
    TimedOut,
}

/// Reads the rows of a region. Dropping the future of [`RowScanner::next`] before it is ready leaves the scanner
/// unusable.
pub struct RowScanner {
    order: CellOrder,
    query: Query,
    filter: FilterSlot,
    /// Families that the filter needs, by name.
    families: Vec<FamilyScanner>,
    /// Families read only for rows that passed.
    joined: Vec<FamilyScanner>,
    /// The row whose joined families are not read to the end.
    joined_row: Option<Bytes>,
    /// The last result was cut inside the main families of its row: an empty rest does not make it a row left out.
    cut: bool,
    started: bool,
    ended: bool,
    rows_scanned: u64,
    rows_filtered: u64,
}

impl std::fmt::Debug for RowScanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowScanner").field("query", &self.query).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl RowScanner {
    /// `families` are those that the query selects. `now_ms` decides what has outlived its time.
    pub fn new(
        query: Query,
        families: Vec<FamilySources>,
        filter: Option<Box<dyn RowFilter>>,
        order: CellOrder,
        read_point: SeqNo,
        now_ms: i64,
    ) -> Result<RowScanner> {
        let on_demand = filter.is_some() && query.selection.load_families_on_demand.unwrap_or(true);
        let (mut main, mut joined) = (Vec::new(), Vec::new());
        for family in families {
            let merge = Merge::new(family.sources, order, read_point);
            let scanner = FamilyScanner::new(&query, family.settings, merge, now_ms, filter.is_some())?;
            let essential = filter.as_ref().is_none_or(|filter| filter.is_family_essential(scanner.name()));
            if on_demand && !essential { joined.push(scanner) } else { main.push(scanner) }
        }
        main.sort_by(|a, b| a.name().cmp(b.name()));
        joined.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(RowScanner {
            order,
            query,
            filter,
            families: main,
            joined,
            joined_row: None,
            cut: false,
            started: false,
            ended: false,
            rows_scanned: 0,
            rows_filtered: 0,
        })
    }

    /// The row that comes next, if the scanner has begun.
    pub fn position(&self) -> Option<&[u8]> {
        if let Some(row) = &self.joined_row {
            return Some(row);
        }
        self.top(&self.families).and_then(|at| self.families[at].peek()).map(CellRef::row)
    }

    /// The family that stands at the first row, the smallest name among equals.
    fn top(&self, families: &[FamilyScanner]) -> Option<usize> {
        let mut best: Option<(usize, &[u8])> = None;
        for (at, family) in families.iter().enumerate() {
            let Some(cell) = family.peek() else { continue };
            let row = cell.row();
            let first = best.is_none_or(|(_, held)| {
                let order = self.order.compare_rows(row, held);
                if self.query.reversed { order.is_gt() } else { order.is_lt() }
            });
            if first {
                best = Some((at, row));
            }
        }
        best.map(|(at, _)| at)
    }

    fn is_behind(&self, row: &[u8]) -> bool {
        if self.query.stop_row.is_empty() {
            return false;
        }
        let order = self.order.compare_rows(row, &self.query.stop_row);
        let order = if self.query.reversed { order.reverse() } else { order };
        order.is_gt() || (order.is_eq() && !self.query.include_stop_row)
    }

    /// Appends results to `out` until a bound is reached or there is no more.
    pub async fn next(&mut self, limits: &Limits, out: &mut Vec<Row>) -> Result<ScanState> {
        let (scanned, filtered) = (self.rows_scanned, self.rows_filtered);
        let first = out.len();
        let mut sink = Sink::new(self.query.batch, limits);
        let mut complete = 0;
        let mut reached = Reached::End;
        if !self.started {
            self.started = true;
            for family in &mut self.families {
                family.start().await?;
            }
        }
        while !self.ended {
            let step = self.next_row(&mut sink).await?;
            let cells = std::mem::take(&mut sink.cells);
            let partial = matches!(step, Step::Piece);
            if !partial && let Some(filter) = &mut self.filter {
                filter.reset()?;
            }
            let more = match step {
                Step::Row { more } => more,
                Step::Piece | Step::TimedOut => true,
            };
            if !more || self.filter_done()? {
                self.ended = true;
            }
            if !cells.is_empty() {
                let previous = out.len() > first && out.last().is_some_and(|row| row.partial);
                if previous && out.last().is_some_and(|row| row.cells[0].row() != cells[0].row()) {
                    complete += 1; // nothing was left of the rest of the row before
                }
                if !partial {
                    complete += 1;
                }
                out.push(Row { cells, partial });
            } else if self.ended && out.len() > first {
                out.last_mut().expect("just looked").partial = false;
            }
            if self.ended {
                break;
            }
            if out.len() - first >= limits.rows || limits.complete_rows.is_some_and(|most| complete >= most) {
                reached = Reached::Rows;
                break;
            }
            if sink.bytes_full() {
                reached = Reached::Bytes;
                break;
            }
            if sink.check_time() {
                reached = Reached::Time;
                break;
            }
        }
        Ok(ScanState {
            more: !self.ended,
            filter_done: self.filter_done()?,
            reached,
            rows_scanned: self.rows_scanned - scanned,
            rows_filtered: self.rows_filtered - filtered,
        })
    }

    fn filter_done(&mut self) -> Result<bool> {
        self.filter.as_mut().map_or(Ok(false), |filter| filter.filter_all_remaining())
    }

    /// Reads one row, or a piece of it, into the sink.
    async fn next_row(&mut self, sink: &mut Sink) -> Result<Step> {
        let whole_rows = self.filter.as_ref().is_some_and(|filter| filter.has_filter_row());
        if whole_rows {
            sink.inside_row = false;
        }
        loop {
            let bytes_before = sink.bytes;
            let continued = std::mem::take(&mut self.cut);
            sink.cells.clear();
            if self.joined_row.is_some() {
                if self.read_joined(sink).await? {
                    return Ok(Step::Piece);
                }
                let more = self.position().is_some_and(|row| !self.is_behind(row));
                if sink.cells.is_empty() && more {
                    continue;
                }
                return Ok(Step::Row { more });
            }
            let Some(first) = self.top(&self.families).and_then(|at| self.families[at].cell()) else {
                return self.end_of_rows(sink, whole_rows);
            };
            if self.is_behind(first.row()) {
                return self.end_of_rows(sink, whole_rows);
            }
            if let Some(filter) = &mut self.filter
                && filter.filter_row_key(first.as_ref())?
            {
                self.rows_scanned += 1;
                self.rows_filtered += 1;
                if filter.filter_all_remaining()? {
                    return Ok(Step::Row { more: false });
                }
                self.walk_through(first.row(), sink).await?;
                if sink.check_time() {
                    return Ok(Step::TimedOut);
                }
                continue;
            }
            if self.read_main(first.row(), sink).await? {
                if whole_rows {
                    let why = "a filter that judges whole rows cannot be used with a scan that cuts rows";
                    return Err(StorageError::Invalid(why.to_owned()));
                }
                self.cut = continued || !sink.cells.is_empty();
                return Ok(Step::Piece);
            }
            self.rows_scanned += 1;
            let more = self.position().is_some_and(|row| !self.is_behind(row));
            let mut excluded = sink.cells.is_empty() && !continued;
            if let Some(filter) = &mut self.filter {
                if whole_rows {
                    filter.filter_row_cells(&mut sink.cells)?;
                    if !sink.cells.is_empty() && filter.filter_row()? {
                        excluded = true;
                    }
                    sink.bytes = bytes_before + sink.cells.iter().map(|cell| cell.bytes().len() as u64).sum::<u64>();
                } else if !excluded {
                    excluded = filter.filter_row()?;
                }
            }
            if excluded {
                self.rows_filtered += 1;
                sink.bytes = bytes_before;
                sink.cells.clear();
                self.walk_through(first.row(), sink).await?;
                if !more {
                    return Ok(Step::Row { more: false });
                }
                if sink.check_time() {
                    return Ok(Step::TimedOut);
                }
                continue;
            }
            if !self.joined.is_empty() {
                self.enter_joined(first.row()).await?;
                let full = sink.full() && !sink.cells.is_empty();
                if self.joined_row.is_some() && (full || self.read_joined(sink).await?) {
                    return Ok(Step::Piece);
                }
            }
            if sink.cells.is_empty() {
                self.rows_filtered += 1;
                self.walk_through(first.row(), sink).await?;
                if more {
                    continue;
                }
            }
            return Ok(Step::Row { more });
        }
    }

    fn end_of_rows(&mut self, sink: &mut Sink, whole_rows: bool) -> Result<Step> {
        if whole_rows && let Some(filter) = &mut self.filter {
            filter.filter_row_cells(&mut sink.cells)?;
        }
        Ok(Step::Row { more: false })
    }

    /// Reads the row from the main families; answers whether a bound cut it.
    async fn read_main(&mut self, row: &[u8], sink: &mut Sink) -> Result<bool> {
        loop {
            let Some(at) = self.top(&self.families) else { return Ok(false) };
            if self.families[at].peek().is_none_or(|cell| cell.row() != row) {
                return Ok(false);
            }
            self.families[at].next(&mut self.filter, sink).await?;
            if sink.full() {
                let at = self.top(&self.families);
                let same = at.and_then(|at| self.families[at].peek()).is_some_and(|cell| cell.row() == row);
                return Ok(same);
            }
        }
    }

    /// Goes behind the row. The filter still sees its cells, as in HBase.
    async fn walk_through(&mut self, row: &[u8], sink: &mut Sink) -> Result<()> {
        sink.discard = true;
        for family in &mut self.families {
            while family.peek().is_some_and(|cell| cell.row() == row) {
                family.next(&mut self.filter, sink).await?;
            }
        }
        sink.discard = false;
        if let Some(filter) = &mut self.filter {
            filter.reset()?;
        }
        Ok(())
    }

    async fn enter_joined(&mut self, row: &[u8]) -> Result<()> {
        let mut any = false;
        for family in &mut self.joined {
            if family.peek().is_none_or(|cell| cell.row() != row) {
                family.seek_row(row).await?;
            }
            any |= family.peek().is_some_and(|cell| cell.row() == row);
        }
        self.joined_row = any.then(|| Bytes::copy_from_slice(row));
        Ok(())
    }

    /// Reads the row from the joined families; answers whether a bound cut it.
    async fn read_joined(&mut self, sink: &mut Sink) -> Result<bool> {
        let row = self.joined_row.clone().expect("called with a row at hand");
        let mut cut = false;
        for at in 0..self.joined.len() {
            while !cut && self.joined[at].peek().is_some_and(|cell| cell.row() == row) {
                self.joined[at].next(&mut self.filter, sink).await?;
                cut = sink.full() && self.joined.iter().any(|family| family.peek().is_some_and(|c| c.row() == row));
            }
        }
        if !cut {
            self.joined_row = None;
        }
        let order = self.order;
        sink.cells.sort_by(|a, b| order.compare(a.as_ref(), b.as_ref()));
        Ok(cut)
    }
}
