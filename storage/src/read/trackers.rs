//! What decides about single cells: delete markers, wanted columns, versions.
//!
//! Cells of one row and family are shown in order. Two families of trackers exist: the plain ones, where timestamps
//! alone decide what a delete hides, and [`ByWriteOrder`] (`NEW_VERSION_BEHAVIOR`), where sequence numbers do too.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use model::{CellRef, CellType};

/// What a delete marker did to a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// Nothing.
    No,
    /// This and all older cells of the column.
    Column,
    /// This cell.
    Version,
}

/// What is to happen with a cell, and where to go from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Take it.
    Include,
    /// Take it; the column is done.
    IncludeNextCol,
    /// Take it; the row is done.
    IncludeNextRow,
    /// Leave it.
    Skip,
    /// Leave it; the column is done.
    NextCol,
    /// Leave it; the row is done.
    NextRow,
    /// Leave it and go where the filter says.
    Hint,
    /// It is of another row.
    Done,
    /// The filter has ended the scan.
    DoneScan,
}

/// Delete markers where timestamps decide.
#[derive(Debug, Default)]
pub struct Deletes {
    family_until: Option<i64>,
    family_versions: Vec<i64>,
    /// The last column marker: its type and timestamp; its qualifier is in `qualifier`.
    column: Option<(CellType, i64)>,
    qualifier: Vec<u8>,
}

impl Deletes {
    fn reset(&mut self) {
        self.family_until = None;
        self.family_versions.clear();
        self.column = None;
    }

    fn is_empty(&self) -> bool {
        self.column.is_none() && self.family_until.is_none() && self.family_versions.is_empty()
    }

    fn add(&mut self, cell: CellRef<'_>) {
        let (timestamp, cell_type) = (cell.timestamp(), cell.cell_type());
        if self.family_until.is_some_and(|until| timestamp <= until) {
            return; // the family marker hides more
        }
        match cell_type {
            CellType::DELETE_FAMILY => self.family_until = Some(timestamp),
            CellType::DELETE_FAMILY_VERSION => self.family_versions.push(timestamp),
            _ => {
                let qualifier = cell.qualifier();
                if self.column.is_some_and(|(held, _)| cell_type < held) && self.qualifier == qualifier {
                    return; // the column marker before it hides more
                }
                self.column = Some((cell_type, timestamp));
                self.qualifier.clear();
                self.qualifier.extend_from_slice(qualifier);
            }
        }
    }

    fn check(&mut self, cell: CellRef<'_>) -> Deleted {
        let timestamp = cell.timestamp();
        if self.family_until.is_some_and(|until| timestamp <= until) {
            return Deleted::Column;
        }
        if self.family_versions.contains(&timestamp) {
            return Deleted::Version;
        }
        if let Some((cell_type, at)) = self.column {
            if self.qualifier == cell.qualifier() {
                if cell_type == CellType::DELETE_COLUMN {
                    return Deleted::Column;
                }
                if timestamp == at {
                    return Deleted::Version;
                }
            }
            self.column = None;
        }
        Deleted::No
    }
}

/// All columns of a family.
#[derive(Debug)]
pub struct Wildcard {
    max_versions: u32,
    min_versions: u32,
    oldest_ms: i64,
    qualifier: Vec<u8>,
    in_column: bool,
    count: u32,
    /// Timestamp and type of the last cell taken from the column; an equal one is a duplicate.
    last: Option<(i64, CellType)>,
}

impl Wildcard {
    fn new(min_versions: u32, max_versions: u32, oldest_ms: i64) -> Wildcard {
        Wildcard {
            max_versions,
            min_versions,
            oldest_ms,
            qualifier: Vec::new(),
            in_column: false,
            count: 0,
            last: None,
        }
    }

    fn reset(&mut self) {
        self.in_column = false;
        self.last = None;
    }

    fn versions(&mut self, cell: CellRef<'_>, ignore_count: bool) -> Code {
        let qualifier = cell.qualifier();
        let same = self.in_column && self.qualifier == qualifier;
        if !same {
            self.in_column = true;
            self.count = 0;
            self.last = None;
            self.qualifier.clear();
            self.qualifier.extend_from_slice(qualifier);
        }
        if ignore_count {
            return Code::Include;
        }
        let (timestamp, cell_type) = (cell.timestamp(), cell.cell_type());
        if self.last == Some((timestamp, cell_type)) {
            return Code::Skip;
        }
        // A marker takes the version of the put before it.
        if !cell_type.is_delete() {
            self.count += 1;
        }
        if self.count > self.max_versions || (self.count > self.min_versions && timestamp < self.oldest_ms) {
            return Code::NextCol;
        }
        self.last = Some((timestamp, cell_type));
        Code::Include
    }
}

/// Named columns of a family.
#[derive(Debug)]
pub struct Explicit {
    columns: Vec<Bytes>,
    max_versions: u32,
    min_versions: u32,
    oldest_ms: i64,
    /// The column that is looked for; all columns are done when it is behind the last.
    at: usize,
    count: u32,
    last_ms: Option<i64>,
}

impl Explicit {
    fn next(&mut self) {
        self.at += 1;
        self.count = 0;
        self.last_ms = None;
    }

    fn reset(&mut self) {
        self.at = 0;
        self.count = 0;
        self.last_ms = None;
    }

    fn done(&self) -> bool {
        self.at >= self.columns.len()
    }

    fn column(&mut self, qualifier: &[u8]) -> Code {
        while let Some(column) = self.columns.get(self.at) {
            match qualifier.cmp(&column[..]) {
                Ordering::Equal => return Code::Include,
                Ordering::Less => {
                    self.last_ms = None;
                    return Code::NextCol;
                }
                Ordering::Greater => self.next(),
            }
        }
        Code::NextRow
    }

    fn versions(&mut self, timestamp: i64, ignore_count: bool) -> Code {
        if ignore_count {
            return Code::Include;
        }
        if self.last_ms == Some(timestamp) {
            return Code::Skip;
        }
        self.count += 1;
        if self.count >= self.max_versions || (self.count >= self.min_versions && timestamp < self.oldest_ms) {
            self.next();
            return if self.done() { Code::IncludeNextRow } else { Code::IncludeNextCol };
        }
        self.last_ms = Some(timestamp);
        Code::Include
    }

    /// No more of the cell's column is wanted.
    fn leave(&mut self, qualifier: &[u8]) {
        while let Some(column) = self.columns.get(self.at) {
            match qualifier.cmp(&column[..]) {
                Ordering::Less => return,
                Ordering::Equal => return self.next(),
                Ordering::Greater => self.next(),
            }
        }
    }
}

/// One span of the history of a column: from the delete before it up to the delete that it is named after.
#[derive(Clone, Debug)]
struct Span {
    /// Cells of the span up to this timestamp are deleted.
    until_ms: i64,
    /// Version deletes in the span: timestamp to sequence numbers.
    version_deletes: BTreeMap<i64, BTreeSet<u64>>,
    /// Puts seen, for each version delete: those written before it. Under `u64::MAX`: before the span's end.
    puts_before: BTreeMap<u64, BTreeSet<u64>>,
}

impl Span {
    fn new(until_ms: i64) -> Span {
        Span { until_ms, version_deletes: BTreeMap::new(), puts_before: BTreeMap::from([(u64::MAX, BTreeSet::new())]) }
    }

    fn add_version_delete(&mut self, timestamp: i64, seqno: u64) {
        self.version_deletes.entry(timestamp).or_default().insert(seqno);
        let next = self.puts_before.range(seqno..).next().expect("the last key is the largest number").1;
        let earlier = next.range(..seqno).copied().collect();
        self.puts_before.insert(seqno, earlier);
    }
}

/// `NEW_VERSION_BEHAVIOR`: a delete hides only what was written before it, and versions are counted as they were
/// when written.
#[derive(Debug)]
pub struct ByWriteOrder {
    columns: Vec<Bytes>,
    all_columns: bool,
    max_versions: u32,
    result_max_versions: u32,
    min_versions: u32,
    oldest_ms: i64,
    /// By the sequence number of the delete that ends the span; `u64::MAX` for the time since the last one.
    family_spans: BTreeMap<u64, Span>,
    /// The same for the column at hand: a copy of the family's, and its own deletes.
    column_spans: BTreeMap<u64, Span>,
    in_column: bool,
    qualifier: Vec<u8>,
    last_put: Option<(i64, u64)>,
    at: usize,
    count: u32,
}

impl ByWriteOrder {
    fn reset(&mut self) {
        self.family_spans.clear();
        self.family_spans.insert(u64::MAX, Span::new(i64::MIN));
        self.column_spans.clear();
        self.in_column = false;
        self.last_put = None;
        self.at = 0;
        self.count = 0;
    }

    fn enter(&mut self, qualifier: &[u8]) {
        if self.in_column && self.qualifier == qualifier {
            return;
        }
        self.in_column = true;
        self.qualifier.clear();
        self.qualifier.extend_from_slice(qualifier);
        self.column_spans.clone_from(&self.family_spans);
        self.last_put = None;
        self.count = 0;
    }

    fn add(&mut self, cell: CellRef<'_>) {
        let (timestamp, seqno) = (cell.timestamp(), cell.seqno().0);
        let add_version = |spans: &mut BTreeMap<u64, Span>| {
            if let Some((_, span)) = spans.range_mut(seqno..).next() {
                span.add_version_delete(timestamp, seqno);
            }
        };
        match cell.cell_type() {
            CellType::DELETE_FAMILY => {
                self.family_spans.insert(seqno, Span::new(timestamp));
                // Family markers lie between the cells of the column without a name.
                if self.in_column {
                    self.column_spans.insert(seqno, Span::new(timestamp));
                }
            }
            CellType::DELETE_FAMILY_VERSION => {
                add_version(&mut self.family_spans);
                if self.in_column {
                    add_version(&mut self.column_spans);
                }
            }
            CellType::DELETE_COLUMN => {
                self.enter(cell.qualifier());
                self.column_spans.insert(seqno, Span::new(timestamp));
                self.last_put = None;
            }
            _ => {
                self.enter(cell.qualifier());
                add_version(&mut self.column_spans);
                self.last_put = None;
            }
        }
    }

    /// Changes state: a put is counted as a version when it is shown here.
    fn check(&mut self, cell: CellRef<'_>) -> Deleted {
        self.enter(cell.qualifier());
        let (timestamp, seqno) = (cell.timestamp(), cell.seqno().0);
        // A later put with the same timestamp replaced this one, from that put's number on.
        let replaced_at = match self.last_put {
            Some((last_ms, last)) if last_ms == timestamp => Some(last),
            _ => {
                self.last_put = Some((timestamp, seqno));
                None
            }
        };
        for span in self.column_spans.range_mut(seqno..).map(|(_, span)| span) {
            let deleted_at =
                span.version_deletes.get(&timestamp).and_then(|seqnos| seqnos.range(seqno..).next()).copied();
            let end = replaced_at.unwrap_or(u64::MAX).min(deleted_at.unwrap_or(u64::MAX)).max(seqno);
            for (_, puts) in span.puts_before.range_mut(seqno..=end) {
                if puts.len() >= self.max_versions as usize {
                    return Deleted::Version;
                }
                puts.insert(seqno);
            }
            if deleted_at.is_some() {
                return Deleted::Version;
            }
            if timestamp <= span.until_ms {
                return Deleted::Version;
            }
        }
        if replaced_at.is_some() { Deleted::Version } else { Deleted::No }
    }

    fn column(&mut self, qualifier: &[u8]) -> Code {
        if self.all_columns {
            return Code::Include;
        }
        while let Some(column) = self.columns.get(self.at) {
            match qualifier.cmp(&column[..]) {
                Ordering::Less => return Code::NextCol,
                Ordering::Equal => return Code::Include,
                Ordering::Greater => self.at += 1,
            }
        }
        Code::NextRow
    }

    fn versions(&mut self, cell: CellRef<'_>, ignore_count: bool) -> Code {
        if ignore_count || cell.cell_type().is_delete() {
            return Code::Include;
        }
        self.count += 1;
        if cell.timestamp() < self.oldest_ms {
            match self.count.cmp(&self.min_versions) {
                Ordering::Equal => return Code::IncludeNextCol,
                Ordering::Greater => return Code::NextCol,
                Ordering::Less => {}
            }
        }
        match self.count.cmp(&self.result_max_versions) {
            Ordering::Less => Code::Include,
            Ordering::Equal => Code::IncludeNextCol,
            Ordering::Greater => Code::NextCol,
        }
    }
}

#[derive(Debug)]
enum Columns {
    Wildcard(Wildcard),
    Explicit(Explicit),
}

#[derive(Debug)]
enum Kind {
    Plain { deletes: Deletes, columns: Columns },
    ByWriteOrder(Box<ByWriteOrder>),
}

/// The versions that [`Trackers`] count.
#[derive(Clone, Copy, Debug)]
pub struct Versions {
    /// Most versions the family keeps.
    pub family_max: u32,
    /// Most versions before the filter (plain trackers).
    pub checked_max: u32,
    /// Most versions of the answer.
    pub result_max: u32,
    /// Versions kept although expired.
    pub min: u32,
    /// Cells with a smaller timestamp are expired.
    pub oldest_ms: i64,
}

/// All that is tracked in one row of one family.
#[derive(Debug)]
pub struct Trackers {
    kind: Kind,
    versions: Versions,
}

impl Trackers {
    /// `columns` is empty for all columns.
    pub fn new(columns: Vec<Bytes>, versions: Versions, by_write_order: bool) -> Trackers {
        let kind = if by_write_order {
            let mut tracker = ByWriteOrder {
                all_columns: columns.is_empty(),
                columns,
                max_versions: versions.family_max,
                result_max_versions: versions.result_max,
                min_versions: versions.min,
                oldest_ms: versions.oldest_ms,
                family_spans: BTreeMap::new(),
                column_spans: BTreeMap::new(),
                in_column: false,
                qualifier: Vec::new(),
                last_put: None,
                at: 0,
                count: 0,
            };
            tracker.reset();
            Kind::ByWriteOrder(Box::new(tracker))
        } else if columns.is_empty() {
            let columns = Columns::Wildcard(Wildcard::new(versions.min, versions.checked_max, versions.oldest_ms));
            Kind::Plain { deletes: Deletes::default(), columns }
        } else {
            let columns = Columns::Explicit(Explicit {
                columns,
                max_versions: versions.checked_max,
                min_versions: versions.min,
                oldest_ms: versions.oldest_ms,
                at: 0,
                count: 0,
                last_ms: None,
            });
            Kind::Plain { deletes: Deletes::default(), columns }
        };
        Trackers { kind, versions }
    }

    /// A new row begins.
    pub fn reset(&mut self) {
        match &mut self.kind {
            Kind::Plain { deletes, columns } => {
                deletes.reset();
                match columns {
                    Columns::Wildcard(wildcard) => wildcard.reset(),
                    Columns::Explicit(explicit) => explicit.reset(),
                }
            }
            Kind::ByWriteOrder(tracker) => tracker.reset(),
        }
    }

    /// Whether no column is wanted any more.
    pub fn done(&self) -> bool {
        match &self.kind {
            Kind::Plain { columns: Columns::Explicit(explicit), .. } => explicit.done(),
            Kind::ByWriteOrder(tracker) => !tracker.all_columns && tracker.at >= tracker.columns.len(),
            Kind::Plain { .. } => false,
        }
    }

    /// Whether the timestamp alone says that this and older cells of the column are not wanted.
    pub fn is_too_old(&self, timestamp: i64) -> bool {
        matches!(self.kind, Kind::Plain { .. }) && self.versions.min == 0 && timestamp < self.versions.oldest_ms
    }

    /// The cell's column is done.
    pub fn next_column_or_row(&mut self, cell: CellRef<'_>) -> Code {
        self.leave_column(cell);
        match &self.kind {
            Kind::Plain { columns: Columns::Explicit(explicit), .. } if explicit.done() => Code::NextRow,
            _ => Code::NextCol,
        }
    }

    /// Tells the columns that no more of the cell's column is wanted.
    pub fn leave_column(&mut self, cell: CellRef<'_>) {
        if let Kind::Plain { columns: Columns::Explicit(explicit), .. } = &mut self.kind {
            explicit.leave(cell.qualifier());
        }
    }

    /// The next wanted column, if columns are named.
    pub fn wanted_column(&self) -> Option<&Bytes> {
        match &self.kind {
            Kind::Plain { columns: Columns::Explicit(explicit), .. } => explicit.columns.get(explicit.at),
            Kind::ByWriteOrder(tracker) => tracker.columns.get(tracker.at),
            Kind::Plain { .. } => None,
        }
    }

    /// Remembers a delete marker.
    pub fn add_delete(&mut self, cell: CellRef<'_>) {
        match &mut self.kind {
            Kind::Plain { deletes, .. } => deletes.add(cell),
            Kind::ByWriteOrder(tracker) => tracker.add(cell),
        }
    }

    /// Whether a marker hides the put; `None` means that it does not.
    pub fn check_deleted(&mut self, cell: CellRef<'_>) -> Option<Code> {
        let deleted = match &mut self.kind {
            Kind::Plain { deletes, .. } if deletes.is_empty() => return None,
            Kind::Plain { deletes, .. } => deletes.check(cell),
            Kind::ByWriteOrder(tracker) => tracker.check(cell),
        };
        match deleted {
            Deleted::No => None,
            Deleted::Version => Some(Code::Skip),
            Deleted::Column => Some(self.next_column_or_row(cell)),
        }
    }

    /// Whether the column is wanted: `Include`, `NextCol` or `NextRow`.
    pub fn check_column(&mut self, cell: CellRef<'_>) -> Code {
        match &mut self.kind {
            Kind::Plain { columns: Columns::Wildcard(_), .. } => Code::Include,
            Kind::Plain { columns: Columns::Explicit(explicit), .. } => explicit.column(cell.qualifier()),
            Kind::ByWriteOrder(tracker) => tracker.column(cell.qualifier()),
        }
    }

    /// Counts the version: one of the codes that include, `Skip` or `NextCol`.
    pub fn check_versions(&mut self, cell: CellRef<'_>, ignore_count: bool) -> Code {
        match &mut self.kind {
            Kind::Plain { columns: Columns::Wildcard(wildcard), .. } => wildcard.versions(cell, ignore_count),
            Kind::Plain { columns: Columns::Explicit(explicit), .. } => {
                explicit.versions(cell.timestamp(), ignore_count)
            }
            Kind::ByWriteOrder(tracker) => tracker.versions(cell, ignore_count),
        }
    }

    /// Whether sequence numbers decide.
    pub fn by_write_order(&self) -> bool {
        matches!(self.kind, Kind::ByWriteOrder(_))
    }
}
