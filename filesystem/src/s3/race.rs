//! Whether a store keeps the promise everything here rests on: of several conditional puts exactly one wins.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::Method;
use http::header::{IF_MATCH, IF_NONE_MATCH};

use super::Store;
use super::fault::{Fault, Meaning};
use super::requests::Kind;
use super::turn::{Reply, Turn};
use super::wire::Ask;
use crate::error::{ErrorKind, Result};

const RACERS: usize = 8;
/// A store that does not answer by then is not waited for at start.
const PATIENCE: Duration = Duration::from_secs(15);

/// Races creates and swaps on a fresh key. Refuses a store with two winners, or that lets a stale swap through.
pub(super) async fn check(store: &Store) -> Result<()> {
    let path = format!("ferrobase/probe/{:032x}", store.runtime.random.next_u128());
    let key = store.key(&path);
    let turn = || Turn::new(store, &path, "probing the store").at_most(PATIENCE);
    let absent = Ask::new(Kind::Get, Method::GET, &key);
    // Says first what is wrong with the address, the permission or the clock.
    if !matches!(turn().repeat(&absent).await?, Reply::Absent) {
        return Err(turn().error(ErrorKind::Invalid, "the store shows an object that was never made"));
    }
    let put = |round: usize, i: usize| {
        Ask::new(Kind::Put, Method::PUT, &key).body(Bytes::from(format!("ferrobase probe {round} {i}")))
    };
    let first = race(store, &path, (0..RACERS).map(|i| put(0, i).header(IF_NONE_MATCH, "*")).collect()).await?;
    let mut swaps = Vec::new();
    for i in 0..RACERS {
        swaps.push(put(1, i).header(IF_MATCH, &first));
    }
    race(store, &path, swaps).await?;
    let stale = [put(2, 0).header(IF_MATCH, &first), put(2, 1).header(IF_NONE_MATCH, "*")];
    for ask in stale {
        if turn().once(&ask).await.is_ok() {
            return Err(lies(store, &path));
        }
    }
    let mut cleaning = turn();
    match cleaning.repeat(&Ask::new(Kind::Delete, Method::DELETE, &key)).await? {
        Reply::Answer(_) | Reply::Absent => Ok(()),
        _ => Err(turn().error(ErrorKind::Invalid, "the store refuses a plain delete")),
    }
}

fn lies(store: &Store, path: &str) -> crate::Error {
    let message = format!(
        "the store at {} ignores the conditions of conditional puts (If-None-Match, If-Match): two writers would both win, \
         so it cannot be used. Use a store that honours them: Amazon S3, MinIO and others do; see docs/S3.md",
        store.wire.base
    );
    crate::Error::new(ErrorKind::Invalid, path, message)
}

/// Sends all at once; answers the etag that stands.
async fn race(store: &Store, path: &str, asks: Vec<Ask>) -> Result<String> {
    let mut turn = Turn::new(store, path, "probing the store").at_most(PATIENCE);
    loop {
        let results = join_all(
            asks.iter()
                .map(|ask| async { Turn::new(store, path, "probing the store").at_most(PATIENCE).once(ask).await }),
        );
        let results = results.await;
        if results.iter().filter(|result| result.is_ok()).count() > 1 {
            return Err(lies(store, path));
        }
        // The winner's answer may be lost: what stands then counts.
        let mut last = None;
        for result in results {
            match result {
                Ok(answer) if answer.etag().is_some() => return Ok(answer.etag().expect("some").to_owned()),
                Ok(_) => {}
                Err(fault) if matches!(fault.meaning(), Meaning::Precondition | Meaning::Conflict) => {}
                Err(fault) => last = Some(fault),
            }
        }
        // A final fault ends here; after any other the same is tried again, and what stands is as good as a winner.
        turn.after(last.unwrap_or_else(|| Fault::Nonsense("no put won".to_owned()))).await?;
        if let Reply::Answer(answer) = turn.repeat(&Ask::new(Kind::Head, Method::HEAD, &asks[0].key)).await?
            && let Some(etag) = answer.etag()
            && asks[0].headers.get(IF_MATCH).is_none_or(|before| before != etag)
        {
            return Ok(etag.to_owned());
        }
    }
}
