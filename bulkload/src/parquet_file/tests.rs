use super::*;
use crate::report::Silent;
use arrow_array::builder::BinaryBuilder;
use arrow_array::types::{Int32Type, TimestampMicrosecondType};
use arrow_array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array, Int32Array,
    Int64Array, ListArray, NullArray, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray, UInt8Array,
    UInt64Array,
};
use model::Cell;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use proptest::prelude::*;

struct Memory(Vec<u8>);

impl RandomRead for Memory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<usize> {
        let from = self.0.get(usize::try_from(offset).expect("small")..).unwrap_or_default();
        let n = from.len().min(out.len());
        out[..n].copy_from_slice(&from[..n]);
        Ok(n)
    }
}

const SETTINGS: Settings = Settings { values: Values::Text, memory_bytes: 64 << 20 };

fn with_bytes() -> Settings {
    Settings { values: Values::Bytes, ..SETTINGS }
}

fn write(columns: Vec<(&str, ArrayRef)>, properties: WriterProperties) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    let batch = batch.expect("a batch");
    let mut out = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut out, batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
    out
}

/// Numbers and reasons of bad records.
type Bad = Vec<(u64, String)>;
type Record<'a> = (Vec<u8>, Vec<u8>, i64, &'a str, Vec<u8>);
type Partitions<'a> = &'a [(String, Option<String>)];

/// Cells, and bad records.
fn read(
    bytes: Vec<u8>,
    columns: Option<&str>,
    partitions: Partitions<'_>,
    settings: Settings,
) -> Result<(Vec<Cell>, Bad)> {
    let columns = columns.map(|text| Columns::parse_named(text).expect("columns"));
    let mut file =
        ParquetFile::open("x", Arc::new(Memory(bytes)), Arc::new(Silent), columns.as_ref(), partitions, settings)?;
    let (mut cells, mut bad) = (batch::Batch::default(), Vec::new());
    while let Some(batch) = file.next_batch()? {
        let mut rows = file.rows(&batch)?;
        for at in 0..batch.len() {
            match rows.cells(at, 7, &mut cells) {
                Ok(()) => cells.end_record(),
                Err(why) => {
                    cells.drop_record();
                    bad.push((batch.number(at), why));
                }
            }
        }
    }
    Ok((cells.to_cells(), bad))
}

fn shown(cells: &[Cell]) -> Vec<String> {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let one = |cell: &Cell| {
        let place = format!("{} {}:{}", text(cell.row()), text(cell.family()), text(cell.qualifier()));
        let ttl = cell.as_ref().ttl_ms().map(|ttl| format!(" ttl {ttl}")).unwrap_or_default();
        format!("{place} {} {}{ttl}", cell.timestamp(), text(cell.value()))
    };
    cells.iter().map(one).collect()
}

fn all(bytes: Vec<u8>, columns: &str, settings: Settings) -> Vec<String> {
    let (cells, bad) = read(bytes, Some(columns), &[], settings).expect("read");
    assert!(bad.is_empty(), "{bad:?}");
    shown(&cells)
}

fn refused(bytes: Vec<u8>, columns: Option<&str>, partitions: Partitions<'_>) -> String {
    read(bytes, columns, partitions, SETTINGS).expect_err("refused").to_string()
}

fn of<A: Array + 'static>(array: A) -> ArrayRef {
    Arc::new(array)
}

fn types() -> Vec<u8> {
    let columns = vec![
        ("id", of(StringArray::from(vec!["r1", "r2"]))),
        ("bool", of(BooleanArray::from(vec![true, false]))),
        ("short", of(Int16Array::from(vec![-2, 300]))),
        ("int", of(Int32Array::from(vec![Some(-1), None]))),
        ("long", of(Int64Array::from(vec![1_i64 << 40, 0]))),
        ("byte", of(UInt8Array::from(vec![200, 1]))),
        ("float", of(Float32Array::from(vec![1.5, -0.25]))),
        ("double", of(Float64Array::from(vec![0.1, 2.0]))),
        ("text", of(StringArray::from(vec![Some("é"), Some("")]))),
        ("bytes", of(BinaryArray::from(vec![&[0xff_u8, 0][..], b"x"]))),
        ("date", of(Date32Array::from(vec![19_000, -1]))),
        ("time", of(TimestampMillisecondArray::from(vec![1_700_000_000_123, 0]).with_timezone("UTC"))),
        ("local", of(TimestampMicrosecondArray::from(vec![1_700_000_000_000_001, 0]))),
        ("price", of(Decimal128Array::from(vec![12_345, -1]).with_precision_and_scale(12, 2).expect("a scale"))),
    ];
    write(columns, WriterProperties::default())
}

const TYPES: &str =
    "HBASE_ROW_KEY,f:bool,f:short,f:int,f:long,f:byte,f:float,f:double,f:text,f:bytes,f:date,f:time,f:local,f:price";

#[test]
fn values_are_text_as_people_write_them() {
    let expected = [
        "r1 f:bool 7 true",
        "r1 f:short 7 -2",
        "r1 f:int 7 -1",
        "r1 f:long 7 1099511627776",
        "r1 f:byte 7 200",
        "r1 f:float 7 1.5",
        "r1 f:double 7 0.1",
        "r1 f:text 7 \\xc3\\xa9",
        "r1 f:bytes 7 \\xff\\x00",
        "r1 f:date 7 2022-01-08",
        "r1 f:time 7 2023-11-14T22:13:20.123Z",
        "r1 f:local 7 2023-11-14T22:13:20.000001",
        "r1 f:price 7 123.45",
        "r2 f:bool 7 false",
        "r2 f:short 7 300",
        "r2 f:long 7 0",
        "r2 f:byte 7 1",
        "r2 f:float 7 -0.25",
        "r2 f:double 7 2.0",
        "r2 f:text 7 ",
        "r2 f:bytes 7 x",
        "r2 f:date 7 1969-12-31",
        "r2 f:time 7 1970-01-01T00:00:00Z",
        "r2 f:local 7 1970-01-01T00:00:00",
        "r2 f:price 7 -0.01",
    ];
    assert_eq!(all(types(), TYPES, SETTINGS), expected);
}

/// What HBase 2.6.1's `Bytes.toBytes` gives for each.
#[test]
fn values_are_bytes_as_hbase_has_them() {
    let expected = [
        "r1 f:bool 7 \\xff",
        "r1 f:short 7 \\xff\\xfe",
        "r1 f:int 7 \\xff\\xff\\xff\\xff",
        "r1 f:long 7 \\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00",
        "r1 f:byte 7 \\x00\\xc8",
        "r1 f:float 7 ?\\xc0\\x00\\x00",
        "r1 f:double 7 ?\\xb9\\x99\\x99\\x99\\x99\\x99\\x9a",
        "r1 f:text 7 \\xc3\\xa9",
        "r1 f:bytes 7 \\xff\\x00",
        "r1 f:date 7 \\x00\\x00J8",
        "r1 f:time 7 \\x00\\x00\\x01\\x8b\\xcf\\xe5h{",
        "r1 f:local 7 \\x00\\x06\\n$\\x18\\x1e@\\x01",
        "r1 f:price 7 \\x00\\x00\\x00\\x0209",
    ];
    assert_eq!(all(types(), TYPES, with_bytes())[..13], expected);
    let last = all(types(), "id=HBASE_ROW_KEY,price=f:p", with_bytes());
    assert_eq!(last[1], "r2 f:p 7 \\x00\\x00\\x00\\x02\\xff", "as few bytes as hold the sign");
    let long = write(
        vec![("id", of(StringArray::from(vec!["r"]))), ("n", of(UInt64Array::from(vec![u64::MAX])))],
        WriterProperties::default(),
    );
    let (cells, bad) = read(long, Some("id=HBASE_ROW_KEY,n=f:n"), &[], with_bytes()).expect("read");
    assert!(cells.is_empty() && bad[0].1.contains("larger than a long"), "{bad:?}");
}

#[test]
fn columns_are_given_by_place_or_name() {
    let file = || {
        let columns = vec![
            ("v", of(StringArray::from(vec![Some("a"), Some(""), None]))),
            ("at", of(TimestampMicrosecondArray::from(vec![Some(5_999), None, Some(1_000)]))),
            ("key", of(Int32Array::from(vec![1, 2, 3]))),
            ("ttl", of(Int64Array::from(vec![Some(60), None, Some(0)]))),
        ];
        write(columns, WriterProperties::default())
    };
    let by_place = "f:v,HBASE_TS_KEY,HBASE_ROW_KEY,HBASE_CELL_TTL";
    let expected = ["1 f:v 5 a ttl 60", "2 f:v 7 "];
    assert_eq!(all(file(), by_place, SETTINGS), expected);
    let by_name = "key=HBASE_ROW_KEY, ttl=HBASE_CELL_TTL, v=f:v, at=HBASE_TS_KEY";
    assert_eq!(all(file(), by_name, SETTINGS), expected);
    assert_eq!(all(file(), "key=HBASE_ROW_KEY,key=f:k", SETTINGS), ["1 f:k 7 1", "2 f:k 7 2", "3 f:k 7 3"]);
    for (columns, why) in [
        ("HBASE_ROW_KEY,f:v", "2 columns are given for its 4: v, at, key, ttl"),
        ("key=HBASE_ROW_KEY,w=f:v", "one column `w`"),
        ("key=HBASE_ROW_KEY,ttl=f:a,v=HBASE_TS_KEY", "`v` is text: times"),
        ("key=HBASE_ROW_KEY,v=f:a,at=HBASE_CELL_TTL", "`at` is Timestamp"),
    ] {
        let error = refused(file(), Some(columns), &[]);
        assert!(error.contains(why), "{columns}: {error}");
    }
    assert!(refused(file(), None, &[]).contains("--columns is needed: the file's are v, at, key, ttl"));
    assert!(Columns::parse_named("key=HBASE_ROW_KEY,f:v").expect_err("mixed").contains("NAME=COLUMN"));
}

#[test]
fn empty_fields_make_no_cells_if_asked() {
    let columns = vec![("k", of(StringArray::from(vec!["r", "s"]))), ("v", of(StringArray::from(vec!["", "x"])))];
    let file: Arc<dyn RandomRead> = Arc::new(Memory(write(columns, WriterProperties::default())));
    let columns = Columns::parse("HBASE_ROW_KEY,f:v").expect("columns").skipping_empty(true);
    let mut file = ParquetFile::open("x", file, Arc::new(Silent), Some(&columns), &[], SETTINGS).expect("open");
    let batch = file.next_batch().expect("read").expect("rows");
    let (mut rows, mut cells) = (file.rows(&batch).expect("rows"), batch::Batch::default());
    for at in 0..2 {
        rows.cells(at, 7, &mut cells).expect("good");
        cells.end_record();
    }
    assert_eq!(shown(&cells.to_cells()), ["s f:v 7 x"]);
}

#[test]
fn bad_records_are_told_with_their_number() {
    let columns = vec![
        ("k", of(StringArray::from(vec![Some("r"), None, Some(""), Some("s")]))),
        ("t", of(Int64Array::from(vec![1, 2, 3, -4]))),
        ("v", of(StringArray::from(vec!["a"; 4]))),
    ];
    let file = write(columns, WriterProperties::default());
    let (cells, bad) = read(file, Some("HBASE_ROW_KEY,HBASE_TS_KEY,f:v"), &[], SETTINGS).expect("read");
    assert_eq!(shown(&cells), ["r f:v 1 a"]);
    assert_eq!(bad.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 3, 4]);
    assert!(bad[0].1.contains("empty") && bad[2].1.contains("timestamp -4"), "{bad:?}");
}

#[test]
fn folders_give_columns() {
    let file = || {
        let columns = vec![("k", of(StringArray::from(vec!["r"]))), ("v", of(StringArray::from(vec!["x"])))];
        write(columns, WriterProperties::default())
    };
    let partitions = [("day".to_owned(), Some("2024-01-01".to_owned())), ("n".to_owned(), None)];
    let of_columns = |columns| shown(&read(file(), Some(columns), &partitions, with_bytes()).expect("read").0);
    assert_eq!(of_columns("HBASE_ROW_KEY,f:v,f:day,f:n"), ["r f:v 7 x", "r f:day 7 2024-01-01"]);
    assert_eq!(of_columns("HBASE_ROW_KEY,f:v"), ["r f:v 7 x"]);
    assert_eq!(of_columns("day=HBASE_ROW_KEY,k=f:k,n=HBASE_TS_KEY"), ["2024-01-01 f:k 7 r"]);
    let twice = [("v".to_owned(), Some("y".to_owned()))];
    assert!(refused(file(), Some("k=HBASE_ROW_KEY,v=f:v"), &twice).contains("one column `v`"));
}

#[test]
fn nested_columns_are_refused_by_name_and_may_be_left_out() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), Some(2)]), Some([None, Some(3)])]);
    let columns = || {
        let key = of(StringArray::from(vec!["r1", "r2"]));
        vec![("k", key.clone()), ("list", of(list.clone())), ("v", key), ("none", of(NullArray::new(2)))]
    };
    let file = || write(columns(), WriterProperties::default());
    let error = refused(file(), Some("HBASE_ROW_KEY,f:list,f:v,f:n"), &[]);
    assert!(error.contains("column `list` is nested"), "{error}");
    assert_eq!(all(file(), "k=HBASE_ROW_KEY,v=f:v,none=f:n", SETTINGS), ["r1 f:v 7 r1", "r2 f:v 7 r2"]);
}

fn cells_file(cells: &[Record<'_>], properties: WriterProperties) -> Vec<u8> {
    let (mut rows, mut columns, mut values) = (BinaryBuilder::new(), BinaryBuilder::new(), BinaryBuilder::new());
    for (row, column, _, _, value) in cells {
        rows.append_value(row);
        columns.append_value(column);
        values.append_value(value);
    }
    let list = vec![
        ("row", of(rows.finish())),
        ("column", of(columns.finish())),
        ("timestamp", of(Int64Array::from(cells.iter().map(|cell| cell.2).collect::<Vec<_>>()))),
        ("type", of(StringArray::from(cells.iter().map(|cell| cell.3).collect::<Vec<_>>()))),
        ("value", of(values.finish())),
    ];
    write(list, properties)
}

#[test]
fn files_of_cells_may_lie_in_folders_of_their_family() {
    let cell = |column: &str| (b"r".to_vec(), column.as_bytes().to_vec(), 5, "Put", b"v".to_vec());
    let file = cells_file(&[cell("f:a"), cell("g:b")], WriterProperties::default());
    let partitions = [("family".to_owned(), Some("f".to_owned())), ("day".to_owned(), Some("1".to_owned()))];
    let (cells, bad) = read(file, None, &partitions, SETTINGS).expect("read");
    assert_eq!(shown(&cells), ["r f:a 5 v"]);
    assert!(bad.len() == 1 && bad[0].1.contains("another family"), "{bad:?}");
    let bad_type = (b"r".to_vec(), b"f:a".to_vec(), 5, "put", Vec::new());
    let (_, bad) = read(cells_file(&[bad_type], WriterProperties::default()), None, &[], SETTINGS).expect("read");
    assert!(bad[0].1.contains("type `put`"), "{bad:?}");
}

fn packings() -> [(Compression, WriterVersion); 7] {
    let gzip = Compression::GZIP(parquet::basic::GzipLevel::default());
    let zstd = Compression::ZSTD(parquet::basic::ZstdLevel::default());
    let (one, two) = (WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0);
    [
        (Compression::UNCOMPRESSED, one),
        (Compression::SNAPPY, one),
        (Compression::SNAPPY, two),
        (gzip, two),
        (zstd, one),
        (Compression::LZ4_RAW, two),
        (Compression::LZ4, one),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn cells_come_back_as_they_were(
        cells in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 1..12), prop::collection::vec(any::<u8>(), 0..6), 0..i64::MAX, 0..5_usize,
                prop::collection::vec(any::<u8>(), 0..60)),
            0..120,
        ),
        packing in 0..7_usize,
        rows_of_group in 1..80_usize,
        prefixes in any::<bool>(),
    ) {
        let types = [
            ("Put", CellType::PUT), ("Delete", CellType::DELETE), ("DeleteColumn", CellType::DELETE_COLUMN),
            ("DeleteFamily", CellType::DELETE_FAMILY), ("DeleteFamilyVersion", CellType::DELETE_FAMILY_VERSION),
        ];
        let mut wanted = Vec::new();
        let cells: Vec<_> = cells.into_iter().map(|(row, qualifier, time, kind, value)| {
            let (name, kind) = types[kind];
            let value = if kind == CellType::PUT { value } else { Vec::new() };
            let of_family = matches!(kind, CellType::DELETE_FAMILY | CellType::DELETE_FAMILY_VERSION);
            let qualifier = if of_family { Vec::new() } else { qualifier };
            wanted.push(Cell::new(&row, b"f", &qualifier, time, kind, &value).expect("a cell"));
            (row, [&b"f:"[..], &qualifier].concat(), time, name, value)
        }).collect();
        let (compression, version) = packings()[packing];
        let mut properties = WriterProperties::builder().set_compression(compression).set_writer_version(version)
            .set_max_row_group_row_count(Some(rows_of_group)).set_data_page_row_count_limit(16).set_write_batch_size(8);
        // Such pages in the LZ4 that Hadoop once had are refused.
        if prefixes && compression != Compression::LZ4 {
            let path = ColumnPath::from("value");
            properties = properties.set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BYTE_ARRAY);
        }
        let (found, bad) = read(cells_file(&cells, properties.build()), None, &[], SETTINGS).expect("read");
        prop_assert!(bad.is_empty());
        let bytes = |cells: &[Cell]| cells.iter().map(|cell| cell.bytes().clone()).collect::<Vec<_>>();
        prop_assert_eq!(bytes(&found), bytes(&wanted));
    }
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    let row = |at: usize| (format!("row{at}").into_bytes(), b"f:q".to_vec(), at as i64, "Put", vec![at as u8; at % 40]);
    let cells: Vec<_> = (0..60).map(row).collect();
    for (compression, version) in packings() {
        let properties = WriterProperties::builder().set_compression(compression).set_writer_version(version);
        let file = cells_file(&cells, properties.build());
        for len in 0..file.len() {
            let error = refused(file[..len].to_vec(), None, &[]);
            assert!(error.contains("file=`x`, offset="), "{compression:?} {len}: {error}");
        }
        for at in 0..file.len() {
            for change in [0xff, 0x80, 1] {
                let mut hurt = file.clone();
                hurt[at] ^= change;
                if let Err(error) = read(hurt, None, &[], SETTINGS) {
                    assert!(error.to_string().contains('x'), "{compression:?} {at}: {error}");
                }
            }
        }
    }
}

#[test]
fn what_takes_more_memory_than_it_may_is_refused() {
    let small = Settings { memory_bytes: 4 << 20, ..SETTINGS };
    let big = vec![b'x'; 6 << 20];
    for compression in [Compression::UNCOMPRESSED, Compression::GZIP(parquet::basic::GzipLevel::default())] {
        let properties = WriterProperties::builder().set_compression(compression).set_dictionary_enabled(false);
        let cell = (b"r".to_vec(), b"f:q".to_vec(), 1, "Put", big.clone());
        let file = cells_file(&[cell], properties.build());
        assert_eq!(read(file.clone(), None, &[], SETTINGS).expect("enough").0[0].value().len(), big.len());
        let error = read(file, None, &[], small).expect_err("too large").to_string();
        assert!(error.contains("give more --memory"), "{compression:?}: {error}");
    }
    // Many columns together.
    let names: Vec<String> = (0..8).map(|at| format!("c{at}")).collect();
    let column = of(StringArray::from(vec!["y".repeat(900 << 10)]));
    let columns = names.iter().map(|name| (name.as_str(), column.clone())).collect();
    let properties = WriterProperties::builder().set_dictionary_enabled(false);
    let file = write(columns, properties.build());
    let list: Vec<String> = (1..8).map(|at| format!("f:{at}")).collect();
    let columns = format!("HBASE_ROW_KEY,{}", list.join(","));
    let error = read(file, Some(&columns), &[], small).expect_err("too large").to_string();
    assert!(error.contains("name fewer columns"), "{error}");
}

#[test]
fn times_with_a_zone_are_those_of_greenwich() {
    let time = TimestampMicrosecondArray::from(vec![1_700_000_000_000_000]).with_timezone("+05:30");
    let array: ArrayRef = of(time);
    let prepared = values::prepared(&array);
    let text = Column::new(&*prepared, Values::Text).expect("text");
    assert_eq!(text.value(0, &mut Vec::new()).expect("good"), Some(&b"2023-11-14T22:13:20Z"[..]));
    assert_eq!(prepared.as_primitive::<TimestampMicrosecondType>().value(0), 1_700_000_000_000_000);
}

/// By pyarrow with `use_deprecated_int96_timestamps`, as Spark and Hive write times.
#[test]
fn old_times_keep_their_years() {
    let file = include_bytes!("../../golden/int96.parquet").to_vec();
    let (cells, bad) = read(file, Some("HBASE_ROW_KEY,f:at"), &[], SETTINGS).expect("read");
    let values: Vec<_> = cells.iter().map(|cell| cell.value().escape_ascii().to_string()).collect();
    assert_eq!(values, ["2026-11-22T01:02:03.000004", "9999-12-31T00:00:00", "1583-01-01T00:00:00"]);
    assert!(bad.is_empty());
}
