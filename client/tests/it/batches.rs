use std::collections::HashMap;

use ferrobase_client::batch::{CALL_ACTIONS, CALL_BYTES};
use ferrobase_client::{Action, ClientError};
use model::ErrorKind;
use model::mutation::Mutation;
use model::query::Get;
use protocol::messages as pb;
use protocol::service::{Reply, RpcError};

use crate::script::*;

fn error(kind: ErrorKind, class: &str) -> RpcError {
    RpcError::of(kind, class, "scripted")
}

/// Rows of each multi, with the server that got it.
fn sent(script: &Script) -> Vec<(String, Vec<String>)> {
    let rows = |request: pb::MultiRequest| {
        let actions = request.region_action.into_iter().flat_map(|region| region.action);
        actions
            .map(|one| one.mutation.map(|it| it.row().to_vec()).or(one.get.map(|it| it.row.to_vec())).expect("row"))
            .map(|row| String::from_utf8(row).expect("text"))
            .collect()
    };
    script.seen("Multi").iter().map(|seen| (seen.address.clone(), rows(seen.decode()))).collect()
}

#[tokio::test]
async fn only_failed_actions_are_sent_again() {
    let script = Script::new(&[(region("", "m"), 1), (region("m", ""), 2)]);
    let table = script.table().await;
    let first = std::sync::atomic::AtomicBool::new(true);
    script.rule(move |seen| {
        let first = seen.method() == "Multi"
            && seen.address == "s1:1"
            && first.swap(false, std::sync::atomic::Ordering::SeqCst);
        first.then(|| {
            Act::Reply(multi_reply(&seen.decode(), |_, row| match row {
                b"b" => Some(error(ErrorKind::Busy, "RegionTooBusyException")),
                b"c" => Some(error(ErrorKind::NotFound, "regionserver.NoSuchColumnFamilyException")),
                b"d" => Some(error(ErrorKind::NotServing, "NotServingRegionException")),
                _ => None,
            }))
        })
    });
    let rows = ["a", "b", "x", "c", "d", "y"];
    let answers = table.mutate_all(rows.iter().map(|row| put(*row, b"v")).collect()).await;
    let ends: Vec<_> = answers.iter().map(|answer| answer.as_ref().map_err(ClientError::class).map(|_| ())).collect();
    assert_eq!(ends, [Ok(()), Ok(()), Ok(()), Err("NoSuchColumnFamilyException"), Ok(()), Ok(())]);
    let failed = answers[3].as_ref().expect_err("no family");
    assert!(failed.to_string().contains("table=`t`, row=`c`"), "{failed}");
    let mut calls = sent(&script);
    let again = calls.split_off(2);
    calls.sort();
    let strings = |rows: &[&str]| rows.iter().map(|row| (*row).to_owned()).collect::<Vec<_>>();
    assert_eq!(calls, [("s1:1".into(), strings(&["a", "b", "c", "d"])), ("s2:2".into(), strings(&["x", "y"]))]);
    assert_eq!(again, [("s1:1".into(), strings(&["b", "d"]))]);
}

#[tokio::test]
async fn a_region_that_failed_whole_is_sent_again_whole() {
    let script = Script::new(&[(region("", "m"), 1), (region("m", ""), 1)]);
    let exception =
        pb::NameBytesPair { name: error(ErrorKind::NotServing, "NotServingRegionException").class, value: None };
    let table = script.table().await;
    let given = std::sync::atomic::AtomicBool::new(false);
    script.rule(move |seen| {
        let first = seen.method() == "Multi" && !given.swap(true, std::sync::atomic::Ordering::SeqCst);
        first.then(|| {
            let request: pb::MultiRequest = seen.decode();
            let mut answer: pb::MultiResponse = multi_reply(&request, |_, _| None).decode().expect("answer");
            answer.region_action_result[1] =
                pb::RegionActionResult { exception: Some(exception.clone()), ..Default::default() };
            Act::Reply(Reply::new(&answer))
        })
    });
    let answers = table.mutate_all(["a", "x", "y"].iter().map(|row| put(*row, b"v")).collect()).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(sent(&script)[1].1, ["x", "y"]);
}

#[tokio::test]
async fn calls_are_cut_by_count_and_by_size() {
    let script = Script::new(&[(region("", ""), 1)]);
    let table = script.table().await;
    let gets: Vec<_> = (0..2 * CALL_ACTIONS + 3).map(|n| Get::new(format!("{n:08}"))).collect();
    assert_eq!(table.get_all(&gets).await.expect("gets").len(), gets.len());
    assert_eq!(sent(&script).iter().map(|call| call.1.len()).collect::<Vec<_>>(), [CALL_ACTIONS, CALL_ACTIONS, 3]);
    let before = sent(&script).len();
    let value = vec![b'v'; 300 << 10];
    let puts = (0..40).map(|n| put(format!("{n:08}"), &value)).collect();
    assert!(table.mutate_all(puts).await.iter().all(Result::is_ok));
    let calls = &script.seen("Multi")[before..];
    assert!(calls.len() >= 3, "{}", calls.len());
    assert!(calls.iter().all(|seen| seen.call.cells.len() < CALL_BYTES + 2 * value.len()));
}

#[tokio::test]
async fn actions_of_a_row_keep_their_order_around_what_must_be_alone() {
    let script = Script::new(&[(region("", ""), 1)]);
    let table = script.table().await;
    let both = Action::RowMutations(vec![put("r", b"2"), put("r", b"3")]);
    let actions = vec![
        Action::Mutation(put("r", b"1")),
        Action::Mutation(put("s", b"1")),
        both,
        Action::Mutation(put("r", b"4")),
        Action::Get(Get::new("r")),
    ];
    assert!(table.batch(actions).await.iter().all(Result::is_ok));
    let request: pb::MultiRequest = script.seen("Multi")[0].decode();
    let shape: Vec<_> =
        request.region_action.iter().map(|region| (region.atomic.unwrap_or(false), region.action.len())).collect();
    assert_eq!(shape, [(false, 2), (true, 2), (false, 2)]);
}

#[tokio::test]
async fn actions_that_make_no_sense_fail_alone() {
    let script = Script::new(&[(region("", ""), 1)]);
    let table = script.table().await;
    let actions = vec![
        Action::RowMutations(Vec::new()),
        Action::Mutation(put("r", b"1")),
        Action::RowMutations(vec![put("r", b"2"), put("s", b"3")]),
    ];
    let answers = table.batch(actions).await;
    let kinds: Vec<_> = answers.iter().map(|answer| answer.as_ref().map_err(ClientError::kind).map(|_| ())).collect();
    assert_eq!(kinds, [Err(ErrorKind::Invalid), Ok(()), Err(ErrorKind::Invalid)]);
    assert!(table.batch(Vec::new()).await.is_empty());
}

#[tokio::test]
async fn nonces_stay_with_their_actions() {
    let script = Script::new(&[(region("", ""), 1)]);
    let table = script.table().await;
    script.next("Multi", [Act::Fail(RpcError::new(ErrorKind::Unknown, "connection broke")), Act::Hang]);
    let mut changes: Vec<Mutation> = ["a", "b", "c"].iter().map(|row| increment(row, 1)).collect();
    changes.push(put("d", b"v"));
    assert!(table.mutate_all(changes).await.iter().all(Result::is_ok));
    let nonces: Vec<HashMap<Vec<u8>, Option<u64>>> = script
        .seen("Multi")
        .iter()
        .map(|seen| {
            let actions = seen.decode::<pb::MultiRequest>().region_action.remove(0).action;
            actions.into_iter().filter_map(|one| one.mutation).map(|it| (it.row().to_vec(), it.nonce)).collect()
        })
        .collect();
    assert!(nonces.len() == 3 && nonces[0] == nonces[1] && nonces[1] == nonces[2], "{nonces:?}");
    assert_eq!(nonces[0][&b"d"[..]], None);
    assert!(nonces[0][&b"a"[..]].is_some() && nonces[0][&b"a"[..]] != nonces[0][&b"b"[..]]);
}

#[tokio::test]
async fn doubt_is_kept_for_each_action() {
    let script = Script::new(&[(region("", "m"), 1), (region("m", ""), 2)]);
    let table = script.table().await;
    let lost = std::sync::atomic::AtomicBool::new(false);
    script.rule(move |seen| match (seen.method(), seen.address.as_str()) {
        ("Multi", "s1:1") if !lost.swap(true, std::sync::atomic::Ordering::SeqCst) => {
            Some(Act::Fail(RpcError::new(ErrorKind::Unknown, "connection broke")))
        }
        ("Multi", _) => Some(fail(ErrorKind::Busy, "CallQueueTooBigException")),
        _ => None,
    });
    let actions =
        vec![Action::Mutation(increment("a", 1)), Action::Get(Get::new("b")), Action::Mutation(increment("x", 1))];
    let kinds: Vec<_> = table.batch(actions).await.into_iter().map(|answer| answer.expect_err("busy").kind()).collect();
    assert_eq!(kinds, [ErrorKind::Unknown, ErrorKind::Busy, ErrorKind::Busy]);
}

#[tokio::test]
async fn a_hole_in_meta_does_not_stop_what_is_known() {
    let script = Script::new(&[(region("", "g"), 1), (region("p", ""), 2)]);
    let builder = script.builder().attempts(3);
    let table = builder.open().await.expect("connection").table(name());
    table.get_all(&[Get::new("a"), Get::new("x")]).await.expect("known from now on");
    let answers = table.mutate_all(["a", "h", "x"].iter().map(|row| put(*row, b"v")).collect()).await;
    let ends: Vec<_> = answers.iter().map(|answer| answer.as_ref().map_err(ClientError::kind).map(|_| ())).collect();
    assert_eq!(ends, [Ok(()), Err(ErrorKind::NotServing), Ok(())]);
}

#[tokio::test]
async fn answers_that_make_no_sense_are_errors() {
    let entry =
        |index: Option<u32>| pb::ResultOrException { index, result: Some(pb::Result::default()), ..Default::default() };
    let region_of = |entries: Vec<pb::ResultOrException>| pb::RegionActionResult {
        result_or_exception: entries,
        ..Default::default()
    };
    let counted = pb::Result { associated_cell_count: Some(3), ..Default::default() };
    let cases = [
        pb::MultiResponse::default(),
        pb::MultiResponse { region_action_result: vec![region_of(vec![]), region_of(vec![])], ..Default::default() },
        pb::MultiResponse { region_action_result: vec![region_of(vec![entry(Some(0))])], ..Default::default() },
        pb::MultiResponse {
            region_action_result: vec![region_of(vec![entry(Some(0)), entry(Some(0))])],
            ..Default::default()
        },
        pb::MultiResponse {
            region_action_result: vec![region_of(vec![entry(Some(0)), entry(Some(7))])],
            ..Default::default()
        },
        pb::MultiResponse {
            region_action_result: vec![region_of(vec![
                entry(Some(0)),
                pb::ResultOrException { result: Some(counted), ..entry(Some(1)) },
            ])],
            ..Default::default()
        },
    ];
    for case in cases {
        let script = Script::new(&[(region("", ""), 1)]);
        script.next("Multi", [Act::Reply(Reply::new(&case))]);
        let answers = script.table().await.mutate_all(vec![put("a", b"v"), put("b", b"v")]).await;
        let said = |error: &ClientError| !error.is_retriable() && error.may_have_happened();
        assert!(answers.iter().all(|answer| answer.as_ref().is_err_and(said)), "{case:?}");
        assert_eq!(script.seen("Multi").len(), 1);
    }
}
