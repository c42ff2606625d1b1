//! Mutations, conditions and results by chance: they come back as they were, and broken bytes are errors, never panics.

use bytes::{Bytes, BytesMut};
use ferrobase_protocol::cell_block::CellBlock;
use ferrobase_protocol::messages as pb;
use ferrobase_protocol::mutation::{condition_from, condition_to, mutation_from, mutation_inline, mutation_to, skip};
use ferrobase_protocol::query::{get_from, scan_from};
use ferrobase_protocol::result::{result_from, result_inline, result_to, scanned_from, scanned_to};
use model::filter::{Comparator, CompareOp, Filter};
use model::mutation::{Condition, Durability, Mutation, MutationKind, Nonce};
use model::query::TimeRange;
use model::{Cell, CellType, LATEST_TIMESTAMP};
use proptest::prelude::*;
use prost::Message;

use crate::rows::calls;

pub fn bytes(len: std::ops::Range<usize>) -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), len).prop_map(Bytes::from)
}

fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![Just(LATEST_TIMESTAMP), 0..1000i64, 0..i64::MAX]
}

fn time_range() -> impl Strategy<Value = TimeRange> {
    prop_oneof![Just(TimeRange::ALL), (0..50i64, 50..100i64).prop_map(|(from, to)| TimeRange { from, to })]
}

/// A cell that fits a kind of mutation.
fn cell(row: Bytes, kind: MutationKind) -> impl Strategy<Value = Cell> {
    const MARKERS: [CellType; 4] =
        [CellType::DELETE, CellType::DELETE_COLUMN, CellType::DELETE_FAMILY, CellType::DELETE_FAMILY_VERSION];
    let cell_type = match kind {
        MutationKind::Put => prop_oneof![6 => Just(CellType::PUT), 1 => proptest::sample::select(&MARKERS[..])].boxed(),
        MutationKind::Delete => proptest::sample::select(&MARKERS[..]).boxed(),
        _ => Just(CellType::PUT).boxed(),
    };
    let ttl = proptest::option::weighted(0.1, any::<i64>());
    (bytes(1..4), bytes(0..6), timestamp(), cell_type, bytes(0..20), ttl).prop_map(
        move |(family, qualifier, timestamp, cell_type, value, ttl)| {
            let value = if cell_type.is_delete() { Bytes::new() } else { value };
            let tags = ttl.map(|ttl| [&[0, 9, 8][..], &ttl.to_be_bytes()].concat()).unwrap_or_default();
            Cell::with_tags(&row, &family, &qualifier, timestamp, cell_type, &value, &tags).expect("cell")
        },
    )
}

fn mutation() -> impl Strategy<Value = Mutation> {
    use MutationKind::{Append, Delete, Increment, Put};
    let kinds = proptest::sample::select(vec![Put, Delete, Increment, Append]);
    let durabilities = vec![
        Durability::UseDefault,
        Durability::SkipWal,
        Durability::AsyncWal,
        Durability::SyncWal,
        Durability::FsyncWal,
    ];
    (kinds, bytes(1..5)).prop_flat_map(move |(kind, row)| {
        let cells = proptest::collection::vec(cell(row.clone(), kind), 0..6);
        let rest = (
            proptest::sample::select(durabilities.clone()),
            proptest::option::of(any::<i64>()),
            time_range(),
            any::<bool>(),
            proptest::collection::vec(("[a-z]{1,4}", bytes(0..4)), 0..3),
        );
        (cells, timestamp(), rest).prop_map(
            move |(cells, timestamp, (durability, ttl_ms, range, results, attributes))| {
                let change = matches!(kind, Increment | Append);
                Mutation {
                    kind,
                    row: row.clone(),
                    timestamp,
                    cells,
                    durability,
                    ttl_ms,
                    time_range: if change { range } else { TimeRange::ALL },
                    return_results: !change || results,
                    attributes,
                }
            },
        )
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    use CompareOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NoOp, NotEqual};
    let ops = proptest::sample::select(vec![Less, LessOrEqual, Equal, NotEqual, GreaterOrEqual, Greater, NoOp]);
    let comparator = prop_oneof![
        bytes(0..6).prop_map(Comparator::Binary),
        bytes(0..6).prop_map(Comparator::BinaryPrefix),
        Just(Comparator::Null),
    ];
    prop_oneof![
        (bytes(1..4), bytes(0..4), ops, comparator, time_range()).prop_map(
            |(family, qualifier, op, comparator, time_range)| Condition::Column {
                family,
                qualifier,
                op,
                comparator,
                time_range
            }
        ),
        (bytes(0..4), time_range())
            .prop_map(|(prefix, time_range)| Condition::Filter { filter: Filter::Prefix { prefix }, time_range }),
    ]
}

proptest! {
    #[test]
    fn batches_come_back_as_they_were(
        batch in proptest::collection::vec((mutation(), proptest::option::of(any::<u64>())), 0..5),
        group: u64,
    ) {
        let mut block = BytesMut::new();
        let messages: Vec<pb::MutationProto> =
            batch.iter().map(|(mutation, nonce)| mutation_to(mutation, *nonce, &mut block)).collect();
        let block = block.freeze();
        let mut cells = CellBlock::new(block.clone());
        let mut skipped = CellBlock::new(block.clone());
        for ((mutation, nonce), message) in batch.iter().zip(&messages) {
            let message = pb::MutationProto::decode(&message.encode_to_vec()[..]).expect("message");
            let expected = nonce.filter(|nonce| *nonce != 0).map(|nonce| Nonce { group, nonce });
            let read = mutation_from(&message, &mut cells, group).expect("mutation");
            prop_assert_eq!(&read, &(mutation.clone(), expected));
            let inline = mutation_inline(mutation, *nonce);
            prop_assert_eq!(&mutation_from(&inline, &mut CellBlock::new(Bytes::new()), group).expect("inline"), &read);
            skip(&message, &mut skipped).expect("skip");
        }
        prop_assert!(cells.is_empty() && skipped.is_empty());
        // One cell fewer than the messages count is an error of the last mutation that has any.
        let with_cells = messages.iter().filter(|message| message.associated_cell_count() > 0).count();
        if let Some(cut) = block.len().checked_sub(1) {
            let mut cells = CellBlock::new(block.slice(..cut));
            let read = messages.iter().filter(|message| message.associated_cell_count() > 0);
            prop_assert_eq!(read.filter(|message| mutation_from(message, &mut cells, group).is_ok()).count(), with_cells - 1);
        }
    }

    #[test]
    fn conditions_come_back_as_they_were(row in bytes(1..5), condition in condition()) {
        let message = pb::Condition::decode(&condition_to(row.clone(), &condition).encode_to_vec()[..]).expect("message");
        prop_assert_eq!(condition_from(&message).expect("condition"), (row, condition));
    }

    #[test]
    fn results_come_back_as_they_were(
        rows in proptest::collection::vec((proptest::collection::vec(cell("r".into(), MutationKind::Put), 0..4), any::<bool>()), 0..5),
    ) {
        // No client gets tags.
        let plain = |cell: &Cell| Cell::parse(Bytes::copy_from_slice(cell.as_ref().without_tags()), cell.as_ref().seqno()).expect("cell");
        let mut block = BytesMut::new();
        let messages: Vec<pb::Result> = rows.iter().map(|(cells, _)| result_to(cells, &mut block)).collect();
        let mut response = pb::ScanResponse::default();
        scanned_to(&rows, &mut response, &mut block);
        let mut block = CellBlock::new(block.freeze());
        let expected: Vec<(Vec<Cell>, bool)> =
            rows.iter().map(|(cells, partial)| (cells.iter().map(plain).collect(), *partial)).collect();
        for ((cells, _), message) in expected.iter().zip(&messages) {
            prop_assert_eq!(&result_from(message, &mut block).expect("result"), cells);
            prop_assert_eq!(&result_from(&result_inline(cells), &mut CellBlock::new(Bytes::new())).expect("result"), cells);
        }
        prop_assert_eq!(scanned_from(&response, &mut block).expect("scan"), expected);
        prop_assert!(block.is_empty());
    }
}

/// Reads everything that the bytes of a call may be. Only that it returns counts here.
fn read_all(method: &str, request: bool, message: &Bytes, cells: &Bytes) -> usize {
    let mut block = CellBlock::new(cells.clone());
    let mut read = 0;
    match (method, request) {
        ("Mutate", true) => {
            let Ok(message) = pb::MutateRequest::decode(message.clone()) else { return 0 };
            read += usize::from(mutation_from(&message.mutation, &mut block, 1).is_ok());
            read += message.condition.iter().filter(|condition| condition_from(condition).is_ok()).count();
        }
        ("Multi", true) => {
            let Ok(message) = pb::MultiRequest::decode(message.clone()) else { return 0 };
            for actions in &message.region_action {
                read += actions.condition.iter().filter(|condition| condition_from(condition).is_ok()).count();
                for action in &actions.action {
                    read += action.get.iter().filter(|get| get_from(get).is_ok()).count();
                    let Some(mutation) = &action.mutation else { continue };
                    read += usize::from(mutation_from(mutation, &mut block, 1).is_ok());
                }
            }
        }
        ("Scan", false) => {
            let Ok(message) = pb::ScanResponse::decode(message.clone()) else { return 0 };
            read += usize::from(scanned_from(&message, &mut block).is_ok());
        }
        ("Mutate", false) => {
            let Ok(message) = pb::MutateResponse::decode(message.clone()) else { return 0 };
            read += message.result.iter().filter(|result| result_from(result, &mut block).is_ok()).count();
        }
        ("Multi", false) => {
            let Ok(message) = pb::MultiResponse::decode(message.clone()) else { return 0 };
            let entries = message.region_action_result.iter().flat_map(|region| &region.result_or_exception);
            for result in entries.filter_map(|entry| entry.result.as_ref()) {
                read += usize::from(result_from(result, &mut block).is_ok());
            }
        }
        ("Get", false) => {
            let Ok(message) = pb::GetResponse::decode(message.clone()) else { return 0 };
            read += message.result.iter().filter(|result| result_from(result, &mut block).is_ok()).count();
        }
        ("Scan", true) => {
            let Ok(message) = pb::ScanRequest::decode(message.clone()) else { return 0 };
            read += message.scan.iter().filter(|scan| scan_from(scan).is_ok()).count();
        }
        _ => {}
    }
    read
}

/// Every cut and some flipped bits of every recorded call: whatever comes out, nothing panics, and a block cut anywhere
/// gives an error.
#[test]
fn broken_calls_are_errors_never_panics() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut chance = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let (mut whole, mut refused) = (0, 0);
    for call in calls() {
        let response = call.response.clone().unwrap_or_default();
        for (request, message, cells) in
            [(true, call.request.clone(), call.request_cells.clone()), (false, response, call.response_cells.clone())]
        {
            let all = read_all(&call.method, request, &message, &cells);
            whole += all;
            for cut in 0..cells.len().min(300) {
                let read = read_all(&call.method, request, &message, &cells.slice(..cut));
                assert!(read < all, "{} is read whole from {cut} of {} bytes", call.op, cells.len());
                refused += 1;
            }
            for cut in 0..message.len().min(200) {
                read_all(&call.method, request, &message.slice(..cut), &cells);
            }
            for _ in 0..50 {
                for (flip_message, len) in [(true, message.len()), (false, cells.len())] {
                    if len == 0 {
                        continue;
                    }
                    let (at, bit) = (chance(len), chance(8));
                    let flip = |bytes: &Bytes, here: bool| {
                        let mut bytes = bytes.to_vec();
                        if here {
                            bytes[at] ^= 1 << bit;
                        }
                        Bytes::from(bytes)
                    };
                    read_all(&call.method, request, &flip(&message, flip_message), &flip(&cells, !flip_message));
                }
            }
        }
    }
    assert!(whole > 400 && refused > 5000, "{whole} messages, {refused} cuts");
}
