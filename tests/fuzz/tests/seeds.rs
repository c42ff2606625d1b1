//! Makes the corpora anew that programs write.

use std::sync::Arc;

use bytes::Bytes;
use ferrobase_fuzz::TARGETS;
use filesystem::Filesystem;
use filesystem::memory::MemoryFilesystem;
use gateway::thrift::{Api, Settings, parse};
use model::mutation::Nonce;
use model::schema::{BloomType, Compression, DataBlockEncoding};
use model::{Cell, CellType, SeqNo};
use runtime::Runtime;
use runtime::random::{Random, SeededRandom};
use storage::file::writer::{FileMeta, HFileWriter, WriterOptions};
use storage::manifest::{self, FamilyState, FileEntry, LoadEntry, ManifestHandle, MovingFile};
use storage::wal::{Log, LogSettings, StreamId, fence};
use thrift::protocol::{
    TBinaryOutputProtocol, TCompactOutputProtocol, TFieldIdentifier, TListIdentifier, TMapIdentifier,
    TMessageIdentifier, TMessageType, TOutputProtocol, TStructIdentifier, TType,
};

fn write(target: &str, name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|known| known.name == target).expect("a target");
    (target.run)(data);
    std::fs::create_dir_all(target.corpus()).expect("a folder");
    std::fs::write(target.corpus().join(name), data).expect("written");
}

/// A value of Thrift; lists and maps have elements of one kind.
enum Value {
    Flag(bool),
    Int(i32),
    Long(i64),
    Text(&'static str),
    Struct(Vec<(i16, Value)>),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

use Value::{Flag, Int, Long, Struct, Text};

impl Value {
    fn kind(&self) -> TType {
        match self {
            Flag(_) => TType::Bool,
            Int(_) => TType::I32,
            Long(_) => TType::I64,
            Text(_) => TType::String,
            Struct(_) => TType::Struct,
            Value::List(_) => TType::List,
            Value::Map(_) => TType::Map,
        }
    }

    fn write(&self, out: &mut dyn TOutputProtocol) -> thrift::Result<()> {
        let size = |len: usize| i32::try_from(len).expect("few");
        match self {
            Flag(value) => out.write_bool(*value),
            Int(value) => out.write_i32(*value),
            Long(value) => out.write_i64(*value),
            Text(value) => out.write_bytes(value.as_bytes()),
            Struct(fields) => {
                out.write_struct_begin(&TStructIdentifier::new("s"))?;
                for (id, value) in fields {
                    out.write_field_begin(&TFieldIdentifier::new("f", value.kind(), *id))?;
                    value.write(out)?;
                    out.write_field_end()?;
                }
                out.write_field_stop()?;
                out.write_struct_end()
            }
            Value::List(values) => {
                out.write_list_begin(&TListIdentifier::new(values[0].kind(), size(values.len())))?;
                values.iter().try_for_each(|value| value.write(out))?;
                out.write_list_end()
            }
            Value::Map(pairs) => {
                out.write_map_begin(&TMapIdentifier::new(pairs[0].0.kind(), pairs[0].1.kind(), size(pairs.len())))?;
                pairs.iter().try_for_each(|(key, value)| key.write(out).and_then(|()| value.write(out)))?;
                out.write_map_end()
            }
        }
    }
}

fn fields(values: impl IntoIterator<Item = Value>) -> Value {
    Struct((1..).zip(values).collect())
}

fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::List(values.into_iter().collect())
}

fn call(out: &mut dyn TOutputProtocol, name: &str, args: &Value) -> thrift::Result<()> {
    out.write_message_begin(&TMessageIdentifier::new(name, TMessageType::Call, 7))?;
    args.write(out)?;
    out.write_message_end()?;
    out.flush()
}

fn calls() -> Vec<(Api, &'static str, Value)> {
    let attributes = || Value::Map(vec![(Text("a"), Text("1")), (Text("b"), Text("2"))]);
    let change = |column, value| fields([Flag(false), Text(column), Text(value), Flag(true)]);
    let changes = || list([change("f:a", "1"), change("f:b", "2")]);
    let cell = |qualifier, value| fields([Text("f"), Text(qualifier), Text(value), Long(5)]);
    let put =
        || Struct(vec![(1, Text("r")), (2, list([cell("a", "1"), cell("b", "2")])), (5, attributes()), (6, Int(2))]);
    let delete = || Struct(vec![(1, Text("r")), (2, list([fields([Text("f"), Text("a")])])), (4, Int(0))]);
    let rows = || {
        let changes = list([Struct(vec![(1, put())]), Struct(vec![(2, delete())])]);
        fields([Text("r"), changes])
    };
    let family = || {
        Struct(vec![(1, Text("f")), (2, attributes()), (4, Int(65536)), (5, Int(1)), (10, Int(3)), (16, Flag(true))])
    };
    let scan = || {
        let columns = list([fields([Text("f"), Text("a")]), fields([Text("g")])]);
        Struct(vec![
            (1, Text("a")),
            (2, Text("z")),
            (3, columns),
            (4, Int(10)),
            (6, fields([Long(0), Long(9)])),
            (7, Text("PageFilter(5)")),
            (11, Flag(false)),
        ])
    };
    let one = Api::One;
    let two = Api::Two;
    vec![
        (one, "getTableNames", Struct(vec![])),
        (
            one,
            "createTable",
            fields([Text("t"), list([fields([Text("f:"), Int(3), Text("GZ"), Flag(false), Text("ROW")])])]),
        ),
        (one, "mutateRow", fields([Text("t"), Text("r"), changes(), attributes()])),
        (
            one,
            "mutateRows",
            fields([Text("t"), list([fields([Text("r1"), changes()]), fields([Text("r2"), changes()])]), attributes()]),
        ),
        (one, "incrementRows", fields([list([fields([Text("t"), Text("r"), Text("f:n"), Long(1)])])])),
        (one, "get", fields([Text("t"), Text("r"), Text("f:a"), attributes()])),
        (
            one,
            "scannerOpenWithScan",
            fields([
                Text("t"),
                Struct(vec![
                    (1, Text("a")),
                    (3, Long(9)),
                    (4, list([Text("f:a"), Text("g")])),
                    (5, Int(10)),
                    (6, Text("KeyOnlyFilter()")),
                    (9, Flag(true)),
                ]),
                attributes(),
            ]),
        ),
        (
            one,
            "checkAndPut",
            Struct(vec![
                (1, Text("t")),
                (2, Text("r")),
                (3, Text("f:a")),
                (5, Text("1")),
                (6, change("f:a", "2")),
                (7, attributes()),
            ]),
        ),
        (two, "put", fields([Text("t"), put()])),
        (
            two,
            "get",
            fields([
                Text("t"),
                Struct(vec![
                    (1, Text("r")),
                    (2, list([fields([Text("f"), Text("a"), Long(3)])])),
                    (4, fields([Long(0), Long(9)])),
                    (5, Int(2)),
                ]),
            ]),
        ),
        (two, "getScannerResults", fields([Text("t"), scan(), Int(20)])),
        (two, "mutateRow", fields([Text("t"), rows()])),
        (two, "checkAndMutate", fields([Text("t"), Text("r"), Text("f"), Text("a"), Int(2), Text("1"), rows()])),
        (
            two,
            "createTable",
            fields([
                Struct(vec![
                    (1, fields([Text("ns"), Text("t")])),
                    (2, list([family()])),
                    (3, attributes()),
                    (4, Int(0)),
                ]),
                list([Text("m"), Text("t")]),
            ]),
        ),
    ]
}

#[test]
#[ignore = "writes into the repository: run when a format or the calls change"]
fn thrift_calls() {
    for (api, name, args) in calls() {
        let (mut binary, mut old, mut compact) = (Vec::new(), Vec::new(), Vec::new());
        call(&mut TBinaryOutputProtocol::new(&mut binary, true), name, &args).expect("written");
        call(&mut TBinaryOutputProtocol::new(&mut old, false), name, &args).expect("written");
        call(&mut TCompactOutputProtocol::new(&mut compact), name, &args).expect("written");
        for (wire, message) in [("binary", binary), ("old", old), ("compact", compact)] {
            for framed in [false, true] {
                let mut data = if framed { (message.len() as u32).to_be_bytes().to_vec() } else { Vec::new() };
                data.extend_from_slice(&message);
                // Two calls on one connection.
                data.extend_from_within(..);
                let (calls, end) = parse(api, &Settings::default(), &data);
                let again: Vec<_> = calls.iter().map(|call| call.again.as_deref()).collect();
                assert!(end.is_none() && again == [Ok(&message[..]); 2], "{name} {wire}: {end:?} {again:?}");
                let frame = if framed { "framed" } else { "buffered" };
                write("thrift", &format!("{}-{name}-{frame}-{wire}", api.name().to_lowercase()), &data);
            }
        }
    }
}

#[test]
#[ignore = "writes into the repository: run when a format or the calls change"]
fn store_files() {
    use DataBlockEncoding::{FastDiff, None as Plain, RowIndexV1};
    for (name, compression, encoding, bloom, tags, index_block_size) in [
        ("none", Compression::None, Plain, BloomType::Row, false, 131_072),
        ("none-levels", Compression::None, Plain, BloomType::RowCol, true, 128),
        ("gz-fast-diff", Compression::Gz, FastDiff, BloomType::None, true, 131_072),
        ("lz4-row-index", Compression::Lz4, RowIndexV1, BloomType::Row, false, 128),
        ("zstd-fast-diff", Compression::Zstd, FastDiff, BloomType::RowCol, false, 131_072),
        ("snappy", Compression::Snappy, Plain, BloomType::None, true, 131_072),
    ] {
        let options = WriterOptions {
            compression,
            encoding,
            bloom,
            tags,
            index_block_size,
            block_size: 300,
            column_filter: !tags,
            ..WriterOptions::default()
        };
        let mut writer = HFileWriter::new(options);
        for row in 0..12 {
            let key = format!("row{row:05}");
            let tag: &[u8] = if tags && row % 3 == 0 { b"\0\x04\x05abc" } else { b"" };
            if tags && row % 4 == 0 {
                let marker = Cell::new(key.as_bytes(), b"f", b"", 900, CellType::DELETE_FAMILY, b"").expect("a cell");
                writer.append(marker.with_seqno(SeqNo(5)).as_ref()).expect("in order");
            }
            for qualifier in [&b"a"[..], b"bb"] {
                let value = format!("value {:04}", row * 7919 % 1000);
                let cell =
                    Cell::with_tags(key.as_bytes(), b"f", qualifier, 1000 + row, CellType::PUT, value.as_bytes(), tag);
                writer.append(cell.expect("a cell").with_seqno(SeqNo(100 + row as u64)).as_ref()).expect("in order");
            }
        }
        writer.add_meta(storage::nonce::META_NAME, storage::nonce::encode(&[Nonce { group: 9, nonce: 1 }]));
        writer.finish(&FileMeta { max_seq_id: 4242, ..FileMeta::default() }).expect("a file");
        write("hfile", name, &writer.take());
    }
}

#[tokio::test]
#[ignore = "writes into the repository: run when a format or the calls change"]
async fn logs() {
    const STREAM: u64 = 5;
    for pieces in [false, true] {
        let fs: Arc<dyn Filesystem> =
            Arc::new(if pieces { MemoryFilesystem::without_appends() } else { MemoryFilesystem::new() });
        let log = Log::create(fs.clone(), Runtime::system(), LogSettings::default(), STREAM).await.expect("a stream");
        let mut tickets = Vec::new();
        for seqno in 1..=6u64 {
            let region = Bytes::from_static(if seqno % 3 == 0 { b"b" } else { b"a" });
            let nonce = (seqno % 2 == 0).then_some(Nonce { group: 1, nonce: seqno });
            let cell = Cell::put(format!("row{seqno}").as_bytes(), b"f", b"q", 7, b"value").expect("a cell");
            let ticket = log.submit(&region, SeqNo(seqno), 5, nonce, &[cell]).expect("submitted");
            // Pieces hold several entries, segments several groups.
            if pieces { tickets.push(ticket) } else { ticket.durable().await.expect("durable") }
        }
        for ticket in tickets {
            ticket.durable().await.expect("durable");
        }
        let folder = format!("ferrobase/log/{STREAM:016x}");
        for (letter, found) in [("s", "s"), ("p", "p")] {
            let path = format!("{folder}/{found}/{:016x}", 1);
            let Some(size) = fs.size(&path).await.expect("asked") else { continue };
            let data = fs.read_at(&path, 0, size as usize).await.expect("read");
            write("log", &format!("live-{letter}"), &[letter.as_bytes(), &data].concat());
        }
        log.close().await;
        fence(&fs, STREAM).await.expect("ended");
        let head = fs.register_read(&format!("{folder}/head")).await.expect("read").expect("a head");
        write("log", if pieces { "ended-pieces" } else { "ended-segments" }, &[&b"e"[..], &head.body].concat());
        let path = format!("{folder}/s/{:016x}", 1);
        if !pieces && let Some(size) = fs.size(&path).await.expect("asked") {
            let data = fs.read_at(&path, 0, size as usize).await.expect("read");
            write("log", "closed-s", &[&b"s"[..], &data].concat());
        }
    }
}

#[tokio::test]
#[ignore = "writes into the repository: run when a format or the calls change"]
async fn manifests() {
    let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
    let random: Arc<dyn Random> = Arc::new(SeededRandom::new(1));
    let info = model::region::RegionInfo::new(
        "t".parse().expect("a name"),
        Bytes::from_static(b"b"),
        Bytes::from_static(b"m"),
        1,
    );
    let name = info.encoded_name();
    let families = [Bytes::from_static(b"f"), Bytes::from_static(b"g")];
    ManifestHandle::create(&fs, &random, "tid", &info, families, 1).await.expect("created");
    let path = manifest::path("tid", &name);
    let mut handle = ManifestHandle::load(&fs, &random, "tid", &name).await.expect("read").expect("there");
    let save = async |step: &str| {
        let value = fs.register_read(&path).await.expect("read").expect("there");
        write("manifest", step, &[value.head.as_bytes(), b"\n", &value.body].concat());
    };
    save("new").await;
    for stream in 0..6u32 {
        handle
            .claim(2 + u64::from(stream), StreamId { root: stream % 2, stream: 100 + u64::from(stream) }, &[])
            .await
            .expect("claimed");
    }
    save("claimed").await;
    let file = |name: &str, loaded_ms| FileEntry {
        name: name.to_owned(),
        size: 5000,
        max_seq: SeqNo(9),
        cells: 12,
        major: true,
        loaded_ms,
    };
    let moving = MovingFile {
        family: Bytes::from_static(b"f"),
        name: "x".to_owned(),
        was: "in/x".to_owned(),
        size: 1,
        cells: 1,
    };
    let load = LoadEntry { id: "load-1".to_owned(), at_ms: 5, seqno: SeqNo(0), moving: vec![moving] };
    let change = |manifest: &mut manifest::Manifest| {
        manifest.seq_floor = SeqNo(77);
        manifest.families.insert(
            Bytes::from_static(b"f"),
            FamilyState { flushed: SeqNo(9), files: vec![file("a", 0), file("b", 1234)] },
        );
        manifest.loads.push(load);
    };
    handle.commit(change).await.expect("committed");
    save("loads").await;
    handle.retire(99).await.expect("retired");
    save("retired").await;
}
