use std::collections::HashSet;
use std::time::Duration;

use ferrobase_client::ClientError;
use model::filter::{Comparator, CompareOp};
use model::mutation::{CheckAndMutate, Condition, Mutation, MutationKind};
use model::query::{Get, TimeRange};
use model::{Cell, CellType, ErrorKind, LATEST_TIMESTAMP};
use protocol::messages as pb;
use protocol::meta::TableState;
use protocol::service::RpcError;

use crate::script::*;

const TIMEOUT: Duration = Duration::from_secs(60);

fn whole() -> Vec<(model::region::RegionInfo, u16)> {
    vec![(region("", ""), 1)]
}

fn busy() -> Act {
    fail(ErrorKind::Busy, "RegionTooBusyException")
}

fn lost() -> Act {
    Act::Fail(RpcError::new(ErrorKind::Unknown, "connection broke during the call"))
}

fn nonce_of(seen: &Seen) -> Option<u64> {
    seen.decode::<pb::MutateRequest>().mutation.nonce
}

#[tokio::test]
async fn pauses_grow_by_the_table_with_jitter_until_the_deadline() {
    let script = Script::new(&whole());
    script.rule(|seen| (seen.method() == "Get").then(busy));
    let table = script.builder().attempts(1000).open().await.expect("connection").table(name());
    let begin = script.now();
    let error = table.get(&Get::new("r")).await.expect_err("busy to the end");
    let calls = script.seen("Get");
    let mut exact = 0;
    for (pair, multiple) in calls.windows(2).zip([1_u32, 2, 3, 5, 10, 20, 40, 100, 100, 100]) {
        let (pause, wanted) = ((pair[1].at - pair[0].at).as_secs_f64(), 0.1 * f64::from(multiple));
        assert!(pause >= wanted * 0.9 && pause <= wanted * 1.1, "{pause} is not about {wanted}");
        exact += usize::from((pause - wanted).abs() < 1e-9);
    }
    assert!(exact <= 1, "pauses are scattered, so that clients do not come back all at once");
    assert!(calls.len() >= 10 && error.attempts() as usize == calls.len(), "{error}");
    assert!(script.now() - begin <= TIMEOUT);
    assert_eq!((error.kind(), error.class()), (ErrorKind::Busy, "RegionTooBusyException"));
    assert!(error.is_retriable() && error.to_string().contains("table=`t`, row=`r`"), "{error}");
    assert_eq!(script.seen("Lookup").len(), 1, "a busy server keeps its region");
}

#[tokio::test]
async fn all_attempts_share_one_deadline() {
    let script = Script::new(&whole());
    script.rule(|seen| (seen.method() == "Mutate").then_some(Act::Hang));
    let table = script.table().await;
    let begin = script.now();
    let error = table.mutate(put("r", b"v")).await.expect_err("no answer");
    let took = script.now() - begin;
    assert!(took <= TIMEOUT && took > TIMEOUT - Duration::from_secs(1), "{took:?}");
    let calls = script.seen("Mutate");
    assert!(calls.len() >= 3, "{}", calls.len());
    for seen in &calls {
        let limit = seen.call.timeout.expect("the server is told");
        assert!(limit <= Duration::from_secs(20) && seen.at + limit <= begin + TIMEOUT, "{:?} {limit:?}", seen.at);
    }
    assert_eq!(error.kind(), ErrorKind::Unknown);
    assert!(error.may_have_happened() && !error.is_retriable());
}

#[tokio::test]
async fn attempts_are_bounded_too() {
    let script = Script::new(&whole());
    script.rule(|seen| (seen.method() == "Get").then(busy));
    let table = script.builder().attempts(3).open().await.expect("connection").table(name());
    let error = table.get(&Get::new("r")).await.expect_err("busy");
    assert_eq!((error.attempts(), script.seen("Get").len()), (3, 3));
}

#[tokio::test]
async fn a_read_without_answer_may_be_tried_again_by_the_caller() {
    let script = Script::new(&whole());
    script.rule(|seen| (seen.method() == "Get").then_some(Act::Hang));
    let error = script.table().await.get(&Get::new("r")).await.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_retriable() && !error.may_have_happened());
}

#[tokio::test]
async fn a_connection_that_is_not_made_leaves_no_doubt() {
    for act in [Act::Hang, Act::Fail(RpcError::new(ErrorKind::Unavailable, "nobody listens"))] {
        let script = Script::new(&whole());
        let table = script.table().await;
        script.door("s1:1", Some(act));
        let error = table.mutate(increment("r", 1)).await.expect_err("no connection");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(!error.may_have_happened() && script.seen("Mutate").is_empty());
        assert!(script.seen("Lookup").len() > 1, "the region may be elsewhere by now");
    }
}

#[tokio::test]
async fn what_cannot_succeed_is_not_tried_again() {
    let refusals = [
        (ErrorKind::NotFound, "regionserver.NoSuchColumnFamilyException"),
        (ErrorKind::NotFound, "TableNotFoundException"),
        (ErrorKind::Invalid, "DoNotRetryIOException"),
        (ErrorKind::Invalid, "exceptions.FailedSanityCheckException"),
        (ErrorKind::Conflict, "TableNotEnabledException"),
        (ErrorKind::Denied, "security.AccessDeniedException"),
        (ErrorKind::Corrupt, "DoNotRetryIOException"),
        (ErrorKind::Internal, "DoNotRetryIOException"),
    ];
    for (kind, class) in refusals {
        let script = Script::new(&whole());
        script.next("Mutate", [fail(kind, class)]);
        let begin = script.now();
        let error = script.table().await.mutate(increment("r", 1)).await.expect_err(class);
        assert_eq!(error.kind(), kind);
        assert!(class.ends_with(error.class()) && !error.is_retriable() && !error.may_have_happened(), "{error:?}");
        assert_eq!((script.seen("Mutate").len(), script.now()), (1, begin));
    }
}

#[tokio::test]
async fn a_table_that_is_not_there_is_said_at_once() {
    let script = Script::new(&[]);
    script.table_is(None);
    let error = script.table().await.get(&Get::new("r")).await.expect_err("no table");
    assert_eq!((error.kind(), error.class()), (ErrorKind::NotFound, "TableNotFoundException"));
    assert_eq!((script.seen("Lookup").len(), script.now()), (1, Duration::ZERO));
    assert!(error.to_string().contains("table=`t`"), "{error}");
}

#[tokio::test]
async fn a_disabled_table_ends_the_attempts() {
    let script = Script::new(&whole());
    script.rule(|seen| {
        ["Get", "Multi"].contains(&seen.method()).then(|| fail(ErrorKind::NotServing, "NotServingRegionException"))
    });
    script.table_is(Some(TableState::Disabled));
    let error = script.table().await.get(&Get::new("r")).await.expect_err("disabled");
    assert_eq!((error.kind(), error.class()), (ErrorKind::Conflict, "TableNotEnabledException"));
    assert!(script.seen("Get").len() == 2 && script.now() < Duration::from_secs(1));
    // A batch says it of every action.
    let answers = script.table().await.get_all(&[Get::new("r"), Get::new("s")]).await;
    assert_eq!(answers.expect_err("disabled").class(), "TableNotEnabledException");
    // The master may know of damage, which META calls disabled.
    script.next("GetTableState", [fail(ErrorKind::Invalid, "DoNotRetryIOException")]);
    let error = script.table().await.get(&Get::new("r")).await.expect_err("damaged");
    assert_eq!((error.kind(), error.class()), (ErrorKind::Invalid, "DoNotRetryIOException"));
}

#[tokio::test]
async fn a_server_that_asks_for_it_is_called_at_once() {
    let script = Script::new(&whole());
    script.next("Get", [fail(ErrorKind::Busy, "RetryImmediatelyException")]);
    script.table().await.get(&Get::new("r")).await.expect("the second time");
    assert_eq!((script.seen("Get").len(), script.now()), (2, Duration::ZERO));
}

#[tokio::test]
async fn a_nonce_stays_the_same_over_attempts_and_differs_between_operations() {
    let script = Script::new(&whole());
    let table = script.table().await;
    let mut newest = Mutation::new(MutationKind::Delete, "r");
    newest.cells.push(Cell::new(b"r", b"f", b"q", LATEST_TIMESTAMP, CellType::DELETE, b"").expect("cell"));
    let append = Mutation { kind: MutationKind::Append, ..put("r", b"v") };
    let mut nonces = HashSet::new();
    for change in [increment("r", 1), increment("r", 1), append, newest] {
        let before = script.seen("Mutate").len();
        script.next("Mutate", [lost(), busy(), lost()]);
        table.mutate(change).await.expect("the fourth time");
        let sent: HashSet<_> = script.seen("Mutate")[before..].iter().map(nonce_of).collect();
        assert_eq!((sent.len(), script.seen("Mutate").len() - before), (1, 4));
        assert!(nonces.insert(sent.into_iter().next().flatten().expect("a nonce")), "met before");
    }
    let groups: HashSet<_> =
        script.seen("Mutate").iter().map(|seen| seen.decode::<pb::MutateRequest>().nonce_group).collect();
    assert!(groups.len() == 1 && !groups.contains(&None));
    let before = script.seen("Mutate").len();
    table.mutate(put("r", b"v")).await.expect("put");
    assert_eq!(nonce_of(&script.seen("Mutate")[before]), None, "a put may happen twice");
}

#[tokio::test]
async fn a_condition_has_a_nonce_too() {
    let script = Script::new(&whole());
    script.next("Mutate", [lost()]);
    let condition = Condition::Column {
        family: "f".into(),
        qualifier: "q".into(),
        op: CompareOp::Equal,
        comparator: Comparator::Binary("v".into()),
        time_range: TimeRange::ALL,
    };
    let check = CheckAndMutate { row: "r".into(), condition, mutations: vec![put("r", b"w")] };
    assert!(script.table().await.check_and_mutate(check).await.expect("the second time").0);
    let sent: Vec<_> = script.seen("Mutate").iter().map(nonce_of).collect();
    assert!(sent.len() == 2 && sent[0].is_some() && sent[0] == sent[1], "{sent:?}");
}

#[tokio::test]
async fn a_lost_answer_is_not_forgotten_by_later_failures() {
    let script = Script::new(&whole());
    script.next("Mutate", [lost()]);
    script.rule(|seen| (seen.method() == "Mutate").then(busy));
    let error = script.table().await.mutate(increment("r", 1)).await.expect_err("busy to the end");
    assert_eq!((error.kind(), error.class()), (ErrorKind::Unknown, "RegionTooBusyException"));
    assert!(error.may_have_happened() && !error.is_retriable() && error.to_string().contains("answer was lost"));
}

#[tokio::test]
async fn a_nonce_is_not_relied_on_longer_than_servers_keep_it() {
    let script = Script::new(&whole());
    script.next("Mutate", [lost()]);
    script.rule(|seen| (seen.method() == "Mutate").then(busy));
    let builder = script.builder().timeout(Duration::from_secs(3600)).attempts(10_000);
    let table = builder.open().await.expect("connection").table(name());
    let error = table.mutate(increment("r", 1)).await.expect_err("in doubt for too long");
    assert_eq!(error.kind(), ErrorKind::Unknown);
    let last = script.seen("Mutate").last().expect("calls").at;
    assert!(last > Duration::from_secs(200) && last <= Duration::from_secs(270), "{last:?}");
    // A put waits as long as it was told to.
    let begin = script.now();
    script.next("Mutate", [lost()]);
    table.mutate(put("r", b"v")).await.expect_err("busy");
    assert!(script.now() - begin > Duration::from_secs(3000));
}

#[tokio::test]
async fn bootstrap_servers_are_asked_in_turn() {
    let script = Script::new(&whole());
    script.door("boot:1", Some(Act::Fail(RpcError::new(ErrorKind::Unavailable, "refused"))));
    let connection = script.bootstrap("boot:1,boot:2,boot:3").open().await.expect("the second one");
    assert_eq!(connection.cluster_id(), "scripted");
    connection.table(name()).get(&Get::new("r")).await.expect("get");
    let asked = |method: &str| script.seen(method).iter().map(|seen| seen.address.clone()).collect::<Vec<_>>();
    assert_eq!(
        (asked("GetClusterId"), asked("GetMetaRegionLocations")),
        (vec!["boot:2".into()], vec!["boot:2".into()])
    );
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_said_with_its_address() {
    let script = Script::new(&whole());
    let why = "cannot connect: connection refused: is the server running? address=`boot:1`";
    script.door("boot:1", Some(Act::Fail(RpcError::new(ErrorKind::Unavailable, why))));
    let error: ClientError = script.builder().open().await.expect_err("nobody there");
    assert!(script.now() > Duration::from_secs(1) && script.now() <= Duration::from_secs(10), "{:?}", script.now());
    assert!(error.is_retriable() && error.to_string().contains("is the server running? address=`boot:1`"), "{error}");
    for bad in ["", "host:port", "a b:1"] {
        let error = script.bootstrap(bad).open().await.expect_err("no address");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
    }
}

#[tokio::test]
async fn another_master_is_found_when_this_one_fails() {
    let script = Script::new(&whole());
    script.rule(|seen| match (seen.address.as_str(), seen.method()) {
        ("m:1", "GetTableNames") => Some(fail(ErrorKind::NotServing, "PleaseHoldException")),
        ("m:2", "GetTableNames") => Some(Act::Reply(protocol::service::Reply::default())),
        _ => None,
    });
    let admin = script.builder().open().await.expect("connection").admin();
    script.next("GetTableNames", [fail(ErrorKind::Busy, "CallQueueTooBigException")]);
    let taking_over = script.clone();
    tokio::join!(async { assert_eq!(admin.tables(None).await.expect("the other one"), []) }, async {
        taking_over.master_is(2)
    });
    let asked: Vec<_> = script.seen("GetTableNames").iter().map(|seen| seen.address.clone()).collect();
    assert_eq!(asked.last().map(String::as_str), Some("m:2"));
    assert!(asked.starts_with(&["m:1".to_owned(), "m:1".to_owned()]), "busy is no reason to ask another: {asked:?}");
}

#[tokio::test]
async fn administration_has_one_deadline_over_all_its_steps() {
    let script = Script::new(&whole());
    script.rule(|seen| match seen.method() {
        "FlushRegion" => Some(busy()),
        _ => None,
    });
    // Half of the time passes before the state of the table is known.
    script.next("TableState", [Act::Hang, Act::Hang]);
    let builder = script.builder().timeout(Duration::from_secs(50)).attempts(1000);
    let admin = builder.open().await.expect("connection").admin();
    let begin = script.now();
    let error = admin.flush(&name()).await.expect_err("busy");
    assert_eq!(error.kind(), ErrorKind::Busy);
    let took = script.now() - begin;
    assert!(took > Duration::from_secs(40) && took <= Duration::from_secs(50), "{took:?}");
}
