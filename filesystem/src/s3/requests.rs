//! How many requests a back end has sent, by kind: they are what an object store bills.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::cause::Cause;

/// Kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Reads an object or a range of it.
    Get,
    /// Looks at an object.
    Head,
    /// Writes an object.
    Put,
    /// Copies an object inside the store.
    Copy,
    /// Deletes an object.
    Delete,
    /// Lists objects.
    List,
    /// Lists uploads in parts.
    ListUploads,
    /// Begins an upload in parts.
    UploadCreate,
    /// Writes one part.
    UploadPart,
    /// Makes an object of the parts.
    UploadComplete,
    /// Gives an upload up.
    UploadAbort,
    /// Asks the token service for credentials.
    Token,
}

impl Kind {
    /// Every kind, in the order of its counter.
    pub const ALL: [Kind; 12] = [
        Kind::Get,
        Kind::Head,
        Kind::Put,
        Kind::Copy,
        Kind::Delete,
        Kind::List,
        Kind::ListUploads,
        Kind::UploadCreate,
        Kind::UploadPart,
        Kind::UploadComplete,
        Kind::UploadAbort,
        Kind::Token,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Get => "get",
            Kind::Head => "head",
            Kind::Put => "put",
            Kind::Copy => "copy",
            Kind::Delete => "delete",
            Kind::List => "list",
            Kind::ListUploads => "list-uploads",
            Kind::UploadCreate => "upload-create",
            Kind::UploadPart => "upload-part",
            Kind::UploadComplete => "upload-complete",
            Kind::UploadAbort => "upload-abort",
            Kind::Token => "token",
        }
    }
}

/// How many requests of a kind were sent to a part of a root for a cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// `table:<namespace>:<table>`, `log`, `manifests`, `cluster` or `other`.
    pub part: String,
    /// What they were part of.
    pub cause: Cause,
    /// Their kind.
    pub kind: Kind,
    /// How many.
    pub count: u64,
}

/// Counters of one back end; they only grow.
#[derive(Debug, Default)]
pub struct Requests {
    sent: [AtomicU64; Kind::ALL.len()],
    by_part: Mutex<BTreeMap<(String, Cause), [u64; Kind::ALL.len()]>>,
    /// Requests sent again for the same operation.
    pub repeated: AtomicU64,
    /// Answers that asked to slow down.
    pub slowed: AtomicU64,
    /// Requests without an answer: cut off, or not within the time of one try.
    pub unanswered: AtomicU64,
    /// Bytes of bodies sent.
    pub bytes_sent: AtomicU64,
    /// Bytes of bodies received.
    pub bytes_received: AtomicU64,
}

/// The cause of a request that nobody has named: what the path and the kind of request tell.
fn cause_of(kind: Kind, path: &str) -> Cause {
    match kind {
        _ if path.ends_with(super::REGISTER) => Cause::Registers,
        _ if path.starts_with("ferrobase/log/") => Cause::Log,
        Kind::Get | Kind::Head if path.starts_with("data/") => Cause::Reads,
        _ => Cause::Other,
    }
}

/// Most parts and causes counted apart; more are counted together as `other`.
const PARTS_MAX: usize = 10_000;

/// Which part of a root a path belongs to: `table:<namespace>:<table>`, `log`, `manifests` or `cluster`; `other`.
fn part_of(path: &str) -> String {
    let mut names = path.split('/');
    match (names.next(), names.next(), names.next()) {
        (Some("data"), Some(namespace), Some(table)) => format!("table:{namespace}:{table}"),
        (Some("ferrobase"), Some("log"), _) => "log".to_owned(),
        (Some("ferrobase"), Some("table"), _) => "manifests".to_owned(),
        (Some("ferrobase"), ..) => "cluster".to_owned(),
        _ => "other".to_owned(),
    }
}

impl Requests {
    pub(super) fn count_at(&self, kind: Kind, path: &str) {
        let cause = Cause::said().unwrap_or_else(|| cause_of(kind, path));
        let mut key = (part_of(path), cause);
        let mut parts = self.by_part.lock();
        if parts.len() >= PARTS_MAX && !parts.contains_key(&key) {
            key.0 = "other".to_owned();
        }
        parts.entry(key).or_default()[kind as usize] += 1;
    }

    /// Requests by part of the root, cause and kind, each try counted.
    pub fn counted(&self) -> Vec<Counted> {
        let parts = self.by_part.lock();
        let of = |((part, cause), counts): (&(String, Cause), &[u64; Kind::ALL.len()])| {
            let (part, cause, counts) = (part.clone(), *cause, *counts);
            Kind::ALL.map(|kind| Counted { part: part.clone(), cause, kind, count: counts[kind as usize] })
        };
        parts.iter().flat_map(of).filter(|counted| counted.count > 0).collect()
    }

    pub(super) fn count(&self, kind: Kind) {
        self.sent[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Requests of a kind, each try counted.
    pub fn sent(&self, kind: Kind) -> u64 {
        self.sent[kind as usize].load(Ordering::Relaxed)
    }

    /// All requests.
    pub fn total(&self) -> u64 {
        Kind::ALL.iter().map(|kind| self.sent(*kind)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_are_counted_by_table_cause_and_kind() {
        let requests = Requests::default();
        for path in [
            "data/default/t/r/f/x",
            "data/default/t/r/f/y",
            "ferrobase/log/s/p/1",
            "ferrobase/table/t/r.reg",
            "ferrobase/id",
            "x",
        ] {
            requests.count_at(Kind::Put, path);
        }
        requests.count_at(Kind::Get, "data/default/t/r/f/x");
        Cause::Flush.of(async { requests.count_at(Kind::Put, "ferrobase/table/t/r.reg") }).await;
        let line = |of: &Counted| format!("{} {} {} {}", of.part, of.cause.name(), of.kind.name(), of.count);
        let found: Vec<String> = requests.counted().iter().map(line).collect();
        assert_eq!(
            found,
            [
                "cluster other put 1",
                "log log put 1",
                "manifests registers put 1",
                "manifests flush put 1",
                "other other put 1",
                "table:default:t reads get 1",
                "table:default:t other put 2"
            ]
        );
    }
}
