//! Recorded calls about rows go through the model and give the same bytes again, in messages and in cell blocks.

use bytes::{Bytes, BytesMut};
use ferrobase_protocol::cell_block::CellBlock;
use ferrobase_protocol::messages as pb;
use ferrobase_protocol::mutation::{condition_from, condition_to, mutation_from, mutation_inline, mutation_to, skip};
use ferrobase_protocol::result::{exists_to, result_from, result_inline, result_to, scanned_from, scanned_to};
use model::mutation::{Durability, MutationKind};
use model::{CellType, ErrorKind};
use prost::Message;
use serde_json::Value;

pub const ROWS: &str = include_str!("../golden/rows.jsonl");

pub struct Recorded {
    pub client: String,
    pub op: String,
    pub method: String,
    pub request: Bytes,
    pub request_cells: Bytes,
    pub response: Option<Bytes>,
    pub response_cells: Bytes,
}

pub fn calls() -> impl Iterator<Item = Recorded> {
    ROWS.lines().map(|line| {
        let call: Value = serde_json::from_str(line).expect("json");
        let word = |key: &str| call[key].as_str().unwrap_or_default().to_owned();
        let bytes = |key: &str| Bytes::from(hex::decode(word(key)).expect("hex"));
        Recorded {
            client: word("client"),
            op: word("op"),
            method: word("method"),
            request: bytes("request"),
            request_cells: bytes("request_cells"),
            response: call["response"].as_str().map(|_| bytes("response")),
            response_cells: bytes("response_cells"),
        }
    })
}

/// Attributes are a map; their order means nothing.
fn sorted(mut message: pb::MutationProto) -> pb::MutationProto {
    message.attribute.sort_by(|a, b| a.name.cmp(&b.name));
    message
}

/// Through the model and back, cells where they were.
fn again(message: &pb::MutationProto, block: &mut CellBlock, out: &mut BytesMut, what: &str) -> pb::MutationProto {
    let (read, nonce) = mutation_from(message, block, 7).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(nonce.is_none_or(|nonce| nonce.group == 7 && nonce.nonce != 0), "{what}");
    let nonce = nonce.map(|nonce| nonce.nonce);
    let inline = mutation_inline(&read, nonce);
    let back = mutation_from(&inline, &mut CellBlock::new(Bytes::new()), 7).expect("inline");
    assert_eq!(back.0, read, "{what} written without block");
    if message.associated_cell_count() > 0 { mutation_to(&read, nonce, out) } else { inline }
}

/// What clients leave out or say twice, made alike; all that remains must be equal.
fn plain(message: &pb::MutationProto) -> pb::MutationProto {
    let mut message = sorted(message.clone());
    message.timestamp.get_or_insert(i64::MAX as u64);
    message.durability.get_or_insert(0);
    message.time_range = message.time_range.filter(|range| (range.from(), range.to()) != (0, i64::MAX as u64));
    message.nonce = message.nonce.filter(|nonce| *nonce != 0);
    message.associated_cell_count = message.associated_cell_count.filter(|count| *count > 0);
    // To return results is the default.
    message.attribute.retain(|pair| pair.name != "_rr_" || pair.value.as_deref() == Some(&[0]));
    for part in message.column_value.iter_mut().flat_map(|column| &mut column.qualifier_value) {
        part.timestamp.get_or_insert(i64::MAX as u64);
        part.value.get_or_insert_default();
        part.qualifier.get_or_insert_default();
    }
    message
}

#[test]
fn recorded_mutations_come_back_as_they_were() {
    let (mut single, mut same_bytes, mut many, mut conditions) = (0, 0, 0, 0);
    let mut check = |condition: &pb::Condition, what: &str| {
        let (row, read) = condition_from(condition).unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut expected = condition.clone();
        expected.time_range.get_or_insert(pb::TimeRange { from: Some(0), to: Some(i64::MAX as u64) });
        for comparator in
            expected.comparator.iter_mut().filter(|it| it.serialized_comparator.as_deref() == Some(b"\n\0"))
        {
            // A value left out is an empty one.
            comparator.serialized_comparator = Some(Bytes::from_static(b"\n\x02\n\0"));
        }
        assert_eq!(condition_to(row, &read), expected, "{what}");
        conditions += 1;
    };
    for call in calls() {
        let what = format!("{} {}", call.client, call.op);
        let mut block = CellBlock::new(call.request_cells.clone());
        let mut out = BytesMut::new();
        match call.method.as_str() {
            "Mutate" => {
                let request = pb::MutateRequest::decode(call.request).expect("request");
                if let Some(condition) = &request.condition {
                    check(condition, &what);
                }
                let made = again(&request.mutation, &mut block, &mut out, &what);
                assert_eq!(plain(&made), plain(&request.mutation), "{what}");
                same_bytes += usize::from(made.encode_to_vec() == request.mutation.encode_to_vec());
                single += 1;
            }
            "Multi" => {
                let request = pb::MultiRequest::decode(call.request).expect("request");
                let mut skipped = CellBlock::new(call.request_cells.clone());
                for action in request.region_action.iter().flat_map(|actions| &actions.action) {
                    let Some(mutation) = &action.mutation else { continue };
                    let made = again(mutation, &mut block, &mut out, &what);
                    assert_eq!(plain(&made), plain(mutation), "{what}");
                    skip(mutation, &mut skipped).expect("skip");
                    same_bytes += usize::from(made.encode_to_vec() == mutation.encode_to_vec());
                    many += 1;
                }
                let conditions = request.region_action.iter().filter_map(|actions| actions.condition.as_ref());
                conditions.chain(&request.condition).for_each(|condition| check(condition, &what));
                assert!(block.is_empty() && skipped.is_empty(), "{what}: cells are left");
            }
            _ => continue,
        }
        assert_eq!(hex::encode(out), hex::encode(call.request_cells), "{what}: cells");
    }
    assert!(
        single >= 80 && many >= 70 && conditions >= 30,
        "{single} single, {many} in batches, {conditions} conditions"
    );
    assert!(same_bytes >= 140, "only {same_bytes} of {} are byte for byte", single + many);
}

/// A result written as it was sent: in the block, in the message, or only yes or no.
fn result_again(message: &pb::Result, block: &mut CellBlock, out: &mut BytesMut, what: &str) -> pb::Result {
    let cells = result_from(message, block).unwrap_or_else(|error| panic!("{what}: {error}"));
    match message.exists {
        Some(found) => exists_to(found),
        None if message.associated_cell_count.is_some() => result_to(&cells, out),
        None => result_inline(&cells),
    }
}

#[test]
fn recorded_results_are_written_again_to_the_same_bytes() {
    let (mut results, mut rows) = (0, 0);
    for call in calls() {
        let what = format!("{} {} {}", call.client, call.method, call.op);
        let Some(response) = call.response else { continue };
        let mut block = CellBlock::new(call.response_cells.clone());
        let mut out = BytesMut::new();
        let same = |result: &mut pb::Result, block: &mut CellBlock, out: &mut BytesMut| {
            *result = result_again(result, block, out, &what);
        };
        let made = match call.method.as_str() {
            "Get" => {
                let mut message = pb::GetResponse::decode(response.clone()).expect("response");
                message.result.iter_mut().for_each(|result| same(result, &mut block, &mut out));
                results += message.result.iter().len();
                message.encode_to_vec()
            }
            "Mutate" => {
                let mut message = pb::MutateResponse::decode(response.clone()).expect("response");
                message.result.iter_mut().for_each(|result| same(result, &mut block, &mut out));
                results += message.result.iter().len();
                message.encode_to_vec()
            }
            "Multi" => {
                let mut message = pb::MultiResponse::decode(response.clone()).expect("response");
                let entries =
                    message.region_action_result.iter_mut().flat_map(|region| &mut region.result_or_exception);
                for result in entries.filter_map(|entry| entry.result.as_mut()) {
                    same(result, &mut block, &mut out);
                    results += 1;
                }
                message.encode_to_vec()
            }
            _ => {
                let mut message = pb::ScanResponse::decode(response.clone()).expect("response");
                let scanned = scanned_from(&message, &mut block).unwrap_or_else(|error| panic!("{what}: {error}"));
                rows += scanned.len();
                if message.results.is_empty() {
                    message.cells_per_result.clear();
                    message.partial_flag_per_result.clear();
                    scanned_to(&scanned, &mut message, &mut out);
                } else {
                    message.results = scanned
                        .iter()
                        .map(|(cells, partial)| pb::Result { partial: Some(*partial), ..result_inline(cells) })
                        .collect();
                }
                message.encode_to_vec()
            }
        };
        assert!(block.is_empty(), "{what}: cells are left");
        assert_eq!(hex::encode(made), hex::encode(&response), "{what}");
        assert_eq!(hex::encode(out), hex::encode(&call.response_cells), "{what}: cells");
    }
    assert!(results >= 100 && rows >= 300, "only {results} results and {rows} rows were checked");
}

fn put_of(value: Option<&'static str>) -> pb::MutationProto {
    use ferrobase_protocol::messages::mutation_proto::{ColumnValue, MutationType, column_value::QualifierValue};
    let part =
        QualifierValue { qualifier: Some("q".into()), value: value.map(Bytes::from), ..QualifierValue::default() };
    pb::MutationProto {
        row: Some("r".into()),
        mutate_type: Some(MutationType::Put.into()),
        column_value: vec![ColumnValue { family: "f".into(), qualifier_value: vec![part] }],
        ..pb::MutationProto::default()
    }
}

fn read(message: &pb::MutationProto) -> Result<model::mutation::Mutation, ferrobase_protocol::service::RpcError> {
    mutation_from(message, &mut CellBlock::new(Bytes::new()), 0).map(|(mutation, _)| mutation)
}

#[test]
fn what_is_left_out_means_the_default() {
    let mut message = put_of(Some(""));
    assert_eq!(read(&message).expect("put").cells[0].timestamp(), i64::MAX);
    message.timestamp = Some(5);
    let made = read(&message).expect("put");
    assert_eq!((made.cells[0].timestamp(), made.durability, made.return_results), (5, Durability::UseDefault, true));
    message.column_value[0].qualifier_value[0].timestamp = Some(6);
    assert_eq!(read(&message).expect("put").cells[0].timestamp(), 6);
    // A marker inside a put.
    message.column_value[0].qualifier_value[0].delete_type = Some(1);
    assert_eq!(read(&message).expect("put").cells[0].cell_type(), CellType::DELETE_COLUMN);
    // A delete without a type of its own removes one version, the newest if it has no time either.
    let mut message = put_of(None);
    message.mutate_type = Some(3);
    message.timestamp = Some(5);
    let made = read(&message).expect("delete");
    assert_eq!((made.cells[0].cell_type(), made.cells[0].timestamp()), (CellType::DELETE, i64::MAX));
    message.column_value.clear();
    let made = read(&message).expect("delete");
    assert_eq!((made.kind, made.timestamp, made.cells.len()), (MutationKind::Delete, 5, 0));
    message.nonce = Some(0);
    assert!(mutation_from(&message, &mut CellBlock::new(Bytes::new()), 9).expect("delete").1.is_none());
}

#[test]
fn attributes_that_mean_something_are_taken_out() {
    let pair =
        |name: &str, value: &'static [u8]| pb::NameBytesPair { name: name.to_owned(), value: Some(value.into()) };
    let mut message = put_of(Some("v"));
    message.mutate_type = Some(0);
    message.attribute = vec![pair("_ttl", &[0, 0, 0, 0, 0, 0, 3, 0xe8]), pair("_rr_", &[0]), pair("_cs.id", b"x")];
    let made = read(&message).expect("append");
    assert_eq!((made.ttl_ms, made.return_results), (Some(1000), false));
    assert_eq!(made.attributes, [("_cs.id".to_owned(), Bytes::from_static(b"x"))]);
    message.attribute = vec![pair("_rr_", &[0xff])];
    assert!(read(&message).expect("append").return_results);
    message.attribute = vec![pair("_ttl", &[1])];
    assert!(read(&message).is_err());
}

#[test]
fn wrong_mutations_are_refused_and_never_retried() {
    let refused = |change: fn(&mut pb::MutationProto), text: &str| {
        let mut message = put_of(Some("v"));
        change(&mut message);
        let error = read(&message).expect_err(text);
        assert!(error.kind == ErrorKind::Invalid && error.message.contains(text), "{text}: {error:?}");
        assert_eq!(error.short_class(), "DoNotRetryIOException");
    };
    refused(|put| put.column_value[0].qualifier_value[0].value = None, "Missing required field: qualifier value");
    refused(|put| put.row = None, "no row");
    refused(|put| put.row = Some(Bytes::new()), "row is empty");
    refused(|put| put.row = Some(vec![b'r'; 32768].into()), "longer than 32767");
    refused(|put| put.mutate_type = None, "no type");
    refused(|put| put.mutate_type = Some(9), "no type");
    refused(|put| put.timestamp = Some(u64::MAX), "negative");
    refused(|put| put.column_value[0].qualifier_value[0].timestamp = Some(1 << 63), "negative");
    refused(|put| put.column_value[0].family = vec![b'f'; 200].into(), "family is too long");
    refused(|put| put.column_value[0].qualifier_value[0].tags = Some("x".into()), "tags");
    refused(|put| put.associated_cell_count = Some(i32::MAX), "count=`2147483647`, found=`0`");
    refused(|put| put.time_range = Some(pb::TimeRange { from: Some(5), to: Some(4) }), "time range");
}

#[test]
fn a_cell_of_another_row_is_refused() {
    let mut block = BytesMut::new();
    let cell = model::Cell::put(b"other", b"f", b"q", 1, b"v").expect("cell");
    ferrobase_protocol::cell_block::put(&mut block, &cell);
    let mut message = put_of(None);
    message.associated_cell_count = Some(1);
    let error = mutation_from(&message, &mut CellBlock::new(block.clone().freeze()), 0).expect_err("refused");
    assert!(error.message.contains("cell=`other`, mutation=`r`"), "{error}");
    // Without a row of its own the mutation takes that of its cells.
    message.row = None;
    let (mutation, _) = mutation_from(&message, &mut CellBlock::new(block.freeze()), 0).expect("put");
    assert_eq!((mutation.row.as_ref(), mutation.cells), (&b"other"[..], vec![cell]));
}

#[test]
fn cells_with_tags_stay_in_the_message() {
    let tags = [0, 9, 8, 0, 0, 0, 0, 0, 0, 0xea, 0x60];
    let mut put = model::mutation::Mutation::new(MutationKind::Put, "r");
    put.cells.push(model::Cell::with_tags(b"r", b"f", b"q", 1, CellType::PUT, b"v", &tags).expect("cell"));
    let mut block = BytesMut::new();
    let message = mutation_to(&put, None, &mut block);
    assert!(block.is_empty());
    assert_eq!(read(&message).expect("put"), put);
}

#[test]
fn conditions_need_something_to_compare_with() {
    let message = pb::Condition { row: "r".into(), family: Some("f".into()), ..pb::Condition::default() };
    assert_eq!(condition_from(&message).expect_err("refused").kind, ErrorKind::Invalid);
}
