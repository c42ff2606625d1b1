//! Random histories on the engine's read path and compactions, compared with [`Oracle`].
//!
//! A failing seed is printed; paste it into `one_seed`.

use std::future::Future;

use bytes::Bytes;
use futures::FutureExt;
use model::filter::FilterCode;
use model::query::{Get, Scan, TimeRange};
use model::schema::{FamilyDescriptor, KeepDeletedCells};
use model::{Cell, CellOrder, CellRef, CellType, SeqNo};

use super::*;
use crate::error::Result;
use crate::oracle::{self, Oracle};
use crate::read::{FamilySettings, FamilySources, Limits, Query, Row, RowFilter, RowScanner};
use crate::source::{CellSource, Progress, VecSource};

/// Needs a load at random steps, as a source over blocks does.
struct Blocky {
    inner: VecSource,
    dice: Dice,
}

impl Blocky {
    fn maybe(&mut self) -> Progress {
        if self.dice.below(3) == 0 { Progress::NeedsBlock } else { Progress::Ready }
    }
}

impl CellSource for Blocky {
    fn peek(&self) -> Option<CellRef<'_>> {
        self.inner.peek()
    }
    fn cell(&self) -> Option<Cell> {
        self.inner.cell()
    }
    fn advance(&mut self) -> Result<Progress> {
        let _ = self.inner.advance()?;
        Ok(self.maybe())
    }
    fn seek(&mut self, key: &Cell) -> Result<Progress> {
        let _ = self.inner.seek(key)?;
        Ok(self.maybe())
    }
    fn reseek(&mut self, key: &Cell) -> Result<Progress> {
        let _ = self.inner.reseek(key)?;
        Ok(self.maybe())
    }
    fn seek_before(&mut self, key: &Cell) -> Result<Progress> {
        let _ = self.inner.seek_before(key)?;
        Ok(self.maybe())
    }
    fn load(&mut self) -> futures::future::BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Skips cells by their value; sees every cell that HBase would show it.
struct OddValues;

fn is_odd(cell: CellRef<'_>) -> bool {
    cell.value().last().is_some_and(|byte| byte % 2 == 1)
}

impl RowFilter for OddValues {
    fn reset(&mut self) -> Result<()> {
        Ok(())
    }
    fn filter_all_remaining(&mut self) -> Result<bool> {
        Ok(false)
    }
    fn filter_row_key(&mut self, _: CellRef<'_>) -> Result<bool> {
        Ok(false)
    }
    fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode> {
        Ok(if is_odd(cell) { FilterCode::Include } else { FilterCode::Skip })
    }
    fn transform_cell(&mut self, cell: Cell) -> Result<Cell> {
        Ok(cell)
    }
    fn next_cell_hint(&mut self, _: CellRef<'_>) -> Result<Option<Cell>> {
        Ok(None)
    }
    fn has_filter_row(&self) -> bool {
        false
    }
    fn filter_row_cells(&mut self, _: &mut Vec<Cell>) -> Result<()> {
        Ok(())
    }
    fn filter_row(&mut self) -> Result<bool> {
        Ok(false)
    }
    fn is_family_essential(&self, family: &[u8]) -> bool {
        family == b"f"
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("these sources never wait")
}

const NOW_MS: i64 = 1_000;
const QUALIFIERS: [&[u8]; 4] = [b"", b"a", b"ab", b"b"];

fn family(dice: &mut Dice, name: &'static [u8], new_version_behavior: bool) -> FamilySettings {
    let max_versions = 1 + dice.below(4) as u32;
    let keep = [KeepDeletedCells::False, KeepDeletedCells::True, KeepDeletedCells::Ttl];
    let plain = !new_version_behavior;
    FamilySettings {
        max_versions,
        min_versions: if plain { dice.below(u64::from(max_versions)) as u32 } else { 0 },
        ttl_ms: (plain && dice.one_in(2)).then_some(NOW_MS - 20),
        keep_deleted_cells: if plain { keep[dice.below(3) as usize] } else { KeepDeletedCells::False },
        new_version_behavior,
        purge_deletes_after_ms: if plain && dice.one_in(4) { NOW_MS - 25 } else { 0 },
        ..FamilySettings::from(&FamilyDescriptor::new(name))
    }
}

fn row_key(dice: &mut Dice) -> Vec<u8> {
    format!("r{}", dice.below(4)).into_bytes()
}

fn cell(dice: &mut Dice, seqno: u64, families: &[FamilySettings]) -> Cell {
    let row = row_key(dice);
    let family = &families[dice.below(families.len() as u64) as usize].name;
    let types = [CellType::DELETE, CellType::DELETE_COLUMN, CellType::DELETE_FAMILY, CellType::DELETE_FAMILY_VERSION];
    let cell_type = if dice.one_in(3) { types[dice.below(4) as usize] } else { CellType::PUT };
    let family_wide = matches!(cell_type, CellType::DELETE_FAMILY | CellType::DELETE_FAMILY_VERSION);
    let qualifier = if family_wide { b"" } else { QUALIFIERS[dice.below(4) as usize] };
    let timestamp = 15 + dice.below(12) as i64;
    let ttl_tag = [&[0, 9, 8][..], &(NOW_MS - 20).to_be_bytes()].concat();
    let tags: &[u8] = if cell_type == CellType::PUT && dice.one_in(8) { &ttl_tag } else { &[] };
    let value: &[u8] = if cell_type == CellType::PUT { &[dice.below(2) as u8] } else { &[] };
    let made = Cell::with_tags(&row, family, qualifier, timestamp, cell_type, value, tags).expect("cell");
    made.with_seqno(SeqNo(seqno))
}

fn query(dice: &mut Dice) -> Query {
    let mut query = if dice.one_in(4) {
        Query::from(&Get::new(row_key(dice)))
    } else {
        let mut scan = Scan { reversed: dice.one_in(3), raw: dice.one_in(5), ..Scan::default() };
        if dice.one_in(2) {
            scan.start_row = row_key(dice).into();
            scan.include_start_row = dice.one_in(2);
        }
        if dice.one_in(2) {
            scan.stop_row = row_key(dice).into();
            scan.include_stop_row = dice.one_in(2);
        }
        scan.batch = dice.one_in(4).then(|| 1 + dice.below(3) as u32);
        Query::from(&scan)
    };
    let selection = &mut query.selection;
    selection.max_versions = 1 + dice.below(5) as u32;
    if dice.one_in(3) {
        let from = 15 + dice.below(12) as i64;
        selection.time_range =
            TimeRange { from, to: if dice.one_in(3) { i64::MAX } else { from + dice.below(9) as i64 } };
    }
    if dice.one_in(4) {
        selection.store_limit = Some(1 + dice.below(3) as u32);
        selection.store_offset = dice.below(3) as u32;
    }
    if dice.one_in(2) && !query.raw {
        for _ in 0..1 + dice.below(3) {
            let family: &'static [u8] = if dice.one_in(3) { b"g" } else { b"f" };
            if dice.one_in(4) {
                selection.add_family(family);
            } else if selection.columns.get(family) != Some(&None) {
                selection.add_column(family, QUALIFIERS[dice.below(4) as usize]);
            }
        }
    }
    query
}

struct Engine {
    settings: FamilySettings,
    memtable: Vec<Cell>,
    files: Vec<Vec<Cell>>,
}

fn sources(dice: &mut Dice, layers: &[Vec<Cell>], order: CellOrder) -> Vec<Box<dyn CellSource>> {
    let source = |cells: &Vec<Cell>| {
        let inner = VecSource::new(cells.clone(), order);
        Box::new(Blocky { inner, dice: Dice(dice.roll()) }) as Box<dyn CellSource>
    };
    layers.iter().rev().map(source).collect()
}

fn rewrite(dice: &mut Dice, engine: &Engine, layers: &[Vec<Cell>], extent: Extent, held: SeqNo) -> Vec<Cell> {
    let order = CellOrder::User;
    let earliest_put_ms = match extent {
        Extent::Part => i64::MIN,
        Extent::All => oracle::earliest_put_ms(&layers.concat()),
    };
    let keep = Keep { extent, smallest_read_point: held, earliest_put_ms, now_ms: NOW_MS };
    let mut scanner = CompactionScanner::new(sources(dice, layers, order), order, &engine.settings, keep);
    let mut kept = Vec::new();
    while let Some(cell) = now(scanner.next()).expect("compaction") {
        kept.push(cell);
    }
    kept
}

fn read(dice: &mut Dice, engines: &[Engine], query: &Query, filtered: bool, read_point: SeqNo) -> Vec<Vec<Cell>> {
    let order = CellOrder::User;
    let wanted = |engine: &&Engine| {
        query.selection.columns.is_empty() || query.selection.columns.contains_key(&engine.settings.name)
    };
    let mut families = Vec::new();
    for engine in engines.iter().filter(wanted) {
        let mut layers = engine.files.clone();
        layers.push(engine.memtable.clone());
        families.push(FamilySources { settings: engine.settings.clone(), sources: sources(dice, &layers, order) });
    }
    let filter = filtered.then(|| Box::new(OddValues) as Box<dyn RowFilter>);
    let mut scanner = RowScanner::new(query.clone(), families, filter, order, read_point, NOW_MS).expect("scanner");
    let limits = Limits {
        bytes: if dice.one_in(2) { 1 + dice.below(90) } else { u64::MAX },
        partial: dice.one_in(2),
        ..Limits::rows(1 + dice.below(4) as usize)
    };
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let before = rows.len();
        let state = now(scanner.next(&limits, &mut rows)).expect("read");
        assert!(rows.len() - before <= limits.rows);
        if !state.more {
            break;
        }
    }
    // Pieces of a row come one after the other; put together they are the row.
    let mut whole: Vec<Vec<Cell>> = Vec::new();
    let mut open = false;
    for row in rows {
        assert!(!row.cells.is_empty());
        assert!(query.batch.is_none_or(|batch| row.cells.len() <= batch as usize));
        match whole.last_mut() {
            Some(last) if last[0].row() == row.cells[0].row() => {
                assert!(open, "only a partial row goes on");
                last.extend(row.cells);
            }
            _ => whole.push(row.cells),
        }
        open = row.partial;
        assert!(!open || query.batch.is_some() || limits.partial, "rows are cut only where it is allowed");
    }
    whole
}

/// Plays one random history; answers how many operations it had.
fn play(seed: u64, new_version_behavior: bool) -> usize {
    let mut dice = Dice(seed);
    let settings = [family(&mut dice, b"f", new_version_behavior), family(&mut dice, b"g", new_version_behavior)];
    let mut oracle = Oracle::new(settings.to_vec(), CellOrder::User);
    let engine =
        |settings: &FamilySettings| Engine { settings: settings.clone(), memtable: Vec::new(), files: Vec::new() };
    let mut engines: Vec<Engine> = settings.iter().map(engine).collect();
    let mut seqno = 0;
    let operations = 40 + dice.below(60) as usize;
    for operation in 0..operations {
        let at = dice.below(2) as usize;
        let name: Bytes = engines[at].settings.name.clone();
        // With NEW_VERSION_BEHAVIOR the model knows no files: nothing a flush does may be seen.
        let modelled = !new_version_behavior;
        let held = if dice.one_in(4) { SeqNo(seqno - dice.below(4).min(seqno)) } else { SeqNo(seqno) };
        match dice.below(12) {
            0 => {
                let layer = std::mem::take(&mut engines[at].memtable);
                let kept = rewrite(&mut dice, &engines[at], &[layer], Extent::Part, held);
                if modelled {
                    oracle.flush(&name, SeqNo(seqno), held, NOW_MS);
                    assert_eq!(
                        oracle.families[at].files.last().map(|file| &file.cells),
                        Some(&kept),
                        "flush, seed {seed}, {operation}"
                    );
                }
                engines[at].files.push(kept);
            }
            1 if !engines[at].files.is_empty() => {
                let files = engines[at].files.len();
                let first = dice.below(files as u64) as usize;
                let count = if dice.one_in(3) { files } else { 1 + dice.below((files - first) as u64) as usize };
                let first = if count == files { 0 } else { first };
                let taken: Vec<Vec<Cell>> = engines[at].files.drain(first..first + count).collect();
                let extent = if count == files { Extent::All } else { Extent::Part };
                let kept = rewrite(&mut dice, &engines[at], &taken, extent, held);
                if modelled {
                    oracle.compact(&name, first, count, held, NOW_MS);
                    let expected = &oracle.families[at].files[first].cells;
                    assert_eq!(expected, &kept, "compaction of {count}/{files}, seed {seed}, {operation}: {taken:?}");
                }
                engines[at].files.insert(first, kept);
            }
            2..=7 => {
                seqno += 1;
                let cell = cell(&mut dice, seqno, &settings);
                oracle.write(std::slice::from_ref(&cell));
                let engine = engines.iter_mut().find(|engine| engine.settings.name == cell.family()).expect("family");
                engine.memtable.push(cell);
            }
            _ => {
                let mut query = query(&mut dice);
                let filtered = !new_version_behavior && dice.one_in(3);
                let on_demand = filtered && dice.one_in(2);
                query.selection.load_families_on_demand = Some(on_demand);
                let read_point = if modelled && dice.one_in(5) { SeqNo(dice.below(seqno + 1)) } else { SeqNo(seqno) };
                let raw_of_files = new_version_behavior && query.raw;
                if raw_of_files {
                    continue;
                }
                let found = read(&mut dice, &engines, &query, filtered, read_point);
                let keep = |cell: &Cell| is_odd(cell.as_ref());
                let keep: Option<oracle::KeepCell<'_>> = if filtered { Some(&keep) } else { None };
                let mut expected = oracle.read(&query, keep, read_point, NOW_MS);
                if on_demand {
                    // The filter calls g inessential: a row needs a cell of f.
                    expected.retain(|row| row.iter().any(|cell| cell.family() == b"f"));
                }
                assert_eq!(
                    found, expected,
                    "read, seed {seed}, operation {operation}, filtered {filtered}, at {read_point}: {query:?}\n{settings:?}\n{:?}",
                    oracle.families
                );
            }
        }
    }
    operations
}

/// Long form: `ORACLE_OPERATIONS=1000000 ORACLE_SEED=7`, by `tests/run long oracle`.
#[test]
fn random_histories_read_as_the_oracle_says() {
    let setting =
        |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().expect("a number is set"));
    let (wanted, first) = (setting("ORACLE_OPERATIONS", 100_000), setting("ORACLE_SEED", 0));
    let (mut operations, mut seed) = (0, first);
    while operations < wanted {
        operations += play(seed as u64, false);
        seed += 1;
    }
    println!("reader and compaction against the oracle: {operations} operations in {} histories agree", seed - first);
}

#[test]
fn with_new_version_behavior_no_flush_or_compaction_is_seen() {
    let mut operations = 0;
    for seed in 0.. {
        operations += play(seed, true);
        if operations > 30_000 {
            break;
        }
    }
}

#[test]
#[ignore = "for pasting a seed"]
fn one_seed() {
    play(0, false);
}
