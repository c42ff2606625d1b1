//! A region in memory, slow and simple: what random tests compare the engine with.
//!
//! It keeps every cell in plain vectors, one for the memtable and one for each file of a family, and decides by
//! looking at all cells of a row again for each of them. Sorting is the only thing it shares with the engine.
//!
//! Not here: durability, filters other than a predicate on cells, limits of calls.

use model::query::TimeRange;
use model::schema::KeepDeletedCells;
use model::{Cell, CellOrder, CellType, SeqNo};

use crate::read::{FamilySettings, Query};

/// A predicate in the place of a filter: false means skip.
pub type KeepCell<'a> = &'a dyn Fn(&Cell) -> bool;

/// One file of the model.
#[derive(Clone, Debug)]
pub struct OracleFile {
    /// Its cells, in order.
    pub cells: Vec<Cell>,
    /// Everything that was written up to this number and not behind it is inside, or in older files.
    pub max_seq: SeqNo,
}

/// One family of the model.
#[derive(Clone, Debug)]
pub struct OracleFamily {
    /// Its settings.
    pub settings: FamilySettings,
    /// Cells not yet flushed.
    pub memtable: Vec<Cell>,
    /// The files, oldest first.
    pub files: Vec<OracleFile>,
}

impl OracleFamily {
    /// Moves the memtable into a new file; `last` is the newest number of the region.
    pub fn flush(&mut self, order: CellOrder, last: SeqNo, smallest_read_point: SeqNo, now_ms: i64) {
        let cells = std::mem::take(&mut self.memtable);
        let cells = survivors(&self.settings, cells, order, false, smallest_read_point, i64::MIN, now_ms);
        self.files.push(OracleFile { cells, max_seq: last });
    }

    /// Takes the cells of a bulk load as a new file; `number` is theirs.
    pub fn load(&mut self, order: CellOrder, mut cells: Vec<Cell>, number: SeqNo) {
        sort(order, &mut cells);
        self.files.push(OracleFile { cells, max_seq: number });
    }

    /// Rewrites `count` files from the `first` on; delete markers go only if these are all, and none of them is newer than something in memory.
    pub fn compact(&mut self, order: CellOrder, first: usize, count: usize, smallest_read_point: SeqNo, now_ms: i64) {
        let oldest = self.memtable.iter().map(Cell::seqno).min().unwrap_or(SeqNo::MAX);
        let max_seq = self.files[first..first + count].iter().map(|file| file.max_seq).max().unwrap_or(SeqNo(0));
        let all = count == self.files.len() && max_seq < oldest;
        let cells: Vec<Cell> = self.files.drain(first..first + count).flat_map(|file| file.cells).collect();
        let earliest_put_ms = earliest_put_ms(&cells);
        let cells = survivors(&self.settings, cells, order, all, smallest_read_point, earliest_put_ms, now_ms);
        self.files.insert(first, OracleFile { cells, max_seq });
    }
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Oracle {
    /// The families, by name.
    pub families: Vec<OracleFamily>,
    /// The order of rows.
    pub order: CellOrder,
}

fn sort(order: CellOrder, cells: &mut [Cell]) {
    cells.sort_by(|a, b| order.compare(a.as_ref(), b.as_ref()));
}

/// Whether the marker hides the put, by timestamps alone.
fn hides(marker: &Cell, put: &Cell) -> bool {
    let (at, timestamp) = (marker.timestamp(), put.timestamp());
    match marker.cell_type() {
        CellType::DELETE_FAMILY => timestamp <= at,
        CellType::DELETE_FAMILY_VERSION => timestamp == at,
        CellType::DELETE_COLUMN => timestamp <= at && marker.qualifier() == put.qualifier(),
        _ => timestamp == at && marker.qualifier() == put.qualifier(),
    }
}

fn own_ttl_passed(cell: &Cell, now_ms: i64) -> bool {
    cell.as_ref().ttl_ms().is_some_and(|ttl_ms| cell.timestamp() + ttl_ms < now_ms)
}

/// `NEW_VERSION_BEHAVIOR`: plays the history of one column and tells which puts are left.
fn live_by_write_order(
    cells: &[Cell],
    qualifier: &[u8],
    max_versions: usize,
    counts: &dyn Fn(&Cell) -> bool,
) -> Vec<Cell> {
    let family_wide =
        |cell: &Cell| matches!(cell.cell_type(), CellType::DELETE_FAMILY | CellType::DELETE_FAMILY_VERSION);
    let mut history: Vec<&Cell> =
        cells.iter().filter(|cell| cell.qualifier() == qualifier || family_wide(cell)).collect();
    // Within one mutation puts come before its deletes.
    history.sort_by_key(|cell| (cell.seqno(), cell.cell_type().is_delete()));
    let mut live: Vec<Cell> = Vec::new();
    for cell in history {
        if cell.cell_type().is_delete() {
            if counts(cell) {
                live.retain(|put| !hides(cell, put));
            }
        } else {
            live.retain(|put| put.timestamp() != cell.timestamp());
            live.push(cell.clone());
            live.sort_by_key(|put| std::cmp::Reverse(put.timestamp()));
            live.truncate(max_versions);
        }
    }
    live
}

impl Oracle {
    /// An empty region.
    pub fn new(mut families: Vec<FamilySettings>, order: CellOrder) -> Oracle {
        families.sort_by(|a, b| a.name.cmp(&b.name));
        let family = |settings| OracleFamily { settings, memtable: Vec::new(), files: Vec::new() };
        Oracle { families: families.into_iter().map(family).collect(), order }
    }

    fn family(&mut self, name: &[u8]) -> &mut OracleFamily {
        self.families.iter_mut().find(|family| family.settings.name == name).expect("the family exists")
    }

    /// Writes cells, each with its sequence number.
    pub fn write(&mut self, cells: &[Cell]) {
        for cell in cells {
            self.family(cell.family()).memtable.push(cell.clone());
        }
    }

    /// Moves a family's memtable into a new file; `last` is the newest number of the region.
    pub fn flush(&mut self, family: &[u8], last: SeqNo, smallest_read_point: SeqNo, now_ms: i64) {
        let order = self.order;
        self.family(family).flush(order, last, smallest_read_point, now_ms);
    }

    /// Rewrites `count` files from the `first` on; delete markers go only if these are all.
    pub fn compact(&mut self, family: &[u8], first: usize, count: usize, smallest_read_point: SeqNo, now_ms: i64) {
        let order = self.order;
        self.family(family).compact(order, first, count, smallest_read_point, now_ms);
    }

    /// All rows that the query answers, each with its cells in order.
    pub fn read(&self, query: &Query, keep: Option<KeepCell<'_>>, read_point: SeqNo, now_ms: i64) -> Vec<Vec<Cell>> {
        let mut rows: Vec<Vec<Cell>> = Vec::new();
        let mut all: Vec<Cell> = Vec::new();
        for family in &self.families {
            if !query.selection.columns.is_empty() && !query.selection.columns.contains_key(&family.settings.name) {
                continue;
            }
            all.extend(family.files.iter().flat_map(|file| &file.cells).chain(&family.memtable).cloned());
        }
        all.retain(|cell| cell.seqno() <= read_point && self.selects(query, cell.row()));
        sort(self.order, &mut all);
        for cell in all {
            match rows.last_mut() {
                Some(row) if row[0].row() == cell.row() => row.push(cell),
                _ => rows.push(vec![cell]),
            }
        }
        if query.reversed {
            rows.reverse();
        }
        let mut answer = Vec::new();
        for row in rows {
            let mut seen = Vec::new();
            for family in &self.families {
                let cells: Vec<Cell> =
                    row.iter().filter(|cell| cell.family() == &family.settings.name[..]).cloned().collect();
                let visible = visible(&family.settings, query, &cells, keep, now_ms).into_iter();
                let visible = visible.skip(query.selection.store_offset as usize);
                seen.extend(visible.take(query.selection.store_limit.map_or(usize::MAX, |limit| limit as usize)));
            }
            if !seen.is_empty() {
                answer.push(seen);
            }
        }
        answer
    }

    fn selects(&self, query: &Query, row: &[u8]) -> bool {
        let (mut low, mut high) =
            ((&query.start_row, query.include_start_row), (&query.stop_row, query.include_stop_row));
        if query.reversed {
            std::mem::swap(&mut low, &mut high);
        }
        let above = low.0.is_empty() || {
            let order = self.order.compare_rows(row, low.0);
            order.is_gt() || (order.is_eq() && low.1)
        };
        let below = high.0.is_empty() || {
            let order = self.order.compare_rows(row, high.0);
            order.is_lt() || (order.is_eq() && high.1)
        };
        above && below
    }
}

/// The smallest timestamp of a put among the cells.
pub fn earliest_put_ms(cells: &[Cell]) -> i64 {
    cells.iter().filter(|cell| !cell.cell_type().is_delete()).map(Cell::timestamp).min().unwrap_or(i64::MAX)
}

/// What a query sees of the cells of one row and family, which are in order.
fn visible(
    settings: &FamilySettings,
    query: &Query,
    cells: &[Cell],
    keep: Option<KeepCell<'_>>,
    now_ms: i64,
) -> Vec<Cell> {
    let oldest_ms = if query.raw { 0 } else { settings.oldest_unexpired_ms(now_ms) };
    let range: TimeRange = query.selection.time_range_of(&settings.name);
    let asked = query.selection.max_versions.max(1);
    let named = match query.selection.columns.get(&settings.name) {
        Some(Some(columns)) if !columns.is_empty() => Some(columns),
        _ => None,
    };
    let by_write_order = settings.new_version_behavior && !query.raw;
    let result_max = if query.raw { asked } else { asked.min(settings.max_versions) };
    let checked_max = match (keep.is_some(), query.raw) {
        (false, _) => result_max,
        (true, true) => u32::MAX,
        (true, false) => settings.max_versions,
    };
    let expired = |cell: &Cell| cell.timestamp() < oldest_ms;
    let gone =
        |cell: &Cell| own_ttl_passed(cell, now_ms) || (!by_write_order && settings.min_versions == 0 && expired(cell));
    let counts = |marker: &Cell| {
        let at = marker.timestamp();
        let in_range =
            if settings.keep_deleted_cells == KeepDeletedCells::False { at >= range.from } else { range.contains(at) };
        marker.cell_type().is_delete() && !gone(marker) && (range.is_all() || in_range)
    };
    let candidates: Vec<Cell> = cells.iter().filter(|cell| !gone(cell)).cloned().collect();
    let mut qualifiers: Vec<&[u8]> = cells.iter().map(Cell::qualifier).collect();
    qualifiers.dedup();
    let mut answer = Vec::new();
    for qualifier in qualifiers {
        if named.is_some_and(|named| !named.contains(qualifier)) {
            continue;
        }
        let mut column: Vec<Cell> = if by_write_order {
            live_by_write_order(&candidates, qualifier, settings.max_versions as usize, &counts)
        } else {
            candidates.iter().filter(|cell| cell.qualifier() == qualifier).cloned().collect()
        };
        if !query.raw {
            column.retain(|cell| !cell.cell_type().is_delete());
            if !by_write_order {
                column.retain(|put| !candidates.iter().any(|marker| counts(marker) && hides(marker, put)));
            }
        }
        column.retain(|cell| range.is_all() || range.contains(cell.timestamp()));
        column.dedup_by_key(|cell| (cell.timestamp(), cell.cell_type()));
        let (mut count, mut passed) = (0, 0);
        for cell in column {
            if !cell.cell_type().is_delete() {
                count += 1;
            }
            if count > checked_max {
                break;
            }
            // The last version of a named column ends it, and so does the first expired one beyond MIN_VERSIONS.
            let (take, last) = if by_write_order {
                let beyond = expired(&cell) && count > settings.min_versions;
                (!beyond, beyond || count == result_max || (expired(&cell) && count == settings.min_versions))
            } else if named.is_some() {
                (true, count >= checked_max || (count >= settings.min_versions && expired(&cell)))
            } else {
                let beyond = expired(&cell) && count > settings.min_versions;
                (!beyond, beyond)
            };
            if take && keep.is_none_or(|keep| keep(&cell)) {
                if keep.is_some() {
                    passed += 1;
                    if passed > result_max {
                        break;
                    }
                }
                answer.push(cell);
            }
            if last {
                break;
            }
        }
    }
    answer
}

/// What a flush or compaction keeps.
pub fn survivors(
    settings: &FamilySettings,
    mut cells: Vec<Cell>,
    order: CellOrder,
    all_files: bool,
    smallest_read_point: SeqNo,
    earliest_put_ms: i64,
    now_ms: i64,
) -> Vec<Cell> {
    sort(order, &mut cells);
    let oldest_ms = settings.oldest_unexpired_ms(now_ms);
    let expired = |cell: &Cell| cell.timestamp() < oldest_ms;
    let hiding = |cell: &Cell| {
        cell.cell_type().is_delete()
            && cell.seqno() <= smallest_read_point
            && !own_ttl_passed(cell, now_ms)
            && !(settings.min_versions == 0 && expired(cell))
            && match settings.keep_deleted_cells {
                KeepDeletedCells::False => true,
                KeepDeletedCells::Ttl => expired(cell),
                KeepDeletedCells::True => false,
            }
    };
    let mut kept: Vec<Cell> = Vec::new();
    let mut at = 0;
    while at < cells.len() {
        let same = |cell: &Cell| cell.row() == cells[at].row() && cell.qualifier() == cells[at].qualifier();
        let end = at + cells[at..].iter().take_while(|cell| same(cell)).count();
        let in_row: Vec<&Cell> = cells.iter().filter(|cell| cell.row() == cells[at].row()).collect();
        let mut count = 0;
        let mut last: Option<(i64, CellType)> = None;
        // Markers of the family lie in the column without a name: it is never left early.
        let nameless = cells[at].qualifier().is_empty();
        for cell in &cells[at..end] {
            let leave = 'judge: {
                if settings.min_versions == 0 && expired(cell) {
                    break 'judge true;
                }
                if own_ttl_passed(cell, now_ms) {
                    break 'judge false;
                }
                if cell.cell_type().is_delete() {
                    let purge_later = settings.purge_deletes_after_ms > 0
                        && now_ms - cell.timestamp() <= settings.purge_deletes_after_ms;
                    if cell.seqno() > smallest_read_point || !all_files || purge_later {
                        kept.push(cell.clone());
                        break 'judge false;
                    }
                    if hiding(cell) {
                        break 'judge false;
                    }
                    if cell.timestamp() < earliest_put_ms {
                        break 'judge true;
                    }
                } else if let Some(marker) =
                    in_row.iter().filter(|marker| hiding(marker) && hides(marker, cell)).min_by_key(|marker| {
                        // As HBase asks them. Markers of versions hide one cell, the others all that follow.
                        match marker.cell_type() {
                            CellType::DELETE_FAMILY => 0,
                            CellType::DELETE_FAMILY_VERSION => 1,
                            CellType::DELETE_COLUMN => 2,
                            _ => 3,
                        }
                    })
                {
                    break 'judge matches!(marker.cell_type(), CellType::DELETE_COLUMN | CellType::DELETE_FAMILY);
                }
                if cell.seqno() > smallest_read_point {
                    kept.push(cell.clone());
                    break 'judge false;
                }
                let this = (cell.timestamp(), cell.cell_type());
                if last == Some(this) {
                    break 'judge false;
                }
                if !cell.cell_type().is_delete() {
                    count += 1;
                }
                if count > settings.max_versions || (count > settings.min_versions && expired(cell)) {
                    break 'judge true;
                }
                last = Some(this);
                kept.push(cell.clone());
                false
            };
            if leave && !nameless {
                break;
            }
        }
        at = end;
    }
    kept
}
