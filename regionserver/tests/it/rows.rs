use model::filter::{Comparator, CompareOp};
use model::mutation::{Condition, MutationKind};
use model::query::{Get, TimeRange};
use protocol::messages as pb;
use protocol::service::CLIENT;
use protocol::{mutation, query, result};

use crate::rig::*;

fn value_is(row: &str, value: &str) -> pb::Condition {
    let condition = Condition::Column {
        family: "f".into(),
        qualifier: "q".into(),
        op: CompareOp::Equal,
        comparator: Comparator::Binary(value.to_owned().into()),
        time_range: TimeRange::ALL,
    };
    mutation::condition_to(row.to_owned(), &condition)
}

#[tokio::test]
async fn what_is_put_is_got() {
    let rig = Rig::new().await;
    let (answer, block) = rig.mutate(&put("r", "f", "q", "v")).await.expect("put");
    assert_eq!((answer.processed, answer.result), (Some(true), None));
    assert!(block.is_empty());
    assert_eq!(rig.value("r", "q").await.as_deref(), Some("v"));
    assert_eq!(rig.value("r", "other").await, None);
    let mut delete = put("r", "f", "q", "");
    delete.kind = MutationKind::Delete;
    delete.cells.clear();
    rig.mutate(&delete).await.expect("delete");
    assert_eq!(rig.value("r", "q").await, None);
}

#[tokio::test]
async fn existence_is_told_without_cells() {
    let rig = Rig::new().await;
    rig.put("r", "q", "v").await;
    for (row, exists) in [("r", true), ("s", false)] {
        let mut get = Get::new(row);
        get.existence_only = true;
        let request = pb::GetRequest { region: rig.region(), get: query::get_to(&get) };
        let (answer, block): (pb::GetResponse, _) = rig.call(CLIENT, "Get", &request).await.expect("get");
        assert_eq!(answer.result.expect("result"), result::exists_to(exists));
        assert!(block.is_empty());
    }
}

#[tokio::test]
async fn an_increment_answers_the_new_value_and_a_repeated_nonce_counts_once() {
    let rig = Rig::new().await;
    for (nonce, expected) in [(Some(1), 5), (Some(2), 10), (Some(1), 10), (None, 15)] {
        let (answer, mut block) = rig.mutate_if(&increment("r", 5), None, nonce).await.expect("increment");
        assert_eq!(answer.processed, Some(true));
        let cells = result::result_from(&answer.result.expect("result"), &mut block).expect("cells");
        assert_eq!(number(&cells), expected, "nonce {nonce:?}");
    }
    rig.put("w", "n", "not a number").await;
    let error = rig.mutate(&increment("w", 1)).await.expect_err("too wide");
    assert_eq!(error.short_class(), "DoNotRetryIOException");
    assert!(error.message.contains("Field is not a long, it's 12 bytes wide"));
}

#[tokio::test]
async fn a_condition_decides() {
    let rig = Rig::new().await;
    rig.put("r", "q", "a").await;
    let change = put("r", "f", "q", "b");
    for (expected, done) in [("x", false), ("a", true), ("a", false)] {
        let (answer, _) = rig.mutate_if(&change, Some(value_is("r", expected)), None).await.expect("check");
        assert_eq!((answer.processed, answer.result), (Some(done), None), "{expected}");
    }
    assert_eq!(rig.value("r", "q").await.as_deref(), Some("b"));
    let (answer, mut block) =
        rig.mutate_if(&increment("r", 3), Some(value_is("r", "b")), None).await.expect("check and increment");
    let cells = result::result_from(&answer.result.expect("result"), &mut block).expect("cells");
    assert_eq!(number(&cells), 3);
    assert_eq!(class(rig.mutate_if(&change, Some(value_is("s", "b")), None).await), "DoNotRetryIOException");
}

#[tokio::test]
async fn each_mistake_has_its_class() {
    let rig = Rig::empty(Plan::default(), 1).await;
    let region = info("b", "d");
    let rig = Rig { info: region, ..rig };
    assert_eq!(class(rig.get(&Get::new("c")).await), "NotServingRegionException");
    rig.open(&rig.info, 5, 1).await.expect("open");
    assert_eq!(class(rig.get(&Get::new("a")).await), "regionserver.WrongRegionException");
    assert_eq!(class(rig.mutate(&put("d", "f", "q", "v")).await), "regionserver.WrongRegionException");
    let mut get = Get::new("c");
    get.selection.add_family("nope");
    assert_eq!(class(rig.get(&get).await), "regionserver.NoSuchColumnFamilyException");
    assert_eq!(class(rig.get(&Get::new("")).await), "DoNotRetryIOException");
    let mut closest = query::get_to(&Get::new("c"));
    closest.closest_row_before = Some(true);
    let request = pb::GetRequest { region: rig.region(), get: closest };
    let answer = rig.call::<pb::GetResponse>(CLIENT, "Get", &request).await;
    assert_eq!(class(answer), "exceptions.UnknownProtocolException");
    let unknown = rig.call::<pb::GetResponse>(CLIENT, "Nothing", &request).await.expect_err("no such method");
    assert!(unknown.message.contains("java.lang.UnsupportedOperationException"));
    let mut short = put("c", "f", "q", "v");
    short.cells.clear();
    let message = pb::MutationProto { associated_cell_count: Some(3), ..mutation::mutation_inline(&short, None) };
    let request = pb::MutateRequest { region: rig.region(), mutation: message, condition: None, nonce_group: None };
    let answer = rig.call::<pb::MutateResponse>(CLIENT, "Mutate", &request).await;
    assert_eq!(class(answer), "DoNotRetryIOException", "cells that are announced and missing");
}
