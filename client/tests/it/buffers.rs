use std::sync::Arc;
use std::time::Duration;

use ferrobase_client::{BufferSettings, BufferedMutator};
use futures::FutureExt;
use model::ErrorKind;
use parking_lot::Mutex;
use protocol::service::RpcError;

use crate::script::*;

async fn buffer(script: &Arc<Script>, settings: BufferSettings) -> BufferedMutator {
    script.builder().open().await.expect("connection").buffered_mutator(name(), settings)
}

/// Fails the rows that begin with `x`.
fn refuse_x(script: &Script) {
    script.rule(|seen| {
        let refuse = |_: &[u8], row: &[u8]| {
            row.starts_with(b"x").then(|| {
                RpcError::of(ErrorKind::NotFound, "regionserver.NoSuchColumnFamilyException", "no such family")
            })
        };
        (seen.method() == "Multi").then(|| Act::Reply(multi_reply(&seen.decode(), refuse)))
    });
}

#[tokio::test]
async fn nothing_is_sent_before_the_buffer_is_full_or_flushed() {
    let script = Script::live(&[(region("", ""), 1)]);
    let buffer = buffer(&script, BufferSettings::default()).await;
    for n in 0..100 {
        buffer.mutate(put(format!("{n}"), b"v")).await.expect("room");
    }
    assert!(script.seen("Multi").is_empty());
    buffer.flush().await.expect("flush");
    assert_eq!(script.seen("Multi").len(), 1);
    buffer.flush().await.expect("nothing to do");
    buffer.close().await.expect("nothing to do");
    assert_eq!(script.seen("Multi").len(), 1);
}

#[tokio::test]
async fn a_full_buffer_makes_its_user_wait() {
    let script = Script::live(&[(region("", ""), 1)]);
    script.next("Multi", [Act::Hang]);
    let settings = BufferSettings { bytes: 10 << 10, ..BufferSettings::default() };
    let builder = script.builder().call_timeout(Duration::from_millis(300)).pause(Duration::from_millis(1));
    let buffer = builder.open().await.expect("connection").buffered_mutator(name(), settings);
    let value = [b'v'; 1 << 10];
    let mut taken = 0;
    while taken < 100 && buffer.mutate(put(format!("{taken}"), &value)).now_or_never().is_some() {
        taken += 1;
    }
    // One batch is on its way, one is full.
    assert!((14..=20).contains(&taken), "{taken}");
    buffer.mutate(put("one more", b"v")).await.expect("room after the first batch has come through");
    buffer.close().await.expect("all sent");
    let sent: usize = script
        .seen("Multi")
        .iter()
        .map(|seen| seen.decode::<protocol::messages::MultiRequest>().region_action[0].action.len())
        .sum();
    assert!(sent > taken, "the hung batch was sent again: {sent} {taken}");
}

#[tokio::test]
async fn failures_are_reported_each_by_the_next_flush() {
    let script = Script::live(&[(region("", ""), 1)]);
    refuse_x(&script);
    let buffer = buffer(&script, BufferSettings::default()).await;
    buffer.mutate_all(vec![put("a", b"v"), put("x1", b"v"), put("b", b"v"), put("x2", b"v")]).await.expect("room");
    let failed = buffer.flush().await.expect_err("two failed");
    let rows: Vec<_> = failed.failures.iter().map(|failure| failure.mutation.row.clone()).collect();
    assert_eq!((rows, failed.count), (vec!["x1".into(), "x2".into()], 2));
    assert_eq!(failed.first().class(), "NoSuchColumnFamilyException");
    assert!(failed.to_string().starts_with("2 mutation(s) failed; the first: "), "{failed}");
    buffer.flush().await.expect("reported once");
    buffer.mutate(put("x3", b"v")).await.expect("room");
    assert_eq!(buffer.close().await.expect_err("one failed").count, 1);
}

#[tokio::test]
async fn failures_kept_are_bounded() {
    let script = Script::live(&[(region("", ""), 1)]);
    refuse_x(&script);
    let buffer = buffer(&script, BufferSettings { bytes: 4 << 10, ..BufferSettings::default() }).await;
    for n in 0..200 {
        buffer.mutate(put(format!("x{n}"), &[b'v'; 1 << 10])).await.expect("room");
    }
    let failed = buffer.flush().await.expect_err("all failed");
    assert_eq!(failed.count, 200);
    assert!((1..10).contains(&failed.failures.len()), "{}", failed.failures.len());
}

#[tokio::test]
async fn a_handler_hears_of_failures_instead() {
    let script = Script::live(&[(region("", ""), 1)]);
    refuse_x(&script);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ears = heard.clone();
    let on_failure = move |failure: ferrobase_client::MutationFailure| ears.lock().push(failure.mutation.row);
    let settings = BufferSettings { on_failure: Some(Arc::new(on_failure)), ..BufferSettings::default() };
    let buffer = buffer(&script, settings).await;
    buffer.mutate_all(vec![put("x1", b"v"), put("b", b"v"), put("x2", b"v")]).await.expect("room");
    buffer.close().await.expect("nothing left to report");
    assert_eq!(*heard.lock(), ["x1", "x2"]);
}

#[tokio::test]
async fn a_mutation_that_is_too_large_is_refused() {
    let script = Script::live(&[(region("", ""), 1)]);
    let buffer = buffer(&script, BufferSettings { max_mutation_bytes: 1 << 10, ..BufferSettings::default() }).await;
    let error = buffer.mutate(put("r", &[0; 2 << 10])).await.expect_err("too large");
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Invalid, 0));
    buffer.mutate(put("r", &[0; 100])).await.expect("room");
    buffer.close().await.expect("close");
}

#[tokio::test]
async fn a_period_sends_what_is_there() {
    let script = Script::live(&[(region("", ""), 1)]);
    let settings = BufferSettings { period: Some(Duration::from_millis(20)), ..BufferSettings::default() };
    let buffer = buffer(&script, settings).await;
    buffer.mutate(put("r", b"v")).await.expect("room");
    until(|| script.seen("Multi").len() == 1).await;
    buffer.mutate(put("s", b"v")).await.expect("room");
    until(|| script.seen("Multi").len() == 2).await;
    buffer.close().await.expect("close");
}

#[tokio::test]
async fn a_buffer_dropped_open_sends_nothing_more() {
    let script = Script::live(&[(region("", ""), 1)]);
    let settings = BufferSettings { period: Some(Duration::from_millis(5)), ..BufferSettings::default() };
    let buffer = buffer(&script, settings).await;
    buffer.mutate(put("r", b"v")).now_or_never().expect("room").expect("room");
    drop(buffer);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(script.seen("Multi").is_empty());
}

#[tokio::test]
async fn a_buffer_shared_by_many_loses_nothing() {
    let script = Script::live(&[(region("", ""), 1)]);
    let buffer = Arc::new(buffer(&script, BufferSettings { bytes: 3 << 10, ..BufferSettings::default() }).await);
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let buffer = buffer.clone();
            tokio::spawn(async move {
                for n in 0..50 {
                    buffer.mutate(put(format!("{task}-{n}"), &[b'v'; 100])).await.expect("room");
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("task");
    }
    Arc::into_inner(buffer).expect("the last one").close().await.expect("close");
    let mut rows = Vec::new();
    for seen in script.seen("Multi") {
        let request: protocol::messages::MultiRequest = seen.decode();
        let actions = request.region_action.into_iter().flat_map(|region| region.action);
        rows.extend(actions.map(|one| one.mutation.expect("a put").row().to_vec()));
    }
    assert_eq!(rows.len(), 400);
    for task in 0..8 {
        let prefix = format!("{task}-");
        let of_task: Vec<_> = rows.iter().filter(|row| row.starts_with(prefix.as_bytes())).collect();
        let expected: Vec<_> = (0..50).map(|n| format!("{task}-{n}").into_bytes()).collect();
        assert!(of_task.into_iter().eq(&expected), "rows of a task keep their order");
    }
}

#[tokio::test]
async fn a_flush_that_is_given_up_is_carried_out_and_reported_by_the_next() {
    let script = Script::live(&[(region("", ""), 1)]);
    let refused = RpcError::of(ErrorKind::NotFound, "regionserver.NoSuchColumnFamilyException", "no such family");
    script.next("Multi", [Act::After(Duration::from_millis(20), Box::new(Act::Fail(refused)))]);
    let buffer = buffer(&script, BufferSettings::default()).await;
    buffer.mutate(put("r", b"v")).await.expect("room");
    assert!(buffer.flush().now_or_never().is_none());
    assert_eq!(buffer.flush().await.expect_err("the first one's failure").count, 1);
    assert_eq!(script.seen("Multi").len(), 1);
}
