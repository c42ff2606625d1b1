use bytes::{Bytes, BytesMut};
use ferrobase_regionserver::ServerSettings;
use model::filter::{Comparator, CompareOp};
use model::mutation::{Condition, Mutation, MutationKind};
use model::query::{Get, TimeRange};
use model::region::RegionInfo;
use protocol::messages as pb;
use protocol::service::CLIENT;
use protocol::{mutation, query, result};

use crate::rig::*;

/// A multi in the making: actions and their cells in order.
#[derive(Default)]
struct Multi {
    request: pb::MultiRequest,
    cells: BytesMut,
}

enum Do {
    Put(Mutation),
    Nonce(Mutation, u64),
    Get(Get),
    Closest(Get),
}

impl Multi {
    fn region(mut self, info: &RegionInfo, first_index: u32, actions: Vec<Do>) -> Multi {
        let mut region = pb::RegionAction { region: specifier(info), ..pb::RegionAction::default() };
        for (index, action) in actions.into_iter().enumerate() {
            let mut one = pb::Action { index: Some(first_index + index as u32), ..pb::Action::default() };
            match action {
                Do::Put(change) => one.mutation = Some(mutation::mutation_to(&change, None, &mut self.cells)),
                Do::Nonce(change, nonce) => {
                    one.mutation = Some(mutation::mutation_to(&change, Some(nonce), &mut self.cells));
                }
                Do::Get(get) => one.get = Some(query::get_to(&get)),
                Do::Closest(get) => {
                    one.get = Some(pb::Get { closest_row_before: Some(true), ..query::get_to(&get) });
                }
            }
            region.action.push(one);
        }
        self.request.region_action.push(region);
        self
    }

    fn atomic(mut self) -> Multi {
        self.request.region_action.last_mut().expect("a region").atomic = Some(true);
        self
    }

    fn when(mut self, condition: pb::Condition) -> Multi {
        self.request.region_action.last_mut().expect("a region").condition = Some(condition);
        self
    }

    async fn send(mut self, rig: &Rig) -> Answer<pb::MultiResponse> {
        self.request.nonce_group = Some(7);
        let answer: (pb::MultiResponse, _) =
            rig.call_with(CLIENT, "Multi", &self.request, self.cells.freeze(), None).await?;
        assert_eq!(answer.0.region_action_result.len(), self.request.region_action.len());
        Ok(answer)
    }
}

fn exception(pair: &Option<pb::NameBytesPair>) -> String {
    let name = &pair.as_ref().expect("an exception").name;
    name.strip_prefix("org.apache.hadoop.hbase.").expect("HBase's").to_owned()
}

fn indexes(result: &pb::RegionActionResult) -> Vec<u32> {
    result.result_or_exception.iter().map(|entry| entry.index.expect("index")).collect()
}

fn condition(row: &str, value: &str) -> pb::Condition {
    let condition = Condition::Column {
        family: "f".into(),
        qualifier: "q".into(),
        op: CompareOp::Equal,
        comparator: Comparator::Binary(Bytes::copy_from_slice(value.as_bytes())),
        time_range: TimeRange::ALL,
    };
    mutation::condition_to(row.to_owned(), &condition)
}

#[tokio::test]
async fn each_action_has_its_own_end() {
    let rig = Rig::empty(Plan::default(), 1).await;
    let (here, gone) = (info("", "m"), info("m", ""));
    rig.open(&here, 5, 1).await.expect("open");
    let multi = Multi::default()
        .region(&gone, 0, vec![Do::Put(put("x", "f", "q", "lost")), Do::Put(put("y", "f", "q", "lost"))])
        .region(
            &here,
            10,
            vec![
                Do::Put(put("a", "f", "q", "1")),
                Do::Put(put("b", "nope", "q", "1")),
                Do::Put(put("z", "f", "q", "1")),
                Do::Put(increment("c", 4)),
                Do::Get(Get::new("a")),
                Do::Nonce(increment("c", 5), 9),
                Do::Nonce(increment("c", 5), 9),
                Do::Closest(Get::new("a")),
                Do::Get(Get::new("left")),
                Do::Get(Get::new("z")),
            ],
        );
    let (answer, mut block) = multi.send(&rig).await.expect("multi");
    let [lost, done] = &answer.region_action_result[..] else { unreachable!() };
    assert_eq!(exception(&lost.exception), "NotServingRegionException");
    assert!(lost.result_or_exception.is_empty());
    assert_eq!(indexes(done), (10..20).collect::<Vec<_>>());
    assert_eq!((answer.processed, &done.processed, &done.exception), (None, &None, &None));
    assert!(answer.region_statistics.is_some());
    let entries = &done.result_or_exception;
    assert!(entries.iter().all(|entry| entry.result.is_some() != entry.exception.is_some()));
    assert_eq!(entries[0].result, Some(pb::Result::default()));
    assert_eq!(exception(&entries[1].exception), "regionserver.NoSuchColumnFamilyException");
    assert_eq!(exception(&entries[2].exception), "exceptions.FailedSanityCheckException");
    assert_eq!(exception(&entries[7].exception), "exceptions.UnknownProtocolException");
    assert_eq!(exception(&entries[9].exception), "regionserver.WrongRegionException");
    let mut cells = |at: usize| {
        let result = entries[at].result.as_ref().expect("a result");
        result::result_from(result, &mut block).expect("cells")
    };
    assert_eq!(number(&cells(3)), 4);
    assert_eq!(cells(4)[0].value(), b"1", "a get sees the puts before it");
    assert_eq!(number(&cells(5)), 9);
    assert_eq!(number(&cells(6)), 9, "a repeated nonce");
    assert!(cells(8).is_empty());
    assert!(block.is_empty());
}

#[tokio::test]
async fn writes_of_one_row_keep_their_order() {
    let rig = Rig::new().await;
    let mut actions = Vec::new();
    for round in 0..20 {
        actions.push(Do::Put(put("same", "f", "q", &format!("{round}"))));
        actions.push(Do::Put(put(&format!("other{round}"), "f", "q", "v")));
    }
    actions.insert(7, Do::Put(put("same", "nope", "q", "wrong")));
    let (answer, _) = Multi::default().region(&rig.info, 1, actions).send(&rig).await.expect("multi");
    let entries = &answer.region_action_result[0].result_or_exception;
    let wrong: Vec<_> = entries.iter().filter(|entry| entry.exception.is_some()).collect();
    assert_eq!((wrong.len(), wrong[0].index), (1, Some(8)));
    assert_eq!(rig.value("same", "q").await.as_deref(), Some("19"));
    assert_eq!(rig.value("other19", "q").await.as_deref(), Some("v"));
}

#[tokio::test]
async fn an_atomic_action_happens_whole_or_not_at_all() {
    let rig = Rig::new().await;
    let changes =
        || vec![Do::Put(put("r", "f", "q", "1")), Do::Nonce(increment("r", 2), 5), Do::Put(put("r", "g", "q", "1"))];
    for expected in [2, 2] {
        let multi = Multi::default().region(&rig.info, 7, changes()).atomic();
        let (answer, block) = multi.send(&rig).await.expect("multi");
        let done = &answer.region_action_result[0];
        assert_eq!((answer.processed, done.processed), (Some(true), Some(true)));
        assert_eq!(indexes(done), [0, 1, 2], "positions, not the indexes sent");
        assert!(block.is_empty(), "cells travel in the message");
        let first = done.result_or_exception[0].result.as_ref().expect("result");
        assert_eq!(first.cell.len(), 1);
        let value: [u8; 8] = first.cell[0].value.as_ref().expect("value")[..].try_into().expect("8 bytes");
        assert_eq!(i64::from_be_bytes(value), expected, "the nonce counts once");
    }
    let bad = vec![Do::Put(put("r", "f", "q", "2")), Do::Put(put("r", "nope", "q", "2"))];
    for (actions, class) in [
        (bad, "regionserver.NoSuchColumnFamilyException"),
        (vec![Do::Put(put("r", "f", "q", "2")), Do::Get(Get::new("r"))], "DoNotRetryIOException"),
        (vec![Do::Put(put("r", "f", "q", "2")), Do::Put(put("s", "f", "q", "2"))], "DoNotRetryIOException"),
    ] {
        let (answer, _) = Multi::default().region(&rig.info, 0, actions).atomic().send(&rig).await.expect("multi");
        let failed = &answer.region_action_result[0];
        assert_eq!(exception(&failed.exception), class);
        assert_eq!((failed.result_or_exception.len(), answer.processed), (0, None));
    }
    assert_eq!(rig.value("r", "q").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn conditions_come_in_two_forms() {
    let rig = Rig::new().await;
    rig.put("r", "q", "a").await;
    for (expected, done) in [("x", false), ("a", true)] {
        let one = Multi::default().region(&rig.info, 4, vec![Do::Put(increment("r", 3))]);
        let (answer, block) = one.when(condition("r", expected)).send(&rig).await.expect("multi");
        let result = &answer.region_action_result[0];
        assert_eq!((answer.processed, result.processed, indexes(result)), (None, Some(done), vec![0]));
        let cells = &result.result_or_exception[0].result.as_ref().expect("result").cell;
        assert_eq!((cells.len(), block.is_empty()), (usize::from(done), true));
    }
    for (expected, done) in [("x", false), ("a", true)] {
        let two = || vec![Do::Put(put("r", "f", "q", "a")), Do::Put(put("r", "f", "p", "1"))];
        let new = Multi::default().region(&rig.info, 4, two()).when(condition("r", expected));
        let mut old = Multi::default().region(&rig.info, 4, two()).atomic();
        old.request.condition = Some(condition("r", expected));
        for (multi, told) in [(new, None), (old, Some(done))] {
            let (answer, _) = multi.send(&rig).await.expect("multi");
            let result = &answer.region_action_result[0];
            assert_eq!((answer.processed, result.processed, indexes(result)), (told, Some(done), vec![0, 1]));
        }
        assert_eq!(rig.value("r", "p").await.is_some(), done);
    }
    let other = Multi::default().region(&rig.info, 0, vec![Do::Put(put("r", "f", "q", "z"))]).when(condition("s", ""));
    let (answer, _) = other.send(&rig).await.expect("multi");
    assert_eq!(exception(&answer.region_action_result[0].exception), "DoNotRetryIOException");
    assert_eq!(rig.value("r", "q").await.as_deref(), Some("a"));
}

#[tokio::test]
async fn an_answer_that_grows_too_large_leaves_the_rest_for_later() {
    let settings = ServerSettings { result_bytes_max: 100, ..ServerSettings::default() };
    let rig = Rig::with(Plan { settings, ..Plan::default() }).await;
    rig.put("r", "q", &"x".repeat(80)).await;
    let mut actions: Vec<Do> = (0..3).map(|_| Do::Get(Get::new("r"))).collect();
    actions.push(Do::Put(put("r", "f", "late", "v")));
    let (answer, block) = Multi::default().region(&rig.info, 0, actions).send(&rig).await.expect("multi");
    let entries = &answer.region_action_result[0].result_or_exception;
    assert!(entries[0].result.is_some());
    entries[1..].iter().for_each(|entry| assert_eq!(exception(&entry.exception), "MultiActionResultTooLarge"));
    assert_eq!(block.count(), 1);
    assert_eq!(rig.value("r", "late").await, None, "what is refused is not done");
}

#[tokio::test]
async fn a_broken_cell_block_changes_nothing() {
    let rig = Rig::new().await;
    let mut multi =
        Multi::default().region(&rig.info, 0, vec![Do::Put(put("a", "f", "q", "1")), Do::Put(put("b", "f", "q", "1"))]);
    multi.cells.truncate(multi.cells.len() - 3);
    assert_eq!(class(multi.send(&rig).await), "DoNotRetryIOException");
    assert_eq!(rig.value("a", "q").await, None);
    // A bad mutation keeps its place, and the cells behind it theirs.
    let mut multi = Multi::default().region(
        &rig.info,
        0,
        vec![Do::Put(put("a", "f", "q", "1")), Do::Put(put("b", "f", "q", "1")), Do::Put(put("c", "f", "q", "1"))],
    );
    multi.request.region_action[0].action[1].mutation.as_mut().expect("one").mutate_type = Some(99);
    let (answer, _) = multi.send(&rig).await.expect("multi");
    let failed: Vec<bool> =
        answer.region_action_result[0].result_or_exception.iter().map(|entry| entry.exception.is_some()).collect();
    assert_eq!(failed, [false, true, false]);
    assert_eq!(rig.value("c", "q").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_delete_of_everything_travels_without_cells() {
    let rig = Rig::new().await;
    rig.put("r", "q", "1").await;
    let mut delete = Mutation::new(MutationKind::Delete, "r");
    delete.timestamp = model::LATEST_TIMESTAMP;
    let multi = Multi::default().region(&rig.info, 0, vec![Do::Put(delete), Do::Put(put("s", "f", "q", "2"))]);
    multi.send(&rig).await.expect("multi");
    assert_eq!((rig.value("r", "q").await, rig.value("s", "q").await.as_deref()), (None, Some("2")));
}
