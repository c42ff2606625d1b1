//! Random stories: small domains of rows, columns and times, so that operations meet each other.
//!
//! Invariants
//! - A story is a function of its seed alone; the random numbers are made here, so that no dependency's update changes a seed's meaning.
//! - Stepped around, as faults of HBase: with NEW_VERSION_BEHAVIOR the column without a name (no delete hides it, all its versions stay,
//!   version deletes of it end in a NullPointerException) ROWCOL blooms (a scan of one column never ends)
//!   KEEP_DELETED_CELLS (a major compaction counts markers over column borders and loses some)
//!   filters that ask for the next column where columns are named (its tracker forgets to leave the column: the seek stays where it is, and the
//!   filter is shown the next version, unless the cell lies in a block that another follows)
//!   time ranges over files (a file outside the range is left out, and its versions are not counted: such stories keep all in memory)
//!   and TTL (partial compactions drop files that have expired whole and nothing else; with MIN_VERSIONS an increment of two columns reads
//!   a version too many and forgets the second column's value). Without it: how many
//!   versions of the column without a name a filter sees that asks for the next column depends on where HBase's blocks end (in raw scans the
//!   markers of families stand there), and a read of
//!   other columns misses a family delete behind a newer cell of the column without a name if a block ends there: its files get one block.
//!   A scan that names columns asks its filter about the start row, though there is no such row, if the first file has no family markers: then
//!   `WhileMatchFilter` may end the scan before it has begun. One that leaves out a file for its times does not ask about rows that have cells there
//!   alone: then `WhileMatchFilter` may go on, and so may the family's part of a scan that `ColumnCountGetFilter` would have ended there.
//!   Then, and in gets and conditions too, it depends on the same whether a comparator of numbers meets a row that is no number, which is
//!   refused: rows are compared with numbers only where neither times nor columns are asked for.
//!   A component comparator over what is shorter than it compares with whatever bytes lie behind: it is asked of long enough parts alone.

use bytes::Bytes;
use model::filter::{BitwiseOp, Comparator, CompareOp, Filter, FilterListOp, RowRange};
use model::mutation::{CheckAndMutate, Condition, Mutation, MutationKind};
use model::query::{Get, Scan, Selection, TimeRange};
use model::schema::FamilyDescriptor;
use model::{Cell, CellType, LATEST_TIMESTAMP};

use crate::operation::{Operation, Story};

/// When stories begin: far from 0, in milliseconds.
pub const START: i64 = 1_700_000_000_000;

/// A seeded source of choices (splitmix64).
pub struct Dice(u64);

impl Dice {
    /// The choices of a seed.
    pub fn new(seed: u64) -> Dice {
        let mut dice = Dice(seed);
        dice.next();
        dice
    }
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn between(&mut self, from: i64, to: i64) -> i64 {
        from + (self.next() % (to - from + 1) as u64) as i64
    }
    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
    /// One of them.
    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

const ROWS: &[&[u8]] = &[b"a", b"a\x00", b"aa", b"ab", b"b", b"ba", b"c", b"d\xff", b"\xff"];
const QUALIFIERS: &[&[u8]] = &[b"", b"a", b"ab", b"b", b"c", b"c1", b"n", b"n2"];
const VALUES: &[&[u8]] = &[
    b"",
    b"a",
    b"ab",
    b"b",
    b"Value-1",
    b"value-2",
    b"\xff\x00",
    b"\0\0\0\0\0\0\0\x05",
    b"\xff\xff\xff\xff\xff\xff\xff\xfe",
    b"12345678",
];
/// Eight bytes each: longs, decimals (two of them 5, of other scales) and text.
const WIDE_VALUES: &[&[u8]] = &[
    b"\0\0\0\0\0\0\0\x05",
    b"\0\0\0\x01\0\0\0\x32",
    b"\0\0\0\x02\xff\xff\xff\x6b",
    b"\xff\xff\xff\xff\xff\xff\xff\xfe",
    b"12345678",
    b"Value-12",
    b"value-21",
];
const OPERATORS: &[CompareOp] = &[
    CompareOp::Less,
    CompareOp::LessOrEqual,
    CompareOp::Equal,
    CompareOp::NotEqual,
    CompareOp::GreaterOrEqual,
    CompareOp::Greater,
];

struct Author {
    dice: Dice,
    /// Whether the column without a name occurs; then no filter that asks for the next column does.
    nameless: bool,
    /// Whether all values have eight bytes or more.
    wide: bool,
    /// Whether the read being written names columns of a family where write order counts.
    named: bool,
    /// Whether a raw scan is being written: its filter sees markers, which have no values.
    raw: bool,
    /// Whether a scan is being written that names columns: its filter may be asked about the start row, though no such row exists; or one that may
    /// leave out files for their times: its filter is not asked about rows of which only those have cells.
    unreal: bool,
    /// Whether the filter is asked about a row of which nothing is wanted depends on where its cells lie.
    elusive: bool,
    /// Whether reads have time ranges.
    ranges: bool,
    families: Vec<FamilyDescriptor>,
    now: i64,
}

/// The story of a seed.
pub fn story(seed: u64, length: usize) -> Story {
    let mut dice = Dice::new(seed);
    let mut families: Vec<FamilyDescriptor> =
        ["f", "g", "h"].iter().take(1 + dice.below(3)).map(|name| family(&mut dice, name)).collect();
    let nameless = dice.chance(40);
    if nameless {
        families = families.into_iter().map(|family| family.with("BLOCKSIZE", "65536")).collect();
    }
    let wide = dice.chance(30);
    // Half the stories with NEW_VERSION_BEHAVIOR have time ranges, and all their cells in memory.
    let by_write_order = families.iter().any(FamilyDescriptor::new_version_behavior);
    let ranges = !by_write_order || dice.chance(50);
    let mut author = Author {
        dice,
        nameless,
        wide,
        named: false,
        raw: false,
        unreal: false,
        elusive: false,
        ranges,
        families,
        now: START,
    };
    let mut operations = vec![Operation::Clock(START)];
    // Some stories read rarely and maintain often, some the other way round.
    let upkeep = author.dice.of(&[3, 8, 15]);
    let reads = author.dice.of(&[25, 40, 55]);
    while operations.len() < length {
        let operation = author.operation(upkeep, reads);
        let flushes = matches!(operation, Operation::Flush | Operation::Reopen);
        if !(flushes && by_write_order && ranges) {
            operations.push(operation);
        }
    }
    // What is left is read whole in the end, as users and as raw cells.
    for raw in [false, true] {
        let mut scan = Scan { raw, ..Scan::default() };
        scan.selection.max_versions = i32::MAX as u32;
        operations.push(Operation::Scan(scan));
    }
    Story { families: author.families, operations }
}

fn family(dice: &mut Dice, name: &str) -> FamilyDescriptor {
    let mut family = FamilyDescriptor::new(name.as_bytes().to_vec());
    let versions = dice.of(&[1, 1, 2, 3, 3, 5, i32::MAX]);
    family = family.with("VERSIONS", &versions.to_string());
    let new_behavior = dice.chance(12);
    if dice.chance(25) && !new_behavior {
        family = family.with("TTL", &dice.of(&[1, 2, 5, 1000]).to_string());
        if dice.chance(50) {
            family = family.with("MIN_VERSIONS", &dice.of(&[1, 2]).min(versions).to_string());
        }
    }
    match dice.below(10) {
        _ if new_behavior => {}
        0 | 1 => family = family.with("KEEP_DELETED_CELLS", "TRUE"),
        2 if family.attributes.contains_key("MIN_VERSIONS") || family.attributes.contains_key("TTL") => {
            family = family.with("KEEP_DELETED_CELLS", "TTL");
        }
        _ => {}
    }
    if new_behavior {
        family = family.with("NEW_VERSION_BEHAVIOR", "true");
    }
    let bloom = dice.of(&["NONE", "ROW", "ROW", "ROWCOL"]);
    if !(new_behavior && bloom == "ROWCOL") {
        family = family.with("BLOOMFILTER", bloom);
    }
    family
        .with("DATA_BLOCK_ENCODING", dice.of(&["NONE", "NONE", "FAST_DIFF", "ROW_INDEX_V1"]))
        .with("BLOCKSIZE", dice.of(&["65536", "64", "200"]))
}

impl Author {
    fn operation(&mut self, upkeep: usize, reads: usize) -> Operation {
        if self.dice.chance(upkeep) {
            return match self.dice.below(10) {
                0..=4 => Operation::Flush,
                5 | 6 => {
                    let from = self.dice.below(3);
                    let family = self.dice.below(self.families.len());
                    Operation::Minor {
                        family: String::from_utf8_lossy(&self.families[family].name).into_owned(),
                        from,
                        to: from + 2 + self.dice.below(3),
                    }
                }
                7 => Operation::Major,
                8 => Operation::Reopen,
                _ => Operation::Crash,
            };
        }
        if self.dice.chance(25) {
            self.now += self.dice.of(&[1, 1, 1, 2, 5, 400, 1000, 1999]);
            return Operation::Clock(self.now);
        }
        if self.dice.chance(reads) {
            return if self.dice.chance(35) { self.get() } else { self.scan() };
        }
        match self.dice.below(20) {
            0..=16 => {
                let row = self.row();
                let mut mutation = self.mutation(row);
                if self.dice.chance(3) {
                    mutation.ttl_ms = (mutation.kind != MutationKind::Delete).then(|| self.dice.of(&[1, 500, 3000]));
                }
                Operation::Mutate(mutation)
            }
            17 => {
                let row = self.row();
                Operation::Row(self.several(&row))
            }
            _ => self.check(),
        }
    }

    fn row(&mut self) -> Bytes {
        Bytes::from_static(self.dice.of(ROWS))
    }
    fn qualifier(&mut self) -> Bytes {
        Bytes::from_static(self.dice.of(if self.nameless { QUALIFIERS } else { &QUALIFIERS[1..] }))
    }
    /// A column to write in a family; not the nameless one where that is broken in HBase.
    fn qualifier_of(&mut self, family: &Bytes) -> Bytes {
        let broken = self.families.iter().any(|other| other.name == family && other.new_version_behavior());
        Bytes::from_static(self.dice.of(if broken || !self.nameless { &QUALIFIERS[1..] } else { QUALIFIERS }))
    }
    fn value(&mut self) -> Bytes {
        Bytes::from_static(self.dice.of(if self.wide { WIDE_VALUES } else { VALUES }))
    }
    fn family(&mut self) -> Bytes {
        let at = self.dice.below(self.families.len());
        self.families[at].name.clone()
    }
    fn operator(&mut self) -> CompareOp {
        self.dice.of(OPERATORS)
    }
    /// A time near now, or "now" itself when `latest` percent say so.
    fn time(&mut self, latest: usize) -> i64 {
        if self.dice.chance(latest) {
            return LATEST_TIMESTAMP;
        }
        match self.dice.below(10) {
            0 => self.dice.between(1, 5),
            1 | 2 => self.now + self.dice.between(0, 10),
            3 | 4 => START - self.dice.between(0, 5),
            _ => START + self.dice.between(0, 6),
        }
    }
    fn time_range(&mut self) -> TimeRange {
        if !self.ranges {
            return TimeRange::ALL;
        }
        let from = match self.dice.below(3) {
            0 => 0,
            _ => START + self.dice.between(-5, 8),
        };
        let to = match self.dice.below(3) {
            0 => i64::MAX,
            1 => self.now + self.dice.between(0, 5),
            _ => START + self.dice.between(0, 10),
        };
        TimeRange { from: from.min(to), to: to.max(from) }
    }

    fn cell(
        &mut self,
        row: &Bytes,
        family: &Bytes,
        qualifier: &Bytes,
        time: i64,
        kind: CellType,
        value: &Bytes,
    ) -> Cell {
        Cell::new(row, family, qualifier, time, kind, value).expect("small parts")
    }

    /// Families to touch, in order and each once.
    fn some_families(&mut self) -> Vec<Bytes> {
        let all: Vec<Bytes> = self.families.iter().map(|family| family.name.clone()).collect();
        let chosen: Vec<Bytes> = all.into_iter().filter(|_| self.dice.chance(55)).collect();
        if chosen.is_empty() { vec![self.family()] } else { chosen }
    }

    fn mutation(&mut self, row: Bytes) -> Mutation {
        match self.dice.below(100) {
            0..=54 => self.put(row),
            55..=79 => self.delete(row),
            80..=91 => self.counting(row, MutationKind::Increment),
            _ => self.counting(row, MutationKind::Append),
        }
    }

    fn put(&mut self, row: Bytes) -> Mutation {
        let mut mutation = Mutation::new(MutationKind::Put, row.clone());
        for family in self.some_families() {
            for _ in 0..1 + self.dice.below(3) {
                if self.dice.chance(4) {
                    let marker = self.marker(&row, &family);
                    mutation.cells.push(marker);
                    continue;
                }
                let (qualifier, time) = (self.qualifier_of(&family), self.time(35));
                let value = if qualifier.starts_with(b"n") && self.dice.chance(70) {
                    Bytes::copy_from_slice(&self.dice.between(-3, 9).to_be_bytes())
                } else {
                    self.value()
                };
                mutation.cells.push(self.cell(&row, &family, &qualifier, time, CellType::PUT, &value));
            }
        }
        mutation
    }

    fn delete(&mut self, row: Bytes) -> Mutation {
        let mut mutation = Mutation::new(MutationKind::Delete, row.clone());
        mutation.timestamp = self.time(50);
        if self.dice.chance(10) {
            return mutation;
        }
        for family in self.some_families() {
            if self.dice.chance(15) {
                let time = self.time(40);
                mutation.cells.push(self.cell(
                    &row,
                    &family,
                    &Bytes::new(),
                    time,
                    CellType::DELETE_FAMILY,
                    &Bytes::new(),
                ));
                if self.dice.chance(70) {
                    continue;
                }
            }
            for _ in 0..1 + self.dice.below(2) {
                let marker = self.marker(&row, &family);
                mutation.cells.push(marker);
            }
        }
        mutation
    }

    /// A delete marker, not of a whole family.
    fn marker(&mut self, row: &Bytes, family: &Bytes) -> Cell {
        let kind = self.dice.of(&[
            CellType::DELETE,
            CellType::DELETE,
            CellType::DELETE_COLUMN,
            CellType::DELETE_FAMILY_VERSION,
        ]);
        let qualifier = match kind {
            CellType::DELETE_FAMILY_VERSION => Bytes::new(),
            _ => self.qualifier_of(family),
        };
        let time = if kind == CellType::DELETE_FAMILY_VERSION { self.time(0) } else { self.time(40) };
        self.cell(row, family, &qualifier, time, kind, &Bytes::new())
    }

    /// Increments and appends; a column at most once, for HBase's client would merge them.
    fn counting(&mut self, row: Bytes, kind: MutationKind) -> Mutation {
        let mut mutation = Mutation::new(kind, row.clone());
        for family in self.some_families() {
            let from = 1 + self.dice.below(QUALIFIERS.len() - 1);
            let mut names: Vec<&'static [u8]> = match kind {
                MutationKind::Increment if self.dice.chance(90) => QUALIFIERS[6..].to_vec(),
                _ => QUALIFIERS[from..].to_vec(),
            };
            names.truncate(1 + self.dice.below(2));
            for name in names {
                let value = match kind {
                    MutationKind::Increment => Bytes::copy_from_slice(&self.dice.between(-4, 9).to_be_bytes()),
                    _ => self.value(),
                };
                mutation.cells.push(self.cell(
                    &row,
                    &family,
                    &Bytes::from_static(name),
                    LATEST_TIMESTAMP,
                    CellType::PUT,
                    &value,
                ));
            }
        }
        if self.dice.chance(10) {
            mutation.time_range = self.time_range();
        }
        mutation.return_results = !self.dice.chance(10);
        mutation
    }

    fn several(&mut self, row: &Bytes) -> Vec<Mutation> {
        (0..1 + self.dice.below(3)).map(|_| self.mutation(row.clone())).collect()
    }

    fn check(&mut self) -> Operation {
        (self.named, self.raw, self.unreal, self.elusive) = (false, false, false, true);
        let row = self.row();
        let time_range = if self.dice.chance(20) { self.time_range() } else { TimeRange::ALL };
        let condition = if self.dice.chance(75) {
            let comparator = match self.dice.below(10) {
                0..=2 => Comparator::Binary(Bytes::new()),
                3 => self.comparator(false),
                _ => Comparator::Binary(self.value()),
            };
            Condition::Column {
                family: self.family(),
                qualifier: self.qualifier(),
                op: self.operator(),
                comparator,
                time_range,
            }
        } else {
            Condition::Filter { filter: self.filter(2), time_range }
        };
        Operation::Check(CheckAndMutate { mutations: self.several(&row), row, condition })
    }

    fn selection(&mut self) -> Selection {
        let mut selection =
            Selection { max_versions: self.dice.of(&[1, 1, 2, 3, i32::MAX as u32]), ..Selection::default() };
        if self.dice.chance(45) {
            for family in self.some_families() {
                if self.dice.chance(30) {
                    selection.add_family(family);
                } else {
                    for _ in 0..1 + self.dice.below(4) {
                        let qualifier = self.qualifier();
                        selection.add_column(family.clone(), qualifier);
                    }
                }
            }
        }
        if self.dice.chance(20) {
            selection.time_range = self.time_range();
        }
        if self.dice.chance(8) {
            let (family, range) = (self.family(), self.time_range());
            selection.family_time_ranges.insert(family, range);
        }
        let expires = self.families.iter().any(|family| family.attributes.contains_key("TTL"));
        let timed = !selection.time_range.is_all() || !selection.family_time_ranges.is_empty();
        self.elusive = expires || timed || selection.columns.values().any(Option::is_some);
        self.unreal = self.unreal && self.elusive;
        self.named = self.families.iter().any(|family| {
            family.new_version_behavior() && matches!(selection.columns.get(&family.name), Some(Some(_)))
        });
        if self.dice.chance(45) {
            selection.filter = Some(self.filter(3));
        }
        if self.dice.chance(8) {
            selection.store_limit = Some(1 + self.dice.below(3) as u32);
        }
        if self.dice.chance(8) {
            selection.store_offset = self.dice.below(3) as u32;
        }
        if self.dice.chance(20) {
            selection.load_families_on_demand = Some(self.dice.chance(60));
        }
        selection
    }

    fn get(&mut self) -> Operation {
        (self.raw, self.unreal) = (false, false);
        Operation::Get(Get { row: self.row(), selection: self.selection(), existence_only: self.dice.chance(10) })
    }

    fn scan(&mut self) -> Operation {
        (self.raw, self.unreal) = (self.dice.chance(15), true);
        let mut scan =
            Scan { selection: self.selection(), reversed: self.dice.chance(30), raw: self.raw, ..Scan::default() };
        if scan.raw && self.dice.chance(95) {
            scan.selection.columns.retain(|_, qualifiers| qualifiers.is_none());
        }
        if self.dice.chance(40) {
            scan.start_row = self.row();
            scan.include_start_row = self.dice.chance(70);
        }
        if self.dice.chance(40) {
            scan.stop_row = self.row();
            scan.include_stop_row = self.dice.chance(40);
        }
        if self.dice.chance(25) {
            scan.limit = Some(1 + self.dice.below(3) as u32);
        }
        if self.dice.chance(12) && !scan.selection.filter.as_ref().is_some_and(judges_rows) {
            scan.batch = Some(1 + self.dice.below(4) as u32);
        }
        if self.dice.chance(20) {
            scan.max_result_size = Some(self.dice.of(&[1, 70, 150, 400]));
            scan.allow_partial_results = self.dice.chance(75);
        }
        Operation::Scan(scan)
    }

    fn comparator(&mut self, ordered: bool) -> Comparator {
        if self.dice.chance(if self.wide { 30 } else { 3 }) {
            let value = Bytes::from_static(self.dice.of(WIDE_VALUES));
            match self.dice.below(3) {
                0 => return Comparator::Long(value),
                1 => return Comparator::BigDecimal(value),
                _ if self.wide && !self.raw => {
                    let (from, to) = (self.dice.below(8), 1 + self.dice.below(8));
                    let (from, to) = (from.min(to - 1), to.max(from + 1));
                    return Comparator::BinaryComponent { value: value.slice(from..to), offset: from as u32 };
                }
                _ => {}
            }
        }
        if ordered || self.dice.chance(50) {
            return if self.dice.chance(70) {
                Comparator::Binary(self.value())
            } else {
                Comparator::BinaryPrefix(self.value())
            };
        }
        match self.dice.below(5) {
            0 => Comparator::Null,
            1 => Comparator::Substring(self.dice.of(&["a", "value", "-1", ""]).to_owned()),
            2 => Comparator::Bit {
                bits: self.value(),
                op: self.dice.of(&[BitwiseOp::And, BitwiseOp::Or, BitwiseOp::Xor]),
            },
            _ => Comparator::Regex {
                pattern: self.dice.of(&["^a", "[bv]", "value-\\d$", "(?i)VALUE", "^$", "a|c", "."]).to_owned(),
                flags: 32,
                charset: "UTF-8".to_owned(),
                engine: None,
            },
        }
    }

    /// A comparison of something: unordered comparators with `=` and `!=` alone.
    fn comparison(&mut self) -> (CompareOp, Comparator) {
        let op = self.operator();
        let ordered = !matches!(op, CompareOp::Equal | CompareOp::NotEqual);
        (op, self.comparator(ordered))
    }

    /// A comparison of a row, family or qualifier.
    fn name_comparison(&mut self, names: &[&'static [u8]]) -> (CompareOp, Comparator) {
        if self.dice.chance(30) {
            let wide = std::mem::take(&mut self.wide);
            let comparison = self.comparison();
            self.wide = wide;
            return comparison;
        }
        let name = Bytes::from_static(self.dice.of(names));
        if !self.raw && !self.unreal && self.dice.chance(10) && names.iter().all(|name| !name.is_empty()) {
            return (self.operator(), Comparator::BinaryComponent { value: name.slice(..1), offset: 0 });
        }
        (self.operator(), if self.dice.chance(70) { Comparator::Binary(name) } else { Comparator::BinaryPrefix(name) })
    }

    fn filter(&mut self, depth: usize) -> Filter {
        let kinds = if depth == 0 { 23 } else { 29 };
        let kind = self.dice.below(kinds);
        if (self.nameless || self.named || self.raw) && matches!(kind, 0 | 1 | 3 | 4 | 21) {
            return Filter::FirstKeyOnly;
        }
        if self.unreal && matches!(kind, 0 | 24) {
            return Filter::KeyOnly { len_as_val: true };
        }
        match kind {
            0 => Filter::ColumnCountGet { limit: 1 + self.dice.below(3) as i32 },
            1 if self.dice.chance(60) => Filter::ColumnPagination {
                limit: 1 + self.dice.below(3) as i32,
                offset: Some(self.dice.below(3) as i32),
                column_offset: None,
            },
            1 => Filter::ColumnPagination {
                limit: 1 + self.dice.below(3) as i32,
                offset: None,
                column_offset: Some(self.qualifier()),
            },
            2 => Filter::ColumnPrefix { prefix: self.qualifier() },
            3 => {
                let (a, b) = (self.qualifier(), self.qualifier());
                let (min, max) = if a <= b { (a, b) } else { (b, a) };
                Filter::ColumnRange {
                    min: self.dice.chance(80).then_some(min),
                    min_inclusive: self.dice.chance(50),
                    max: self.dice.chance(80).then_some(max),
                    max_inclusive: self.dice.chance(50),
                }
            }
            4 => {
                let (op, comparator) = self.comparison();
                Filter::ColumnValue { family: self.family(), qualifier: self.qualifier(), op, comparator }
            }
            5 => {
                let (op, comparator) = self.comparison();
                let bare = self.dice.chance(50);
                Filter::DependentColumn {
                    family: self.family(),
                    qualifier: self.qualifier(),
                    drop_dependent_column: self.dice.chance(50),
                    op: if bare { CompareOp::NoOp } else { op },
                    comparator: (!bare).then_some(comparator),
                }
            }
            6 => {
                let (op, comparator) = self.name_comparison(&[b"f", b"g", b"h"]);
                Filter::Family { op, comparator }
            }
            7 => Filter::FirstKeyOnly,
            8 => {
                let mut qualifiers: Vec<Bytes> = (0..1 + self.dice.below(2)).map(|_| self.qualifier()).collect();
                qualifiers.sort();
                qualifiers.dedup();
                Filter::FirstKeyValueMatchingQualifiers { qualifiers }
            }
            9 => {
                let keys = (0..1 + self.dice.below(2))
                    .map(|_| {
                        let key = self.row();
                        let mask: Vec<u8> = key.iter().map(|_| self.dice.of(&[0xff, 2])).collect();
                        (key, Bytes::from(mask))
                    })
                    .collect();
                Filter::FuzzyRow { keys, is_mask_v2: Some(true) }
            }
            10 => Filter::InclusiveStop { stop_row: self.row() },
            11 => Filter::KeyOnly { len_as_val: self.dice.chance(50) },
            12 => {
                let mut rows: Vec<Bytes> = (0..4).map(|_| self.row()).collect();
                rows.sort();
                rows.dedup();
                let ranges = rows
                    .chunks_exact(2)
                    .map(|pair| RowRange {
                        start: pair[0].clone(),
                        start_inclusive: self.dice.chance(70),
                        stop: pair[1].clone(),
                        stop_inclusive: self.dice.chance(50),
                    })
                    .collect::<Vec<_>>();
                if ranges.is_empty() { Filter::FirstKeyOnly } else { Filter::MultiRowRange { ranges } }
            }
            13 => {
                let mut prefixes: Vec<Bytes> = (0..1 + self.dice.below(3)).map(|_| self.qualifier()).collect();
                prefixes.sort();
                prefixes.dedup();
                Filter::MultipleColumnPrefix { prefixes }
            }
            14 => Filter::Page { page_size: 1 + self.dice.below(4) as i64 },
            15 => Filter::Prefix { prefix: self.row() },
            16 => {
                let (op, comparator) = self.name_comparison(QUALIFIERS);
                Filter::Qualifier { op, comparator }
            }
            17 => Filter::RandomRow { chance: self.dice.of(&[-1.0, 1.5]) },
            18 => {
                let (op, comparator) = self.name_comparison(ROWS);
                let comparator = match comparator {
                    Comparator::Long(value) | Comparator::BigDecimal(value) if self.elusive => {
                        Comparator::Binary(value)
                    }
                    comparator => comparator,
                };
                Filter::Row { op, comparator }
            }
            19 | 20 => {
                let (op, comparator) = self.comparison();
                let (family, qualifier) = (self.family(), self.qualifier());
                let (filter_if_missing, latest_version_only) = (self.dice.chance(50), self.dice.chance(70));
                if self.dice.chance(50) {
                    Filter::SingleColumnValue {
                        family,
                        qualifier,
                        op,
                        comparator,
                        filter_if_missing,
                        latest_version_only,
                    }
                } else {
                    Filter::SingleColumnValueExclude {
                        family,
                        qualifier,
                        op,
                        comparator,
                        filter_if_missing,
                        latest_version_only,
                    }
                }
            }
            21 => {
                let mut timestamps: Vec<i64> =
                    (0..1 + self.dice.below(4)).map(|_| START + self.dice.between(-2, 6)).collect();
                timestamps.sort_unstable();
                timestamps.dedup();
                Filter::Timestamps { timestamps, can_hint: self.dice.chance(50) }
            }
            22 => {
                let (op, comparator) = self.comparison();
                Filter::Value { op, comparator }
            }
            23 => Filter::Skip { filter: Box::new(self.filter(0)) },
            24 => Filter::WhileMatch { filter: Box::new(self.filter(0)) },
            _ => {
                let op = self.dice.of(&[FilterListOp::MustPassAll, FilterListOp::MustPassOne]);
                Filter::List { op, filters: (0..1 + self.dice.below(3)).map(|_| self.filter(depth - 1)).collect() }
            }
        }
    }
}

/// Whether the filter may veto a whole row at its end, which HBase refuses together with a batch.
fn judges_rows(filter: &Filter) -> bool {
    match filter {
        Filter::Page { .. }
        | Filter::RandomRow { .. }
        | Filter::SingleColumnValue { .. }
        | Filter::SingleColumnValueExclude { .. }
        | Filter::DependentColumn { .. }
        | Filter::Skip { .. } => true,
        Filter::WhileMatch { filter } => judges_rows(filter),
        Filter::List { filters, .. } => filters.iter().any(judges_rows),
        _ => false,
    }
}
