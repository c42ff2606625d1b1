//! Filters at work: one [`FilterRun`] per scan and region, asked in HBase's order.
//!
//! Per row: [`filter_all_remaining`](FilterRun::filter_all_remaining), [`filter_row_key`](FilterRun::filter_row_key), then
//! [`filter_cell`](FilterRun::filter_cell) per cell (and [`transform_cell`](FilterRun::transform_cell) for included ones,
//! [`next_cell_hint`](FilterRun::next_cell_hint) when asked to seek), at the row's end
//! [`filter_row_cells`](FilterRun::filter_row_cells) and [`filter_row`](FilterRun::filter_row), then [`reset`](FilterRun::reset).
//!
//! Always true: answers equal those of HBase's classes for the same calls, also where those are surprising (tests/judge compares them).

use bytes::Bytes;

use super::comparator::Compare;
use super::data::{Comparator, CompareOp, Filter, FilterListOp};
use super::fuzzy::FuzzyRow;
use super::list::{AllOf, OneOf};
use super::node::{FilterCode, FilterError, Node};
use super::ranges::MultiRowRange;
use crate::cell::{Cell, CellRef};

type Result<T, E = FilterError> = std::result::Result<T, E>;

/// A filter and its state during one scan of one region.
#[derive(Debug)]
pub struct FilterRun(Box<dyn Node>);

impl FilterRun {
    /// Starts a filter. `seed` feeds [`Filter::RandomRow`].
    pub fn new(filter: &Filter, reversed: bool, seed: u64) -> Result<FilterRun> {
        Ok(FilterRun(node(filter, reversed, seed)?))
    }

    /// Forgets the row.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// Whether the scan is over.
    pub fn filter_all_remaining(&self) -> bool {
        self.0.filter_all_remaining()
    }

    /// Whether the row is unwanted by its key; `first` is its first cell.
    pub fn filter_row_key(&mut self, first: CellRef<'_>) -> Result<bool> {
        Ok(self.0.filter_all_remaining() || self.0.filter_row_key(first)?)
    }

    /// What to do with a cell.
    pub fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode> {
        self.0.filter_cell(cell)
    }

    /// An included cell as the client shall see it.
    pub fn transform_cell(&mut self, cell: Cell) -> Cell {
        self.0.transform_cell(cell)
    }

    /// Where to go after [`FilterCode::SeekNextUsingHint`]; `None` means just on.
    pub fn next_cell_hint(&mut self, cell: CellRef<'_>) -> Option<Cell> {
        self.0.next_cell_hint(cell)
    }

    /// Whether the row's end matters: the cells must be gathered whole before they are sent.
    pub fn has_filter_row(&self) -> bool {
        self.0.has_filter_row()
    }

    /// Removes unwanted cells at the row's end.
    pub fn filter_row_cells(&mut self, cells: &mut Vec<Cell>) {
        self.0.filter_row_cells(cells);
    }

    /// Whether the whole row is unwanted after all.
    pub fn filter_row(&mut self) -> bool {
        self.0.filter_row()
    }

    /// Whether the filter must see this family to decide about a row.
    pub fn is_family_essential(&self, family: &[u8]) -> bool {
        self.0.is_family_essential(family)
    }
}

fn at_least_zero(argument: &'static str, value: i64) -> Result<()> {
    if value < 0 { Err(FilterError::OutOfRange(argument, value)) } else { Ok(()) }
}

fn node(filter: &Filter, reversed: bool, seed: u64) -> Result<Box<dyn Node>> {
    let compared = |subject, op: CompareOp, comparator: &Comparator| -> Result<Box<dyn Node>> {
        Ok(Box::new(Compared { subject, op, compare: Compare::new(comparator)?, row_out: false }))
    };
    Ok(match filter {
        Filter::ColumnCountGet { limit } => {
            at_least_zero("limit", i64::from(*limit))?;
            Box::new(ColumnCount { limit: i64::from(*limit), count: 0 })
        }
        Filter::ColumnPagination { limit, offset, column_offset } => {
            at_least_zero("limit", i64::from(*limit))?;
            let offset = offset.unwrap_or(0);
            at_least_zero("offset", i64::from(offset))?;
            Box::new(ColumnPagination {
                limit: i64::from(*limit),
                offset: i64::from(offset),
                column_offset: column_offset.clone(),
                count: 0,
            })
        }
        Filter::ColumnPrefix { prefix } => {
            Box::new(ColumnPrefixes { prefixes: vec![prefix.clone()], hint: prefix.clone() })
        }
        Filter::MultipleColumnPrefix { prefixes } => {
            let mut sorted = prefixes.clone();
            sorted.sort();
            if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(FilterError::RepeatedPrefix);
            }
            Box::new(ColumnPrefixes { prefixes: sorted, hint: Bytes::new() })
        }
        Filter::ColumnRange { min, min_inclusive, max, max_inclusive } => Box::new(ColumnRange {
            min: min.clone(),
            min_inclusive: *min_inclusive,
            max: max.clone(),
            max_inclusive: *max_inclusive,
        }),
        Filter::ColumnValue { family, qualifier, op, comparator } => Box::new(ColumnValue {
            family: family.clone(),
            qualifier: qualifier.clone(),
            op: *op,
            compare: Compare::new(comparator)?,
            found: false,
        }),
        Filter::DependentColumn { family, qualifier, drop_dependent_column, op, comparator } => {
            Box::new(DependentColumn {
                family: family.clone(),
                qualifier: qualifier.clone(),
                drop: *drop_dependent_column,
                op: *op,
                compare: comparator.as_ref().map(Compare::new).transpose()?,
                timestamps: Vec::new(),
            })
        }
        Filter::Family { op, comparator } => compared(Subject::Family, *op, comparator)?,
        Filter::Qualifier { op, comparator } => compared(Subject::Qualifier, *op, comparator)?,
        Filter::Row { op, comparator } => compared(Subject::Row, *op, comparator)?,
        Filter::Value { op, comparator } => compared(Subject::Value, *op, comparator)?,
        Filter::FirstKeyOnly => Box::new(FirstKey { until: None, found: false }),
        Filter::FirstKeyValueMatchingQualifiers { qualifiers } => {
            Box::new(FirstKey { until: Some(qualifiers.clone()), found: false })
        }
        Filter::FuzzyRow { keys, is_mask_v2 } => Box::new(FuzzyRow::new(keys, is_mask_v2.unwrap_or(false), reversed)?),
        Filter::InclusiveStop { stop_row } => {
            Box::new(InclusiveStop { stop_row: stop_row.clone(), reversed, done: false })
        }
        Filter::KeyOnly { len_as_val } => Box::new(KeyOnly { length: *len_as_val }),
        Filter::List { op, filters } => {
            let members = filters
                .iter()
                .enumerate()
                .map(|(at, member)| node(member, reversed, seed.wrapping_add(at as u64 + 1)))
                .collect::<Result<Vec<_>>>()?;
            match op {
                FilterListOp::MustPassAll => Box::new(AllOf::new(members, reversed)),
                FilterListOp::MustPassOne => Box::new(OneOf::new(members, reversed)),
            }
        }
        Filter::MultiRowRange { ranges } => Box::new(MultiRowRange::new(ranges, reversed)?),
        Filter::Page { page_size } => {
            at_least_zero("page size", *page_size)?;
            Box::new(Page { size: *page_size, accepted: 0 })
        }
        Filter::Prefix { prefix } => {
            Box::new(Prefix { prefix: prefix.clone(), reversed, passed: false, row_out: true })
        }
        Filter::RandomRow { chance } => Box::new(RandomRow { chance: *chance, state: seed, row_out: false }),
        Filter::SingleColumnValue { family, qualifier, op, comparator, filter_if_missing, latest_version_only }
        | Filter::SingleColumnValueExclude {
            family,
            qualifier,
            op,
            comparator,
            filter_if_missing,
            latest_version_only,
        } => Box::new(SingleColumn {
            family: family.clone(),
            qualifier: qualifier.clone(),
            op: *op,
            compare: Compare::new(comparator)?,
            if_missing: *filter_if_missing,
            latest_only: *latest_version_only,
            exclude: matches!(filter, Filter::SingleColumnValueExclude { .. }),
            found: false,
            matched: false,
        }),
        // HBase does not tell filters inside these two that a scan is reversed.
        Filter::Skip { filter } => Box::new(Skip { inner: node(filter, false, seed)?, row_out: false }),
        Filter::Timestamps { timestamps, can_hint } => {
            let mut sorted = timestamps.clone();
            sorted.sort_unstable();
            sorted.dedup();
            at_least_zero("timestamp", sorted.first().copied().unwrap_or(0))?;
            Box::new(Timestamps { sorted, can_hint: *can_hint })
        }
        Filter::WhileMatch { filter } => Box::new(WhileMatch { inner: node(filter, false, seed)?, over: false }),
    })
}

fn is_column(cell: CellRef<'_>, family: &[u8], qualifier: &[u8]) -> bool {
    cell.family() == family && cell.qualifier() == qualifier
}

fn first_on_column(cell: CellRef<'_>, qualifier: &[u8]) -> Option<Cell> {
    Some(Cell::first_on_column(cell.row(), cell.family(), qualifier))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Row,
    Family,
    Qualifier,
    Value,
}

/// Row, family, qualifier and value filters.
#[derive(Debug)]
struct Compared {
    subject: Subject,
    op: CompareOp,
    compare: Compare,
    row_out: bool,
}

impl Node for Compared {
    fn reset(&mut self) {
        self.row_out = false;
    }
    fn filter_row_key(&mut self, first: CellRef<'_>) -> Result<bool> {
        if self.subject == Subject::Row
            && (self.op == CompareOp::NoOp || !self.op.keeps(self.compare.compare(first.row())?))
        {
            self.row_out = true;
        }
        Ok(self.row_out)
    }
    fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode> {
        let (part, out) = match self.subject {
            Subject::Row => return Ok(if self.row_out { FilterCode::NextRow } else { FilterCode::Include }),
            Subject::Family if cell.family().is_empty() => return Ok(FilterCode::Include),
            Subject::Family => (cell.family(), FilterCode::NextRow),
            Subject::Qualifier => (cell.qualifier(), FilterCode::Skip),
            Subject::Value => (cell.value(), FilterCode::Skip),
        };
        let keeps = self.op != CompareOp::NoOp && self.op.keeps(self.compare.compare(part)?);
        Ok(if keeps { FilterCode::Include } else { out })
    }
    fn filter_row(&mut self) -> bool {
        self.row_out
    }
}

#[derive(Debug)]
struct ColumnCount {
    limit: i64,
    count: i64,
}

impl Node for ColumnCount {
    fn reset(&mut self) {
        self.count = 0;
    }
    fn filter_all_remaining(&self) -> bool {
        self.count > self.limit
    }
    fn filter_row_key(&mut self, _first: CellRef<'_>) -> Result<bool> {
        Ok(self.filter_all_remaining())
    }
    fn filter_cell(&mut self, _cell: CellRef<'_>) -> Result<FilterCode> {
        self.count += 1;
        Ok(if self.filter_all_remaining() { FilterCode::NextCol } else { FilterCode::IncludeAndNextCol })
    }
}

#[derive(Debug)]
struct ColumnPagination {
    limit: i64,
    offset: i64,
    column_offset: Option<Bytes>,
    count: i64,
}

impl Node for ColumnPagination {
    fn reset(&mut self) {
        self.count = 0;
    }
    fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode> {
        if let Some(from) = &self.column_offset {
            if self.count >= self.limit {
                return Ok(FilterCode::NextRow);
            }
            if self.count == 0 && cell.qualifier() < &from[..] {
                return Ok(FilterCode::SeekNextUsingHint);
            }
            self.count += 1;
            return Ok(FilterCode::IncludeAndNextCol);
        }
        if self.count >= self.offset + self.limit {
            return Ok(FilterCode::NextRow);
        }
        self.count += 1;
        Ok(if self.count <= self.offset { FilterCode::NextCol } else { FilterCode::IncludeAndNextCol })
    }
    fn next_cell_hint(&mut self, cell: CellRef<'_>) -> Option<Cell> {
        first_on_column(cell, self.column_offset.as_ref()?)
    }
}

/// One column prefix, or several in order.
#[derive(Debug)]
struct ColumnPrefixes {
    prefixes: Vec<Bytes>,
    hint: Bytes,
}

impl Node for ColumnPrefixes {
    fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode> {
        if self.prefixes.is_empty() {
            return Ok(FilterCode::Include);
        }
        let behind = self.prefixes.partition_point(|prefix| &prefix[..] <= cell.qualifier());
        if behind > 0 && cell.qualifier().starts_with(&self.prefixes[behind - 1]) {
            return Ok(FilterCode::Include);
        }
        Ok(match self.prefixes.get(behind) {
            Some(next) => {
                self.hint = next.clone();
                FilterCode::SeekNextUsingHint
            }
            None => FilterCode::NextRow,
        })
    }
    fn next_cell_hint(&mut self, cell: CellRef<'_>) -> Option<Cell> {
        first_on_column(cell, &self.hint)
    }
    fn is_hinting(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct ColumnRange {
    min: Option<Bytes>,
    min_inclusive: bool,
    max: Option<Bytes>,
    max_inclusive: bool,
}

impl Node for ColumnRange {
    fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode> {
        let qualifier = cell.qualifier();
        if let Some(min) = &self.min {
            if qualifier < &min[..] {
                return Ok(FilterCode::SeekNextUsingHint);
            }
            if !self.min_inclusive && qualifier == &min[..] {
                return Ok(FilterCode::NextCol);
            }
        }
        Ok(match &self.max {
            None => FilterCode::Include,
            Some(max) if qualifier < &max[..] || (self.max_inclusive && qualifier == &max[..]) => FilterCode::Include,
            Some(_) => FilterCode::NextRow,
        })
    }
    fn next_cell_hint(&mut self, cell: CellRef<'_>) -> Option<Cell> {
        first_on_column(cell, self.min.as_deref().unwrap_or_default())
    }
    fn is_hinting(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct ColumnValue {
    family: Bytes,
    qualifier: Bytes,
    op: CompareOp,
    compare: Compare,
    found: bool,
}

impl Node for ColumnValue {
    fn reset(&mut self) {
        self.found = false;
    }
    fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode> {
        if !is_column(cell, &self.family, &self.qualifier) {
            return Ok(if self.found { FilterCode::NextRow } else { FilterCode::NextCol });
        }
        self.found = true;
        let keeps = self.op != CompareOp::NoOp && self.op.keeps(self.compare.compare(cell.value())?);
        Ok(if keeps { FilterCode::Include } else { FilterCode::Skip })
    }
    fn is_family_essential(&self, family: &[u8]) -> bool {
        family == &self.family[..]
    }
}

#[derive(Debug)]
struct DependentColumn {
    family: Bytes,
    qualifier: Bytes,
    drop: bool,
    op: CompareOp,
    compare: Option<Compare>,
    timestamps: Vec<i64>,
}

impl Node for DependentColumn {
    fn reset(&mut self) {
        self.timestamps.clear();
    }
    fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode> {
        if !is_column(cell, &self.family, &self.qualifier) {
            return Ok(FilterCode::Include);
        }
        if let Some(compare) = &self.compare
            && (self.op == CompareOp::NoOp || !self.op.keeps(compare.compare(cell.value())?))
        {
            return Ok(FilterCode::Skip);
        }
        self.timestamps.push(cell.timestamp());
        Ok(if self.drop { FilterCode::Skip } else { FilterCode::Include })
    }
    fn has_filter_row(&self) -> bool {
        true
    }
    fn filter_row_cells(&mut self, cells: &mut Vec<Cell>) {
        cells.retain(|cell| self.timestamps.contains(&cell.timestamp()));
    }
}

/// First cell of a row, or cells until one of some columns was seen.
#[derive(Debug)]
struct FirstKey {
    until: Option<Vec<Bytes>>,
    found: bool,
}

impl Node for FirstKey {
    fn reset(&mut self) {
        self.found = false;
    }
    fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode> {
        if self.found {
            return Ok(FilterCode::NextRow);
        }
        self.found =
            self.until.as_ref().is_none_or(|until| until.iter().any(|qualifier| &qualifier[..] == cell.qualifier()));
        Ok(FilterCode::Include)
    }
}

#[derive(Debug)]
struct InclusiveStop {
    stop_row: Bytes,
    reversed: bool,
    done: bool,
}

impl Node for InclusiveStop {
    fn filter_all_remaining(&self) -> bool {
        self.done
    }
    fn filter_row_key(&mut self, first: CellRef<'_>) -> Result<bool> {
        if !self.done {
            self.done = if self.reversed { first.row() < &self.stop_row[..] } else { first.row() > &self.stop_row[..] };
        }
        Ok(self.done)
    }
    fn filter_cell(&mut self, _cell: CellRef<'_>) -> Result<FilterCode> {
        Ok(if self.done { FilterCode::NextRow } else { FilterCode::Include })
    }
}

#[derive(Debug)]
struct KeyOnly {
    length: bool,
}

impl Node for KeyOnly {
    fn filter_cell(&mut self, _cell: CellRef<'_>) -> Result<FilterCode> {
        Ok(FilterCode::Include)
    }
    fn transform_cell(&mut self, cell: Cell) -> Cell {
        let length = (cell.value().len() as i32).to_be_bytes();
        let value: &[u8] = if self.length { &length } else { &[] };
        Cell::new(cell.row(), cell.family(), cell.qualifier(), cell.timestamp(), cell.cell_type(), value)
            .map(|made| made.with_seqno(cell.seqno()))
            .unwrap_or(cell)
    }
}

#[derive(Debug)]
struct Page {
    size: i64,
    accepted: i64,
}

impl Node for Page {
    fn filter_all_remaining(&self) -> bool {
        self.accepted >= self.size
    }
    fn filter_row_key(&mut self, _first: CellRef<'_>) -> Result<bool> {
        Ok(self.filter_all_remaining())
    }
    fn filter_cell(&mut self, _cell: CellRef<'_>) -> Result<FilterCode> {
        Ok(FilterCode::Include)
    }
    fn has_filter_row(&self) -> bool {
        true
    }
    fn filter_row(&mut self) -> bool {
        self.accepted += 1;
        self.accepted > self.size
    }
}

#[derive(Debug)]
struct Prefix {
    prefix: Bytes,
    reversed: bool,
    passed: bool,
    row_out: bool,
}

impl Node for Prefix {
    fn reset(&mut self) {
        self.row_out = true;
    }
    fn filter_all_remaining(&self) -> bool {
        self.passed
    }
    fn filter_row_key(&mut self, first: CellRef<'_>) -> Result<bool> {
        let row = first.row();
        if self.passed || row.len() < self.prefix.len() {
            return Ok(true);
        }
        let order = row[..self.prefix.len()].cmp(&self.prefix);
        self.passed |= if self.reversed { order.is_lt() } else { order.is_gt() };
        self.row_out = order.is_ne();
        Ok(self.row_out)
    }
    fn filter_cell(&mut self, _cell: CellRef<'_>) -> Result<FilterCode> {
        Ok(if self.row_out { FilterCode::NextRow } else { FilterCode::Include })
    }
    fn filter_row(&mut self) -> bool {
        self.row_out
    }
}

#[derive(Debug)]
struct RandomRow {
    chance: f32,
    state: u64,
    row_out: bool,
}

impl Node for RandomRow {
    fn reset(&mut self) {
        self.row_out = false;
    }
    fn filter_row_key(&mut self, _first: CellRef<'_>) -> Result<bool> {
        // splitmix64; the upper 24 bits make a float in [0, 1).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = (bits >> 40) as f32 / (1_u32 << 24) as f32;
        self.row_out = self.chance < 0.0 || (self.chance <= 1.0 && drawn >= self.chance);
        Ok(self.row_out)
    }
    fn filter_cell(&mut self, _cell: CellRef<'_>) -> Result<FilterCode> {
        Ok(if self.row_out { FilterCode::NextRow } else { FilterCode::Include })
    }
    fn has_filter_row(&self) -> bool {
        true
    }
    fn filter_row(&mut self) -> bool {
        self.row_out
    }
}

#[derive(Debug)]
struct SingleColumn {
    family: Bytes,
    qualifier: Bytes,
    op: CompareOp,
    compare: Compare,
    if_missing: bool,
    latest_only: bool,
    exclude: bool,
    found: bool,
    matched: bool,
}

impl Node for SingleColumn {
    fn reset(&mut self) {
        (self.found, self.matched) = (false, false);
    }
    fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode> {
        if self.matched {
            return Ok(FilterCode::Include);
        }
        if self.latest_only && self.found {
            return Ok(FilterCode::NextRow);
        }
        if !is_column(cell, &self.family, &self.qualifier) {
            return Ok(FilterCode::Include);
        }
        self.found = true;
        if !self.op.keeps(self.compare.compare(cell.value())?) {
            return Ok(if self.latest_only { FilterCode::NextRow } else { FilterCode::Include });
        }
        self.matched = true;
        Ok(FilterCode::Include)
    }
    fn has_filter_row(&self) -> bool {
        true
    }
    fn filter_row_cells(&mut self, cells: &mut Vec<Cell>) {
        if self.exclude {
            cells.retain(|cell| !is_column(cell.as_ref(), &self.family, &self.qualifier));
        }
    }
    fn filter_row(&mut self) -> bool {
        if self.found { !self.matched } else { self.if_missing }
    }
    fn is_family_essential(&self, family: &[u8]) -> bool {
        !self.if_missing || family == &self.family[..]
    }
}

#[derive(Debug)]
struct Skip {
    inner: Box<dyn Node>,
    row_out: bool,
}

impl Node for Skip {
    fn reset(&mut self) {
        self.inner.reset();
        self.row_out = false;
    }
    fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode> {
        let code = self.inner.filter_cell(cell)?;
        self.row_out |= code != FilterCode::Include;
        Ok(code)
    }
    fn transform_cell(&mut self, cell: Cell) -> Cell {
        self.inner.transform_cell(cell)
    }
    fn has_filter_row(&self) -> bool {
        true
    }
    fn filter_row(&mut self) -> bool {
        self.row_out
    }
    fn is_family_essential(&self, family: &[u8]) -> bool {
        self.inner.is_family_essential(family)
    }
}

#[derive(Debug)]
struct Timestamps {
    sorted: Vec<i64>,
    can_hint: bool,
}

impl Node for Timestamps {
    fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode> {
        Ok(if self.sorted.binary_search(&cell.timestamp()).is_ok() {
            FilterCode::Include
        } else if cell.timestamp() < self.sorted.first().copied().unwrap_or(i64::MAX) {
            FilterCode::NextCol
        } else if self.can_hint {
            FilterCode::SeekNextUsingHint
        } else {
            FilterCode::Skip
        })
    }
    fn next_cell_hint(&mut self, cell: CellRef<'_>) -> Option<Cell> {
        if !self.can_hint {
            return None;
        }
        let lower = self.sorted.partition_point(|timestamp| *timestamp < cell.timestamp());
        Some(match lower.checked_sub(1) {
            Some(at) => Cell::first_on_column_at(cell.row(), cell.family(), cell.qualifier(), self.sorted[at]),
            None => Cell::last_on_column(cell.row(), cell.family(), cell.qualifier()),
        })
    }
    fn is_hinting(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct WhileMatch {
    inner: Box<dyn Node>,
    over: bool,
}

impl Node for WhileMatch {
    fn reset(&mut self) {
        self.inner.reset();
    }
    fn filter_all_remaining(&self) -> bool {
        self.over || self.inner.filter_all_remaining()
    }
    fn filter_row_key(&mut self, first: CellRef<'_>) -> Result<bool> {
        if self.filter_all_remaining() {
            return Ok(true);
        }
        let out = self.inner.filter_row_key(first)?;
        self.over |= out;
        Ok(out)
    }
    fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode> {
        let code = self.inner.filter_cell(cell)?;
        self.over |= code != FilterCode::Include;
        Ok(code)
    }
    fn transform_cell(&mut self, cell: Cell) -> Cell {
        self.inner.transform_cell(cell)
    }
    fn has_filter_row(&self) -> bool {
        true
    }
    fn filter_row(&mut self) -> bool {
        let out = self.inner.filter_row();
        self.over |= out;
        out
    }
    fn is_family_essential(&self, family: &[u8]) -> bool {
        self.inner.is_family_essential(family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::RowRange;

    fn cell(row: &str, qualifier: &str) -> Cell {
        Cell::put(row.as_bytes(), b"f", qualifier.as_bytes(), 1, b"v").unwrap()
    }

    /// HBase's `WhileMatchFilter` does not pass `setReversed` on, so a stop row inside it counts from below (found by HBase as judge).
    #[test]
    fn wrapped_filters_do_not_know_that_a_scan_is_reversed() {
        let stop = Filter::InclusiveStop { stop_row: Bytes::from_static(b"a") };
        let row = cell("d", "q");
        assert!(!FilterRun::new(&stop, true, 0).unwrap().filter_row_key(row.as_ref()).unwrap());
        let wrapped = Filter::WhileMatch { filter: Box::new(stop) };
        assert!(FilterRun::new(&wrapped, true, 0).unwrap().filter_row_key(row.as_ref()).unwrap());
    }

    /// `SkipFilter` never shows row keys to what it wraps; row ranges inside it want nothing (found by HBase as judge).
    #[test]
    fn row_ranges_inside_skip_want_nothing() {
        let range = RowRange {
            start: Bytes::from_static(b"a"),
            start_inclusive: true,
            stop: Bytes::from_static(b"z"),
            stop_inclusive: true,
        };
        let ranges = Filter::Skip { filter: Box::new(Filter::MultiRowRange { ranges: vec![range] }) };
        let filter = Filter::List { op: FilterListOp::MustPassOne, filters: vec![ranges, Filter::FirstKeyOnly] };
        let mut run = FilterRun::new(&filter, false, 0).unwrap();
        assert!(!run.filter_row_key(cell("b", "a").as_ref()).unwrap());
        assert_eq!(run.filter_cell(cell("b", "a").as_ref()).unwrap(), FilterCode::Include);
        assert_eq!(run.filter_cell(cell("b", "b").as_ref()).unwrap(), FilterCode::Skip);
    }

    #[test]
    fn a_list_keeps_a_cell_if_all_or_one_of_its_members_do() {
        let prefix = |text: &'static str| Filter::ColumnPrefix { prefix: Bytes::from_static(text.as_bytes()) };
        for (op, expected) in [(FilterListOp::MustPassAll, false), (FilterListOp::MustPassOne, true)] {
            let mut run =
                FilterRun::new(&Filter::List { op, filters: vec![prefix("a"), prefix("b")] }, false, 0).unwrap();
            assert!(!run.filter_row_key(cell("r", "b").as_ref()).unwrap());
            assert_eq!(run.filter_cell(cell("r", "b").as_ref()).unwrap().includes(), expected);
        }
    }
}
